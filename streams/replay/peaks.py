"""How high the counts of each client rose while no limit blocked it, and what it asks of whose limits."""

from collections.abc import Iterable
from typing import Final

from streams.engine.state import ClientState, State
from streams.engine.step import step
from streams.model.client import Client
from streams.model.event import Event, EventKind
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.observed import Observed
from streams.replay.setting import RULES, unlimited, with_schedules_marked

_EVERY: Final = (True, True, True)
_NONE: Final = (False, False, False)


def observe(policy: Policy, events: Iterable[Event]) -> dict[Client, Observed]:
    """Every client of the history. Peaks are counted by the engine, under the policy without its limits."""
    index, state = PolicyIndex(unlimited(policy)), State(memory_s=policy.memory_s)
    calendar = PolicyIndex(with_schedules_marked(policy))
    found: dict[Client, Observed] = {}
    for event in events:
        if event.kind == "policy":
            continue
        seen = found.get(event.client)
        if seen is None:
            seen = found[event.client] = Observed(event.address)
            standing = index.standing(event.address)
            seen.network, seen.exempt = standing.network, standing.exempt("rate", event.at)
        step(index, state, event)
        seen.note(event)
        if event.kind in ("connect", "mail") and (client := state.clients.get(event.client)) is not None:
            _peaks(seen, client, event.kind, *_asked(index, calendar, seen, event))
    return found


def _asked(
    index: PolicyIndex, calendar: PolicyIndex, seen: Observed, event: Event
) -> tuple[list[int], tuple[bool, ...]]:
    """Of what entry the event asks, as the counts so far; and of each of `RULES` whether it does."""
    standing = index.standing(event.address)
    if standing.exemptions and standing.exempt("rate", event.at):
        return seen.asks, _NONE
    seen.exempt = False
    asks = _asks(calendar, event) if calendar.has_schedules else _EVERY
    if standing.network == seen.network:
        return seen.asks, asks
    if seen.elsewhere is None:
        seen.elsewhere = {}
    return seen.elsewhere.setdefault(standing.network, [0, 0, 0]), asks


def _asks(calendar: PolicyIndex, event: Event) -> tuple[bool, ...]:
    """Of each of `RULES` whether no schedule sets it for this address at this instant."""
    limits = calendar.at(event.at).standing(event.address).limits
    return tuple(getattr(limits, rule) != -1 for rule in RULES)


def _peaks(
    seen: Observed, client: ClientState, kind: EventKind, asked: list[int], asks: tuple[bool, ...]
) -> None:
    """What the event has counted, and judges: transactions, or connections and open sessions."""
    if kind == "mail":
        _rose(seen.peaks, asked, asks, 2, len(client.requests or ()))
        return
    sessions = client.sessions
    if sessions and len(sessions) > (asked if asks[0] else seen.peaks)[0]:
        for name in [name for name, forgotten in sessions.items() if forgotten <= client.clock]:
            del sessions[name]
        _rose(seen.peaks, asked, asks, 0, len(sessions))
    _rose(seen.peaks, asked, asks, 1, len(client.connects or ()))


def _rose(peaks: list[int], asked: list[int], asks: tuple[bool, ...], place: int, count: int) -> None:
    peaks[place] = max(peaks[place], count)
    if asks[place]:
        asked[place] = max(asked[place], count)

"""The rules that count: one function a rule, one table in order of precedence.

Each function counts the event and returns the count that the limit is held against. All rules of an event's
kind count it before any is judged, so that one rule's breach hides nothing from another's window.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from streams.engine.state import ClientState
from streams.engine.windows import slide
from streams.model.decision import Trigger
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS
from streams.model.policy import WINDOW_S, Limits


class Bound(NamedTuple):
    """A rule with one set of limits, worked out once."""

    rule: "Rule"
    counter: "Count"
    bit: int
    limit: int
    warn: int
    """Smallest count that is warned about; 0 where none is."""
    idle_us: int
    """How long a session lives that is not heard of."""


Count = Callable[[ClientState, Event, int, Bound], int]


def concurrent_connections(client: ClientState, event: Event, now: int, bound: Bound) -> int:
    """Open sessions of the client, this one included; those idle for `session_idle_s` are forgotten.

    Expiry is only worth its walk where the count could reach a warning or the limit: below, it changes
    nothing.
    """
    sessions = client.sessions
    if sessions is None:
        sessions = client.sessions = {}
    sessions[event.session] = event.at + bound.idle_us
    count = len(sessions)
    if count > bound.limit or count >= (bound.warn or bound.limit):
        for session in [name for name, forgotten in sessions.items() if forgotten <= now]:
            del sessions[session]
        return len(sessions)
    return count


def connections_per_minute(client: ClientState, event: Event, now: int, bound: Bound) -> int:
    """Connections in the 60 s that end now."""
    window = client.connects
    if window is None:
        window = client.connects = array("q")
    return slide(window, event.at, now)


def requests_per_minute(client: ClientState, event: Event, now: int, bound: Bound) -> int:
    """MAIL transactions in the 60 s that end now (mission.md, R1)."""
    window = client.requests
    if window is None:
        window = client.requests = array("q")
    return slide(window, event.at, now)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: which kind of event it counts, how, against which limit of the policy."""

    name: str
    trigger: Trigger
    kind: EventKind
    count: Count
    limit: Callable[[Limits], int]
    window_s: int
    bit: int
    """This rule's bit in `ClientState.warned`."""


def _rate(bit: int, kind: EventKind, count: Count, window_s: int) -> Rule:
    """A row whose function bears the limit's own name."""
    return Rule(count.__name__, "rate", kind, count, attrgetter(count.__name__), window_s, bit)


RULES: Final[tuple[Rule, ...]] = (
    _rate(1, "connect", concurrent_connections, 0),
    _rate(2, "connect", connections_per_minute, WINDOW_S),
    _rate(4, "mail", requests_per_minute, WINDOW_S),
)
"""In order of precedence."""

RULES_BY_KIND: Final[dict[str, tuple[Rule, ...]]] = {
    kind: tuple(rule for rule in RULES if rule.kind == kind) for kind in {rule.kind for rule in RULES}
}

_Bounds = dict[str, tuple[Bound, ...]]
_MEMO_ENTRIES: Final = 1024
_memo: Final[dict[int, tuple[Limits, _Bounds]]] = {}
"""Only saves work: limits by their identity, since hashing them would cost more than what is looked up."""


def bounds_of(limits: Limits) -> _Bounds:
    """Kind of event → the rules that count it, in order of precedence, with these limits."""
    known = _memo.get(id(limits))
    if known is not None and known[0] is limits:
        return known[1]
    if len(_memo) >= _MEMO_ENTRIES:
        _memo.clear()
    bounds = {kind: tuple(_bound(rule, limits) for rule in rules) for kind, rules in RULES_BY_KIND.items()}
    _memo[id(limits)] = limits, bounds
    return bounds


def _bound(rule: Rule, limits: Limits) -> Bound:
    limit = rule.limit(limits)
    idle_us = limits.session_idle_s * MICROSECONDS
    return Bound(rule, rule.count, rule.bit, limit, limits.warning_count(limit), idle_us)

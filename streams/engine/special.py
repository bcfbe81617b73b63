"""The events that no limit counts: what each kind leads to, live and in a fold."""

from collections.abc import Callable
from typing import Final

from streams.engine import greylist, protocol, reputation
from streams.engine.outcome import Outcome, decision, refused, refuses
from streams.engine.sessions import alive, heard
from streams.engine.state import State
from streams.engine.taking import FORGOTTEN, Recorded, conclude
from streams.model.decision import MOST_NOTED, Evidence, Trigger
from streams.model.event import Event
from streams.model.standing import PolicyIndex

_RELEASED: Final[tuple[Trigger, ...]] = ("rate", "reputation", "greylist", "protocol")
"""Triggers of which something is remembered, in order of precedence."""


def deferred(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """An attempt that the shim put off: no request is counted (mission.md, R1)."""
    client = state.client(event.client, event.at)
    alive(index, client, event)

    def decide() -> list[Outcome]:
        standing = index.standing(event.address)
        if standing.blocked(event.at) is not None or refused(index, standing, client, event):
            return []
        if not greylist.judged(index, standing, event):
            return []
        given_up = greylist.no_retry(index, client, event)
        if refuses(given_up):
            return given_up
        return given_up + greylist.first_attempt(index, client, event)

    return conclude(index, client, recorded, decide)


def _reject(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """One more refused recipient: of interest where the shim put it off."""
    if event.code == 451 and greylist.is_deferral(index, event):
        return deferred(index, state, event, recorded)
    heard(index, state, event)
    return []


def _answered(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """DNSBLs answered."""
    if not reputation.judged(index, index.standing(event.address), event):
        heard(index, state, event)
        return []
    client = state.client(event.client, event.at)
    alive(index, client, event)
    reputation.note(index, client, event)
    return conclude(index, client, recorded, lambda: reputation.judge(index, client, event))


def _violated(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """The log shows a violation of SMTP."""
    standing = index.standing(event.address)
    if not protocol.judged(index, standing, event):
        heard(index, state, event)
        return []
    client = state.client(event.client, event.at)
    alive(index, client, event)
    if refused(index, standing, client, event):
        return []
    count = protocol.note(index, client, event)
    return conclude(index, client, recorded, lambda: protocol.judge(index, client, event, count))


def _queued(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """A message was queued: greylisting learns from it."""
    client = state.known(event.client, event.at)
    if client is None:
        return []
    alive(index, client, event)
    if client.record is None and not recorded:
        return []  # nearly all: nothing was ever put off
    return conclude(index, client, recorded, lambda: greylist.delivered(index, client, event))


def _known(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """An administrator says that this client delivers."""
    client = state.client(event.client, event.at)
    return conclude(index, client, recorded, lambda: greylist.known_to_deliver(index, client, event))


def _forget(index: PolicyIndex, state: State, event: Event, recorded: Recorded) -> list[Outcome]:
    """An administrator has all dropped that is remembered of the client (mission.md, R10).

    Every trigger is released, whatever is known here: a shim may hold what this worker has not, since it
    outlives a broker that lost its memory, and remembers first attempts by itself.
    """
    client = state.client(event.client, event.at)
    releases: list[Outcome] = [
        decision(
            index,
            client,
            event,
            trigger,
            FORGOTTEN,
            until=client.clock,
            code=0,
            reason="dropped by an administrator",
            evidence=Evidence(note=event.detail[:MOST_NOTED]),
            action="release",
        )
        for trigger in _RELEASED
    ]
    state.forget(client)
    return releases if recorded is None else []


SPECIAL: Final[dict[str, Callable[[PolicyIndex, State, Event, Recorded], list[Outcome]]]] = {
    "rcpt": _reject,
    "reputation": _answered,
    "violation": _violated,
    "message": _queued,
    "learnt": _known,
    "forget": _forget,
}
"""What each kind of event leads to that no limit counts."""

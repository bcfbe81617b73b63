"""Settings that have decided the same about a client so far, and what an event may raise its counts to."""

from collections.abc import Iterator

from streams.engine.state import ClientState, State
from streams.engine.windows import WINDOW_US, Window, held
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.policy import Limits

Members = int
"""A set of settings: bit n stands for the n-th."""


class Row:
    """The limits of every setting for one network entry."""

    __slots__ = ("idle_us", "lowest", "values")

    def __init__(self, limits: list[Limits]) -> None:
        self.values = [
            (
                it.concurrent_connections,
                it.connections_per_minute,
                it.requests_per_minute,
                it.cool_down_s,
                it.cool_down_growth,
            )
            for it in limits
        ]
        """Of each setting the limits in the order of `RULES`, then what the cool-down depends on."""
        self.idle_us = limits[0].session_idle_s * MICROSECONDS
        self.lowest: dict[Members, tuple[int, int, int]] = {}
        """Members → their lowest limits, in the order of `RULES`."""

    def lowest_of(self, members: Members) -> tuple[int, int, int]:
        found = self.lowest.get(members)
        if found is None:
            if len(self.lowest) >= 10_000:
                self.lowest.clear()
            concurrent, connections, requests, *_ = zip(
                *(self.values[n] for n in numbers(members)), strict=True
            )
            found = self.lowest[members] = min(concurrent), min(connections), min(requests)
        return found


class Branch:
    """Settings that have decided the same about a client so far, and their common state of it."""

    __slots__ = ("lead", "members", "memory", "memory_us", "several", "state")

    def __init__(self, members: Members, memory: State, memory_us: int, state: ClientState | None) -> None:
        self.members = members
        self.lead = (members & -members).bit_length() - 1
        self.several = members.bit_count() > 1
        self.memory = memory
        """The engine's state, lent to one branch after the other: it holds only the client being stepped."""
        self.memory_us = memory_us
        self.state = state


def numbers(members: Members) -> Iterator[int]:
    """The settings of a set, ascending."""
    while members:
        bit = members & -members
        yield bit.bit_length() - 1
        members ^= bit


def bounds_of(
    state: ClientState | None, event: Event, idle_us: int, lowest: tuple[int, int, int]
) -> tuple[int, int, int] | None:
    """What the event may at most raise the counts to, where that is over the lowest limit of any; else None.

    Windows and sessions of a client that is forgotten meanwhile only make the bound too high.
    """
    if state is None:
        return (1, 1, 1) if min(lowest) < 1 else None
    now = max(state.clock, event.at)
    if event.kind == "mail":
        requests = _bound(state.requests, now, lowest[2])
        return (0, 0, requests) if requests > lowest[2] else None
    connections = _bound(state.connects, now, lowest[1])
    sessions = state.sessions
    opened = len(sessions) + 1 if sessions else 1
    if sessions and opened > lowest[0]:
        for name in [name for name, forgotten in sessions.items() if forgotten <= now]:
            del sessions[name]  # over, and counts for nobody any more
        opened = len(sessions) + (event.session not in sessions)
    if opened > lowest[0] or connections > lowest[1]:
        return opened, connections, 0
    return None


def _bound(window: "Window | None", now: int, lowest: int) -> int:
    if not window or len(window) < lowest:
        return len(window) + 1 if window else 1
    return held(window, now, WINDOW_US) + 1

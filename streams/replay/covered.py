"""How much time a history shows: one stray line of August does not make a month of an hour in October."""

from collections.abc import Iterable, Iterator
from typing import Final

from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant

HOLE_US: Final = 86_400 * MICROSECONDS
"""A pause of everybody that is longer shows nothing: no mail server that is in use is silent for a day."""
LONG_ENOUGH_S: Final = 28 * 86_400
"""A month has its month-end: what a shorter history shows may not be the busiest."""


class Covered:
    """From its first event to its last, without the holes."""

    def __init__(self) -> None:
        self.first = self.last = Instant(0)
        self.us = 0
        """Microseconds, holes left out."""

    @property
    def holes_us(self) -> int:
        """Microseconds of which the history shows nothing."""
        return self.last - self.first - self.us

    def by(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, looked at on their way."""
        for event in events:
            at = event.at
            if event.kind != "policy":
                if not self.last:
                    self.first = self.last = at
                elif at > self.last:
                    self._add(at - self.last)
                    self.last = at
                elif at < self.first:
                    self._add(self.first - at)
                    self.first = at
            yield event

    def _add(self, pause_us: int) -> None:
        self.us += pause_us if pause_us <= HOLE_US else 0


def short_history(seconds: float, *, holes: bool) -> str:
    """That a history shows less than a month, in a sentence; empty where it shows one."""
    if seconds >= LONG_ENOUGH_S:
        return ""
    left_out = ", pauses of more than a day left out" if holes else ""
    return (
        f"The history is {length(seconds)} long{left_out}: a month-end, a newsletter or a new partner may be "
        "busier than anything it shows."
    )


def length(seconds: float) -> str:
    """How long a history is: `2.0 days`, `5.5 hours`, `14 minutes`."""
    for unit, name in ((86_400, "days"), (3600, "hours")):
        if seconds >= 1.95 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 60:.0f} minutes" if seconds >= 119 else f"{seconds:.0f} seconds"

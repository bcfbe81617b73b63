"""How much time a history shows: one stray line of August does not make a month of an hour in October."""

from collections.abc import Iterable, Iterator
from typing import Final

from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant

HOLE_US: Final = 86_400 * MICROSECONDS
"""A pause of everybody that is longer shows nothing: no mail server that is in use is silent for a day."""


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
                    pause = at - self.last
                    self.us += pause if pause <= HOLE_US else 0
                    self.last = at
                elif at < self.first:
                    self.first = at
            yield event

"""How evenly a client connects: one rhythm for each door, which is a service of a host."""

from sys import intern
from typing import Final

_SHOWING_GAPS: Final = 20
"""So many pauses show a rhythm."""
_MAX_DOORS: Final = 64
_ANY_OTHER: Final = ("", "")


class Rhythm:
    """The pauses at one door."""

    __slots__ = ("even_us", "gaps", "host", "last", "like", "service", "typical_us")

    def __init__(self, host: str, service: str, at: int) -> None:
        self.host, self.service = intern(host), intern(service)  # most clients come to the same few doors
        self.last = at
        self.gaps = self.like = self.typical_us = 0
        """Pauses between connections, how many of them were like the typical one then (within a quarter), and
        that one."""
        self.even_us = 0
        """The time of the pauses that were alike, added up; not the first, which has none to be like."""

    def beat(self, at: int) -> None:
        """One more connection; one that is late says nothing of a pause."""
        gap = at - self.last
        if gap < 0:
            return
        self.gaps += 1
        typical = self.typical_us or gap
        if abs(gap - typical) * 4 <= typical:
            self.like += 1
            self.even_us += gap if self.typical_us else 0
        # follows slowly, and an outage hardly: what is typical is what most pauses are like
        self.typical_us = typical + (min(max(gap, typical // 2), typical * 2) - typical) // 8
        self.last = at


class Rhythms(Rhythm):
    """The rhythm at the first door that a client came to, and those at others, which few have."""

    __slots__ = ("others",)

    def __init__(self, host: str, service: str, at: int) -> None:
        super().__init__(host, service, at)
        self.others: dict[tuple[str, str], Rhythm] | None = None

    def beat_at(self, host: str, service: str, at: int) -> None:
        """A connection to this door. Beyond 64 more, all others count as one."""
        if service == self.service and host == self.host:
            self.beat(at)
            return
        others = self.others = {} if self.others is None else self.others
        door = (host, service)
        if door not in others and len(others) >= _MAX_DOORS:
            door = _ANY_OTHER
        known = others.get(door)
        if known is None:
            others[door] = Rhythm(*door, at)
        else:
            known.beat(at)

    @property
    def doors(self) -> list[Rhythm]:
        """Every door, the first one first."""
        return [self, *(self.others or {}).values()]

    @property
    def regular(self) -> float:
        """Share of pauses that are alike, each at its own door; 0 where there are few."""
        gaps = sum(it.gaps for it in self.doors)
        return sum(it.like for it in self.doors) / gaps if gaps >= _SHOWING_GAPS else 0.0

    @property
    def pause_us(self) -> int:
        """The typical pause at the busiest of the doors that show a rhythm; 0 where none does."""
        return min((it.typical_us for it in self._showing), default=0)

    @property
    def steadiest(self) -> Rhythm:
        """The door at which pauses were alike for the longest, of those that show a rhythm; the first one
        where none does."""
        return max(self._showing, key=lambda it: it.even_us, default=self)

    @property
    def _showing(self) -> list[Rhythm]:
        return [it for it in self.doors if it.gaps >= _SHOWING_GAPS]

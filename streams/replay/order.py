"""Puts what comes almost in order of time into that order, in bounded memory."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from streams.model.event import Event
from streams.model.instant import MICROSECONDS

T = TypeVar("T")

LATENESS_US: Final = 5 * MICROSECONDS
"""How far out of order things may come and still be put right; what is later is passed on as it comes."""

_BATCH: Final = 2048


class TimeOrder(Generic[T]):
    """A buffer of the last seconds. The order does not depend on how things came, as far as times tell.

    What has the same microsecond is ordered by its content; where stamps are coarser than that (no digits
    below a millisecond), equal stamps keep the order in which they came, which is all there is to go by.
    """

    def __init__(self) -> None:
        self._held: list[tuple[int, bytes, int, T]] = []
        self._newest = 0
        self._number = 0
        self._look_at = _BATCH

    def add(self, at: int, content: bytes, item: T) -> None:
        """Take one thing in."""
        self._newest = max(self._newest, at)
        self._number += 1
        self._held.append((at, content if at % 1000 else b"", self._number, item))

    def ready(self) -> Iterator[T]:
        """What nothing can come before any more."""
        if len(self._held) >= self._look_at:
            yield from self._release(self._newest - LATENESS_US)
            # a dense burst stays held: looking again only after as much more keeps the work linear
            self._look_at = max(_BATCH, 2 * len(self._held))

    def rest(self) -> Iterator[T]:
        """Everything that is left."""
        yield from self._release(self._newest + 1)

    def _release(self, before: int) -> Iterator[T]:
        held = sorted(self._held, key=lambda entry: entry[:3])
        cut = next((place for place, entry in enumerate(held) if entry[0] >= before), len(held))
        self._held = held[cut:]
        for entry in held[:cut]:
            yield entry[3]


class Batch(NamedTuple, Generic[T]):
    """A part of a history, in order of time."""

    items: Sequence[T]
    upto: int
    """What comes after it is not before this instant, or is late."""


Batches = Iterator[Batch[Event]]


class BlockOrder:
    """As `TimeOrder`, for events that come many at once; the order is the same where nothing is late."""

    def __init__(self) -> None:
        self._held: list[Event] = []
        self._newest = 0

    def add(self, events: list[Event], newest: int) -> Batch[Event]:
        """Take in a block whose latest time is `newest`; what nothing can come before any more."""
        self._newest = max(self._newest, newest)
        held = self._held
        _put_in_order(events)
        if held and events and held[-1].at >= events[0].at:
            held += events
            held.sort(key=event_order)
        else:
            held += events
        upto = self._newest - LATENESS_US
        cut = bisect_left(held, upto, key=_at)
        self._held = held[cut:]
        return Batch(held[:cut], upto)

    def rest(self) -> Batch[Event]:
        """Everything that is left."""
        held, self._held = self._held, []
        return Batch(held, self._newest)


def _at(event: Event) -> int:
    return event.at


def event_order(event: Event) -> tuple[int, str]:
    """What has the same microsecond is ordered by its id; coarse stamps keep the order in which they came."""
    at = event.at
    return at, event.id if at % 1000 else ""


def _put_in_order(events: list[Event]) -> None:
    ats = [event.at for event in events]
    if sorted(ats) != ats:
        events.sort(key=event_order)
        return
    if len(set(ats)) == len(ats):
        return
    tied = [n for n, (a, b) in enumerate(pairwise(ats)) if a == b and a % 1000]
    for place in tied:
        first, last = bisect_left(ats, ats[place]), bisect_right(ats, ats[place])
        events[first:last] = sorted(events[first:last], key=event_order)


class Source(NamedTuple, Generic[T]):
    """One of several sources that are merged."""

    begins: int
    """Nothing of it is before this instant, or is late; it is not asked for anything until then."""
    batches: Iterator[Batch[T]]


def merged(sources: Iterable[Source[T]], order: Callable[[T], tuple[int, object]]) -> Iterator[Batch[T]]:
    """Batches of all sources as one history; of what is equal in `order`, the earlier source's comes first.

    Holds about one batch of each source that is being read.
    """
    waiting = [(source.begins, rank, source.batches) for rank, source in enumerate(sources)]
    held: dict[int, list[T]] = {rank: [] for _, rank, _ in waiting}
    heapify(waiting)

    def at(item: T) -> int:
        return order(item)[0]

    while waiting:
        _, rank, batches = waiting[0]
        batch = next(batches, None)
        if batch is None:
            heappop(waiting)
        else:
            kept, more = held[rank], batch.items
            late = bool(kept and more) and at(more[0]) < at(kept[-1])
            kept.extend(more)
            if late:
                kept.sort(key=order)
            heapreplace(waiting, (batch.upto, rank, batches))
        upto = waiting[0][0] if waiting else None
        ready: list[T] = []
        parts = 0
        for rank, items in held.items():
            cut = len(items) if upto is None else bisect_left(items, upto, key=at)
            if cut:
                ready += items[:cut]
                held[rank] = items[cut:]
                parts += 1
        if ready:
            if parts > 1:
                ready.sort(key=order)
            yield Batch(ready, at(ready[-1]) if upto is None else upto)

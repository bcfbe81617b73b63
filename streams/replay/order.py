"""Puts what comes almost in order of time into that order, in bounded memory."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant

T = TypeVar("T")

LATENESS_US: Final = 5 * MICROSECONDS
"""How far out of order things may come and still be put right; what is later is passed on as it comes."""

_BATCH: Final = 2048
_LAST: Final = 64
"""Lines by which it is told how far a source has come."""
_MOST_HELD: Final = 1 << 15
"""Of more, what is not of the last seconds of the latest time named goes on: a history may run backwards."""


def reached(stamps: Sequence[int], times: Sequence[int]) -> int:
    """How far a source has come, by the stamps of its lines, as they came, and its times, in their order.

    The earliest of the last lines says it. Where a clock was wrong, or one of several hosts is ahead, what
    lies further ahead than things may be out of order waits until its time has come, and makes nothing late.
    """
    return times[bisect_right(times, min(stamps[-_LAST:]) + LATENESS_US) - 1]


class TimeOrder(Generic[T]):
    """A buffer of the last seconds. The order does not depend on how things came, as far as times tell.

    What has the same microsecond is ordered by its content; where stamps are coarser than that (no digits
    below a millisecond), equal stamps keep the order in which they came, which is all there is to go by.
    """

    def __init__(self) -> None:
        self._held: list[tuple[int, bytes, int, T]] = []
        self._number = 0
        self._look_at = _BATCH

    def add(self, at: int, content: bytes, item: T) -> None:
        """Take one thing in."""
        self._number += 1
        self._held.append((at, content if at % 1000 else b"", self._number, item))

    def ready(self) -> Iterator[T]:
        """What nothing can come before any more."""
        if len(self._held) >= self._look_at:
            stamps = [entry[0] for entry in self._held[-_LAST:]]
            self._held.sort(key=_first_three)
            times = [entry[0] for entry in self._held]
            end = (reached(stamps, times) if len(times) <= _MOST_HELD else times[-1]) - LATENESS_US
            yield from self._release(bisect_left(self._held, end, key=_first))
            # a dense burst stays held: looking again only after as much more keeps the work linear
            self._look_at = max(_BATCH, 2 * len(self._held))

    def rest(self) -> Iterator[T]:
        """Everything that is left."""
        self._held.sort(key=_first_three)
        yield from self._release(len(self._held))

    def _release(self, cut: int) -> Iterator[T]:
        released, self._held = self._held[:cut], self._held[cut:]
        for entry in released:
            yield entry[3]


def _first(entry: tuple[int, bytes, int, object]) -> int:
    return entry[0]


def _first_three(entry: tuple[int, bytes, int, object]) -> tuple[int, bytes, int]:
    return entry[:3]


class Batch(NamedTuple, Generic[T]):
    """A part of a history, in order of time."""

    items: Sequence[T]
    upto: int
    """What comes after it is not before this instant, or is late."""


Batches = Iterator[Batch[Event]]


class Block(NamedTuple):
    """A part of a source of which the times are known; its events are made only when it is their turn.

    So what waits for others is small, and events are judged while the processor has them at hand.
    """

    times: Sequence[int]
    """What its lines name, in order of time."""
    first: int
    """Time of its first line where the lines come in order; else 0."""
    reached: int
    """How far it has come; 0 where it has no times."""
    events: Callable[[], list[Event]]
    """Makes its events, put in order."""


class BlockOrder:
    """As `TimeOrder`, for events that come many at once; the order is the same where nothing is late."""

    def __init__(self) -> None:
        self._held: list[Event] = []
        """In order, and before all that is unread."""
        self._times: list[int] = []
        """Of what is held by all who share the history, in order."""
        self._unread: deque[Block] = deque()
        """Blocks in order, each after the one before."""
        self._latest = 0
        """Latest time that anything named."""
        self._upto = 0
        """Latest time of what was given out."""

    def add(self, block: Block) -> Batches:
        """Take in a block; what nothing can come before any more. In how many batches, and their `upto`,
        depends on the times of blocks alone."""
        first, latest = block.first, self._latest
        if first > latest or (first and first == latest and first % 1000 == 0):
            self._unread.append(block)
        else:
            self._mix(block)
        if block.times:
            self._latest = max(latest, block.times[-1])
        come = block.reached if len(self._times) <= _MOST_HELD else self._latest
        return self._before(come - LATENESS_US)

    def rest(self) -> Batches:
        """Everything that is left."""
        return self._before(self._latest + 1)

    def _mix(self, block: Block) -> None:
        held, times = self._held, self._times
        for it in self._unread:
            held += it.events()
            times += it.times
        self._unread.clear()
        events = block.events()
        place = bisect_left(held, events[0].at, key=_at) if events else len(held)
        after = held[place:]
        held[place:] = sorted(after + events, key=event_order) if after else events
        place = bisect_left(times, block.times[0]) if block.times else len(times)
        times[place:] = sorted([*times[place:], *block.times])

    def _before(self, end: int) -> Batches:
        held, times, unread = self._held, self._times, self._unread
        cut, passed = bisect_left(held, end, key=_at), bisect_left(times, end)
        if passed:
            self._upto = max(self._upto, times[passed - 1])
        self._held, self._times = held[cut:], times[passed:]
        yield Batch(held[:cut], self._upto)
        while unread and unread[0].times[-1] < end:
            block = unread.popleft()
            self._upto = max(self._upto, block.times[-1])
            yield Batch(block.events(), self._upto)


def _at(event: Event) -> Instant:
    return event.at


def event_order(event: Event) -> tuple[int, str]:
    """What has the same microsecond is ordered by its id; coarse stamps keep the order in which they came."""
    at = event.at
    return at, event.id if at % 1000 else ""


def block_of(events: list[Event]) -> Block:
    """A block of events that are there already, as they came."""
    times = sorted(event.at for event in events)
    come = reached([event.at for event in events], times) if events else 0
    return Block(times, 0, come, lambda: put_in_order(events))


def put_in_order(events: list[Event]) -> list[Event]:
    """The same list, sorted by `event_order`."""
    ats = [event.at for event in events]
    if sorted(ats) != ats:
        events.sort(key=event_order)
        return events
    if len(set(ats)) == len(ats):
        return events
    tied = [n for n, (a, b) in enumerate(pairwise(ats)) if a == b and a % 1000]
    for place in tied:
        first, last = bisect_left(ats, ats[place]), bisect_right(ats, ats[place])
        events[first:last] = sorted(events[first:last], key=event_order)
    return events


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

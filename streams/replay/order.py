"""Puts what comes almost in order of time into that order, in bounded memory."""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

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

"""The policies as they were: which one each marker in a stream puts in force."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streams.errors import UnavailableError
from streams.model.event import Event
from streams.model.instant import Instant, rfc3339
from streams.model.marker import change_named, marker
from streams.model.standing import PolicyIndex
from streams.replay.order import Batch, Batches


@dataclass(frozen=True, slots=True)
class KnownChange:
    """One change of the policy, without its entries: these are asked for when they are needed."""

    number: int
    at: Instant
    version: str


class AsWas:
    """Follows the markers of one stream, from the policy that was in force where it begins.

    `load` gives the policy after a change; `base` was in force before the first. A number can have been used
    twice, by two lives of `smtp.policy`: the version that a marker names and its time tell them apart.
    """

    def __init__(
        self,
        changes: Sequence[KnownChange],
        load: Callable[[KnownChange], PolicyIndex],
        base: PolicyIndex,
        start: Instant,
    ) -> None:
        self._changes: Final = sorted(changes, key=lambda it: (it.at, it.number))
        self._load = load
        self._base: Final = base
        self._known: dict[tuple[int, str], PolicyIndex] = {}
        self._times: Final = [it.at for it in self._changes]
        self._place = bisect_right(self._times, start)
        """How many changes were made up to the one in force."""
        self.number, self.index = self.as_of(start)

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number and policy in force where the stream has come to."""
        return self.number, self.index

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """The latest change made by then; 0 and the base before any."""
        made = bisect_right(self._times, at)
        if not made:
            return 0, self._base
        change = self._changes[made - 1]
        return change.number, self._loaded(change)

    def at(self, number: int, timeout_s: float = 0.0, version: str = "") -> PolicyIndex:
        """The policy after this change; of several with its number that of this version."""
        if number == 0:
            return self._base
        found = [it for it in self._changes if it.number == number and version in ("", it.version)]
        if not found:
            raise UnavailableError(
                f"change {number} of the policy ({version or 'any version'}) is not recorded",
                try_next="goaway policy log",
            )
        return self._loaded(found[-1])

    def of_version(self, version: str) -> PolicyIndex | None:
        """A policy by what decisions call it: the base, or the latest change with that version; None where it
        is not known."""
        if version == self._base.version:
            return self._base
        found = [it for it in self._changes if it.version == version]
        return self._loaded(found[-1]) if found else None

    def after(self, marker: Event) -> PolicyIndex | None:
        """The policy that this marker puts in force; None where a later one is in force already."""
        named = change_named(marker.detail)
        if named is None:
            return None
        number, version = named
        place = self._made(number, version, marker.at)
        if place is None and number > self.number:
            self.at(number, version=version)  # says that it is not recorded
        if place is None or place <= self._place:
            return None
        change = self._changes[place - 1]
        self._place, self.number, self.index = place, change.number, self._loaded(change)
        return self.index

    def marked(self, batches: Batches) -> Batches:
        """The history with a marker where each change was made, in place of its own: a log has none."""
        place = self._place
        for batch in batches:
            items: list[Event] = []
            for event in batch.items:
                if event.kind == "policy":
                    continue
                if place < len(self._times) and event.at >= self._times[place]:
                    place = bisect_right(self._times, event.at)
                    change = self._changes[place - 1]
                    items.append(marker(0, change.number, 0, change.version, event.at))
                items.append(event)
            yield Batch(items, batch.upto)

    def _made(self, number: int, version: str, at: int) -> int | None:
        """How many changes were made up to the one that a marker of this time names: of several the latest
        by then, whatever the clocks say the first. None where there is none."""
        found = [
            place
            for place, it in enumerate(self._changes, 1)
            if it.number == number and version in ("", it.version)
        ]
        by_then = [place for place in found if self._times[place - 1] <= at]
        return by_then[-1] if by_then else found[0] if found else None

    def _loaded(self, change: KnownChange) -> PolicyIndex:
        name = change.number, change.version
        if name not in self._known:
            index = self._load(change)
            if change.version and index.version != change.version:
                raise UnavailableError(
                    f"the policy of change {change.number} ({rfc3339(change.at)}) is recorded as "
                    f"{change.version}, but its entries make {index.version}",
                    try_next="goaway policy log",
                )
            self._known[name] = index
        return self._known[name]

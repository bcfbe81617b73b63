"""The policies as they were: which one each marker in a stream puts in force."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streams.errors import UnavailableError
from streams.model.event import Event
from streams.model.instant import Instant, rfc3339
from streams.model.standing import PolicyIndex


@dataclass(frozen=True, slots=True)
class KnownChange:
    """One change of the policy, without its entries: these are asked for when they are needed."""

    number: int
    at: Instant
    version: str


class AsWas:
    """Follows the markers of one stream, from the policy that was in force where it begins.

    `load` gives the policy after a change; `base` was in force before the first. A number can have been used
    twice, by two lives of `smtp.policy`: the version that a marker names tells them apart.
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
        self.number, self.index = self.as_of(start)

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number and policy in force where the stream has come to."""
        return self.number, self.index

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """The latest change made by then; 0 and the base before any."""
        made = [it for it in self._changes if it.at <= at]
        return (made[-1].number, self._loaded(made[-1])) if made else (0, self._base)

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

    def after(self, marker: Event) -> PolicyIndex | None:
        """The policy that this marker puts in force; None where a later one is in force already."""
        number, _, rest = marker.detail.partition(" ")
        if not (number.isascii() and number.isdigit()) or int(number) <= self.number:
            return None
        self.number, self.index = int(number), self.at(int(number), version=rest.partition(" ")[2])
        return self.index

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

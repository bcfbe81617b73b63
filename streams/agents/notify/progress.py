"""Which offsets may be committed: all before them is delivered, or nobody is to be told of it. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

MAX_AHEAD: Final = 200
"""Ids kept of each partition of what was delivered before something older. They travel in the commit's
metadata, which a broker takes up to 4096 bytes of. Tansu drops it: there a restart tells them again."""
_MAX_METADATA: Final = 4000

Place = tuple[str, int]
"""Topic and partition."""


class Commit(NamedTuple):
    """What is to be committed of one partition: the next offset, and ids told beyond it."""

    place: Place
    offset: int
    metadata: str


class _Batch:
    """What waits together, or is under way together."""

    def __init__(self) -> None:
        self.first: dict[Place, int] = {}
        self.ids: dict[Place, dict[str, int]] = {}

    def add(self, place: Place, offset: int, notice_id: str) -> None:
        self.first.setdefault(place, offset)
        ids = self.ids.setdefault(place, {})
        ids[notice_id] = offset
        if len(ids) > MAX_AHEAD:
            del ids[next(iter(ids))]

    def merge(self, other: "_Batch") -> None:
        for place, offset in other.first.items():
            self.first[place] = min(offset, self.first.get(place, offset))
        for place, ids in other.ids.items():
            self.ids[place] = {**self.ids.get(place, {}), **ids}

    def drop(self, place: Place) -> None:
        self.first.pop(place, None)
        self.ids.pop(place, None)


class Progress:
    """Where reading stands, what waits in which lane, what is under way. Of a bounded size."""

    def __init__(self) -> None:
        self._read: dict[Place, int] = {}
        self._committed: dict[Place, tuple[int, str]] = {}
        self._lanes: dict[str, _Batch] = {}
        self._under_way: dict[int, _Batch] = {}
        self._ahead: dict[Place, dict[str, int]] = {}

    def assigned(self, place: Place, committed: int, metadata: str) -> tuple[int, list[str]]:
        """Where to read on in a partition that is ours now, and which ids beyond were told already."""
        ids = {it: committed for it in metadata.split(",") if it} if len(metadata) <= _MAX_METADATA else {}
        self._committed[place] = (committed, metadata)
        self._ahead[place] = {**ids, **self._ahead.get(place, {})}
        # what was read before it was taken from us, and is ours again, still waits here
        self._read[place] = max(committed, self._read.get(place, 0))
        return self._read[place], list(ids)

    def begins(self, place: Place, start: int) -> Commit:
        """A partition of which nothing was ever committed: forget what bore its name, commit its start."""
        self._ahead.pop(place, None)
        for batch in (*self._lanes.values(), *self._under_way.values()):
            batch.drop(place)
        self._read[place] = start
        self._committed[place] = (start, "")
        return Commit(place, start, "")

    def revoked(self, places: Iterable[Place]) -> None:
        """These are another's: nothing of them is committed any more."""
        for place in places:
            self._committed.pop(place, None)

    def failed(self, place: Place) -> None:
        """Its commit did not arrive: it is made again."""
        if place in self._committed:
            self._committed[place] = (-1, "")

    def read(self, place: Place, offset: int) -> None:
        """This record was read."""
        self._read[place] = offset + 1

    def hold(self, lane: str, place: Place, offset: int, notice_id: str) -> None:
        """Its notice waits in this lane."""
        self._lanes.setdefault(lane, _Batch()).add(place, offset, notice_id)

    def sent(self, number: int, lanes: Iterable[str]) -> None:
        """All of these lanes is under way, as message `number`."""
        batch = self._under_way.setdefault(number, _Batch())
        for lane in lanes:
            if (waiting := self._lanes.pop(lane, None)) is not None:
                batch.merge(waiting)

    def delivered(self, number: int) -> None:
        """That message arrived."""
        for place, ids in self._under_way.pop(number, _Batch()).ids.items():
            self._ahead.setdefault(place, {}).update(ids)

    def commits(self) -> list[Commit]:
        """What is to be committed now; each once, and never backwards."""
        found = []
        for place, (before, metadata_before) in self._committed.items():
            firsts = [
                batch.first[place]
                for batch in (*self._lanes.values(), *self._under_way.values())
                if place in batch.first
            ]
            offset = min([self._read[place], *firsts])
            metadata = self._metadata(place, offset)
            if offset > before or (offset == before and metadata != metadata_before):
                self._committed[place] = (offset, metadata)
                found.append(Commit(place, offset, metadata))
        return found

    def _metadata(self, place: Place, offset: int) -> str:
        """Ids told at or beyond this offset, the latest first to stay."""
        kept = {it: at for it, at in self._ahead.get(place, {}).items() if at >= offset}
        latest = sorted(kept, key=lambda it: kept[it])[-MAX_AHEAD:]
        self._ahead[place] = {it: kept[it] for it in latest}
        while len(text := ",".join(latest)) > _MAX_METADATA:
            latest = latest[1:]
        return text

"""Events that a shipper sent again after a crash, told from new ones as every worker tells them.

A source's positions grow from frame to frame within a partition (`streams/agents/ledger.py`), so an event at
or before what earlier frames of its source had was sent twice. What is skipped depends on earlier offsets of
the partition alone: the same records are skipped whenever they are read.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from streams.model.event import Event

MAX_SOURCES: Final = 500
"""Sources remembered of one partition; the one not heard of for longest is forgotten."""


class Reached:
    """The highest position of each source, partition by partition."""

    def __init__(self, known: Mapping[int, Mapping[str, int]] | None = None) -> None:
        """`known` lists each partition's sources, the one not heard of for longest first."""
        self._read = {partition: dict(sources) for partition, sources in (known or {}).items()}

    def new(self, partition: int, events: Sequence[Event]) -> Sequence[Event]:
        """The events of one frame that earlier frames did not have."""
        read = self._read.setdefault(partition, {})
        reached: dict[str, int] = {}
        repeated = False
        for event in events:
            if (source := event.source) and event.position > reached.get(source, -1):
                reached[source] = event.position
                repeated = repeated or event.position <= read.get(source, -1)
        # an event may be old although its frame also has a later one of the same source
        if not repeated and all(
            read.get(source, -1) < 0 or not self._has_old(events, source, read[source]) for source in reached
        ):
            found = events
        else:
            found = [event for event in events if not event.source or event.position > read.get(event.source, -1)]
        for source, position in reached.items():
            read[source] = max(position, read.pop(source, -1))
        while len(read) > MAX_SOURCES:
            del read[next(iter(read))]
        return found

    @staticmethod
    def _has_old(events: Sequence[Event], source: str, position: int) -> bool:
        return any(event.position <= position for event in events if event.source == source)

    def sources(self, partition: int) -> dict[str, int]:
        """A copy of what is known of a partition, to be kept with its offsets."""
        return dict(self._read.get(partition, {}))

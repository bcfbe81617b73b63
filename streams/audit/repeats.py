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

    def new(self, partition: int, events: Sequence[Event]) -> list[Event]:
        """The events of one frame that earlier frames did not have."""
        read = self._read.setdefault(partition, {})
        reached: dict[str, int] = {}
        found = []
        for event in events:
            if source := event.source:
                position = event.position
                if position <= read.get(source, -1):
                    continue
                if position > reached.get(source, -1):
                    reached[source] = position
            found.append(event)
        for source, position in reached.items():
            read.pop(source, None)
            read[source] = position
        while len(read) > MAX_SOURCES:
            del read[next(iter(read))]
        return found

    def sources(self, partition: int) -> dict[str, int]:
        """A copy of what is known of a partition, to be kept with its offsets."""
        return dict(self._read.get(partition, {}))

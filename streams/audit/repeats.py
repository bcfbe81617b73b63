"""Events that a shipper sent again after a crash, told from new ones as every worker tells them.

A source's positions grow from frame to frame within a partition (`streams/agents/ledger.py`), so an event at
or before what earlier frames of its source had was sent twice. What is skipped depends on earlier offsets of
the partition alone: the same records are skipped whenever they are read.
"""

from collections.abc import Mapping, Sequence
from typing import Final

MAX_SOURCES: Final = 500
"""Sources remembered of one partition; the one not heard of for longest is forgotten."""


class Reached:
    """The highest position of each source, partition by partition."""

    def __init__(self, known: Mapping[int, Mapping[str, int]] | None = None) -> None:
        """`known` lists each partition's sources, the one not heard of for longest first."""
        self._read = {partition: dict(sources) for partition, sources in (known or {}).items()}

    def new(self, partition: int, sources: Sequence[str], positions: Sequence[int]) -> list[int] | None:
        """Which events of a frame earlier frames did not have, by their numbers in it; None: all of them.

        `sources` and `positions` are the events', in their order.
        """
        read = self._read.setdefault(partition, {})
        found: list[int] | None = None
        if len(names := set(sources)) == 1 and min(positions) > read.get(sources[0], -1):
            reached = dict.fromkeys(filter(None, names), max(positions))
        else:
            found, reached = [], {}
            for number, (source, position) in enumerate(zip(sources, positions, strict=True)):
                if source:
                    if position <= read.get(source, -1):
                        continue
                    reached[source] = max(position, reached.get(source, -1))
                found.append(number)
        for source, position in reached.items():
            read.pop(source, None)
            read[source] = position
        while len(read) > MAX_SOURCES:
            del read[next(iter(read))]
        return None if found is not None and len(found) == len(sources) else found

    def sources(self, partition: int) -> dict[str, int]:
        """A copy of what is known of a partition, to be kept with its offsets."""
        return dict(self._read.get(partition, {}))

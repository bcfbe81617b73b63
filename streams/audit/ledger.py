"""What the sink intends, kept in ClickHouse before it is done: the lives of topics, and their batches.

Every write is deduplicated by what it decides (the number of a life, the number of a batch), and read back
before anything is built on it: of two writers, or of a killed one whose insert still arrives, the first wins,
and the other sees that it lost.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from streams.audit.clickhouse import ClickHouse
from streams.errors import UnavailableError
from streams.model.instant import MICROSECONDS

_ATTEMPTS: Final = 5

ReadEnds: TypeAlias = tuple[dict[str, int], dict[str, int]]
"""How far each source of a partition was read before a batch, and with it."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Consecutive records of one partition, both ends included."""

    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """What tells one life of a topic from the next. Empty: this broker does not say."""

    topic_id: str = ""
    """Kafka's id of the topic; a new one each time the topic is created."""
    instance: str = ""
    """The run of a broker that keeps its log in memory, as the caller names it."""

    def same_as(self, other: "LogIdentity") -> bool | None:
        """Whether both are one life of the log; None where neither side can tell.

        The topic's id decides where both have one, else the instance.
        """
        if self.topic_id and other.topic_id:
            return self.topic_id == other.topic_id
        if self.instance and other.instance:
            return self.instance == other.instance
        return None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one life of a topic is stored."""

    batch: int = 0
    """Number of the last batch intended; 0 before the first."""
    latest: tuple[Span, ...] = ()
    """The last span of every partition, in the order of partitions."""
    under_way: tuple[Span, ...] = ()
    """The spans of the last batch: intended, perhaps stored, perhaps not."""
    read_before: Mapping[int, dict[str, int]] = field(default_factory=dict)
    """How far each source was read: of a partition under way before it, of others after their last."""
    as_lines: bool = False
    """Whether the events of the last batch were sent as lines, and not by a version that knew none."""


class OvertakenError(UnavailableError):
    """Another writer decided this batch: what is in hand is stale, and the ledger must be read again."""


class Ledger:
    """The tables `sink_epochs` and `sink_batches`."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def life(self, topic: str) -> tuple[int, LogIdentity]:
        """Number and identity of the topic's latest life; 0 before the first."""
        found = self._clickhouse.rows(
            "SELECT epoch, topic_id, instance FROM sink_epochs WHERE topic = %(topic)s"
            " ORDER BY epoch DESC LIMIT 1",
            {"topic": topic},
        )
        if not found:
            return 0, LogIdentity()
        epoch, topic_id, instance = found[0]
        return int(epoch), LogIdentity(topic_id, instance)

    def begin_life(self, topic: str, epoch: int, identity: LogIdentity) -> None:
        """Record that the topic's life `epoch` begins, or raise `OvertakenError`."""
        names = ("topic", "epoch", "topic_id", "instance", "started")
        for attempt in range(_ATTEMPTS):
            row: list[list[object]] = [[topic], [epoch], [identity.topic_id], [identity.instance], [_now()]]
            self._clickhouse.insert("sink_epochs", names, row, token=_token(topic, epoch, attempt))
            known, as_recorded = self.life(topic)
            if known > epoch or (known == epoch and as_recorded != identity):
                raise OvertakenError(f"another sink stores {topic}", try_next="goaway status")
            if known == epoch:
                return
        raise UnavailableError(f"{self._clickhouse.place} keeps no row of sink_epochs")

    def progress(self, topic: str, epoch: int) -> Progress:
        """How far this life of the topic is stored."""
        found = self._clickhouse.rows(
            "SELECT kafka_partition, max(batch), argMax(first_offset, batch), argMax(last_offset, batch),"
            " argMax(read_before, batch), argMax(read_after, batch), argMax(as_lines, batch)"
            " FROM sink_batches WHERE topic = %(topic)s AND epoch = %(epoch)s"
            " GROUP BY kafka_partition ORDER BY kafka_partition",
            {"topic": topic, "epoch": epoch},
        )
        batch = max((int(row[1]) for row in found), default=0)
        spans = [(int(row[1]), Span(int(row[0]), int(row[2]), int(row[3]))) for row in found]
        return Progress(
            batch,
            tuple(span for _, span in spans),
            tuple(span for number, span in spans if number == batch),
            {int(row[0]): row[4] if int(row[1]) == batch else row[5] for row in found},
            any(row[6] for row in found if int(row[1]) == batch),
        )

    def intend(
        self, topic: str, epoch: int, batch: int, spans: Iterable[Span], read: Mapping[int, ReadEnds]
    ) -> None:
        """Record that batch `batch` is these spans, or raise `OvertakenError` where it is decided otherwise.

        `read` has the ends of each partition's sources. A token that is known without its row (ClickHouse
        was killed between the two) is followed by another.
        """
        wanted = tuple(sorted(spans))
        nothing: ReadEnds = ({}, {})
        names = (
            *("topic", "epoch", "batch", "kafka_partition", "first_offset", "last_offset"),
            *("read_before", "read_after", "as_lines", "written"),
        )
        number, now = (topic, epoch, batch), _now()
        rows = [
            (*number, at.partition, at.first, at.last, *read.get(at.partition, nothing), True, now)
            for at in wanted
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        for attempt in range(_ATTEMPTS):
            token = _token(topic, epoch, batch, attempt)
            self._clickhouse.insert("sink_batches", names, columns, token=token)
            known = self.progress(topic, epoch)
            if known.batch > batch or (known.batch == batch and known.under_way != wanted):
                raise OvertakenError(f"another sink stores {topic}", try_next="goaway status")
            if known.batch == batch:
                return
        raise UnavailableError(f"{self._clickhouse.place} keeps no row of sink_batches")


def _token(*parts: object) -> str:
    return "/".join(map(str, parts))


def _now() -> int:
    return int(time.time() * MICROSECONDS)

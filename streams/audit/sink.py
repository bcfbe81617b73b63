"""The sink: every record of the topics becomes rows in ClickHouse, none lost and none twice.

The rules, which together survive a kill -9 of sink, broker or ClickHouse at any moment:

1. **A batch is decided before it is stored.** Its number and the offsets it covers go to `sink_batches` first
   (`Ledger.intend`), deduplicated by the number and read back. Only a topic's last batch can be unstored.
2. **An insert is whole or absent.** It holds one table and one month, hence one part, and its token
   (`topic/epoch/batch/table/month`) is known to the table: the same insert sent twice is stored once.
3. **There is one way to go on**, after a start as after an error: read the ledger, read the last batch's
   records again, store what is missing of it under the same tokens, count it, and go on behind it. The
   count is for a ClickHouse killed between noting a token and keeping its part: the note would hide the
   loss. Rollups are filled by the insert and counted as well (`rollups`).
4. **Offsets count within one life of a topic** (`epoch`). A new life begins where Kafka's topic id is another
   one; where the broker has no such ids, where the caller names another `broker_instance`; where neither is
   known, where a record that was stored is no longer in the log. It is read from its oldest record.
   The id is asked for again after a batch was read and before it is decided, so that a batch never mixes two
   lives, and every few seconds where nothing comes. A broker with neither ids nor instance that lost its log
   and refilled it beyond the old end unobserved cannot be told from one that did not.

Several sinks at once do no harm (the first to decide a batch wins), and no good.
What a shipper sent again after a crash is skipped, as the worker skips it (`repeats`): earlier offsets alone
decide, and how far each source was read is part of what rule 1 keeps.
Records that Kafka deletes or compacts before they are read are said to be lost, not found.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.ledger import Ledger, LogIdentity, OvertakenError, Progress, Span
from streams.audit.repeats import Reached
from streams.audit.rollups import differences, settle
from streams.audit.rows import Record, Rows, TopicRows, month_of
from streams.audit.source import LogReader
from streams.audit.veil import Veil
from streams.config import StoringSettings
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, POLICY, WARNINGS

STORED_TOPICS: Final = (EVENTS, DECISIONS, WARNINGS, POLICY, DEADLETTERS)

BATCH_ROWS: Final = 50_000
BATCH_BYTES: Final = 32 * 1024 * 1024
BATCH_S: Final = 1.0
"""A batch is stored when it has this many rows, or bytes of records, or its first record is this old."""

_LIFE_CHECK_S: Final = 3.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Figures:
    """What the sink has done since it started."""

    rows: int = 0
    batches: int = 0
    unreadable: int = 0
    """Lines and records that the sink itself could not read."""
    redone: int = 0
    """Batches that were found under way and brought to their end."""
    repeated: int = 0
    """Events that a shipper sent again after a crash; stored once."""
    mended: int = 0
    """Months of a rollup that did not agree with the events, and do now."""


@dataclass(slots=True)
class _Topic:
    """One topic as it is being followed."""

    name: str
    epoch: int
    identity: LogIdentity
    batch: int
    """Number of the last batch decided."""
    reached: Reached
    rows: TopicRows = field(init=False)
    spans: dict[int, Span] = field(default_factory=dict)
    """What `rows` covers."""
    read_before: dict[int, dict[str, int]] = field(default_factory=dict)
    """Of each partition in `spans`, how far its sources had been read."""
    since: float = 0.0

    def __post_init__(self) -> None:
        self.rows = TopicRows(self.name, self.reached)

    def begin_batch(self) -> None:
        self.rows, self.spans, self.read_before = TopicRows(self.name, self.reached), {}, {}

    def add(self, record: Record) -> None:
        known = self.spans.get(record.partition)
        if not self.spans:
            self.since = time.monotonic()
        if known is None:
            self.read_before[record.partition] = self.reached.sources(record.partition)
        first = record.offset if known is None else known.first
        self.spans[record.partition] = Span(record.partition, first, record.offset)
        self.rows.add(record)

    def is_due(self) -> bool:
        if not self.spans:
            return False
        full = len(self.rows) >= BATCH_ROWS or self.rows.bytes >= BATCH_BYTES
        return full or time.monotonic() - self.since >= BATCH_S


class Sink:
    """Follows the topics into ClickHouse. Errors come out as they are: call `catch_up` before going on."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        reader: LogReader,
        *,
        broker_instance: str = "",
        veil: Veil | None = None,
    ) -> None:
        self._clickhouse = clickhouse
        self._reader = reader
        self._ledger = Ledger(clickhouse)
        self._instance = broker_instance
        self._veil = veil or Veil(StoringSettings())
        self._topics: dict[str, _Topic] = {}
        self.positions: dict[tuple[str, int], int | None] = {}
        """The next offset to be stored of every partition; None: the oldest there is."""
        self.figures: Final = Figures()
        self._checked = 0.0

    def catch_up(self) -> None:
        """Forget what is in hand, finish what was under way, and stand behind it (rules 3 and 4)."""
        self._topics, self.positions = {}, {}
        counts = self._reader.partitions(STORED_TOPICS)
        for name in STORED_TOPICS:
            epoch, identity, progress = self._current_life(name)
            sources = Reached(progress.read_before)
            if progress.under_way:
                self._finish(name, epoch, progress, sources)
            self._topics[name] = _Topic(name, epoch, identity, progress.batch, sources)
            reached = {span.partition: span.last + 1 for span in progress.latest}
            for partition in range(counts[name]):
                self.positions[name, partition] = reached.get(partition)
        self._mend_rollups()
        self._reader.assign(self.positions)
        self._checked = time.monotonic()

    def _current_life(self, topic: str) -> tuple[int, LogIdentity, Progress]:
        """The life that the log is in now, its identity, and how far it is stored; a new one is recorded."""
        epoch, recorded = self._ledger.life(topic)
        seen = LogIdentity(self._reader.topic_id(topic), self._instance)
        progress = self._ledger.progress(topic, epoch)
        same = epoch > 0 and seen.same_as(recorded)
        if same is None:
            same = all(self._reader.holds(topic, span) for span in progress.latest)
        if same:
            return epoch, seen, progress
        self._ledger.begin_life(topic, epoch + 1, seen)
        if epoch:
            _log.warning("%s starts again from its beginning: a new log (epoch %d)", topic, epoch + 1)
        return epoch + 1, seen, Progress()

    def _finish(self, topic: str, epoch: int, progress: Progress, sources: Reached) -> None:
        """Bring the last batch to its end, whatever of it is stored; `sources` learns from it."""
        again = TopicRows(topic, sources)
        for record in self._reader.read_again(topic, progress.under_way):
            again.add(record)
        for token, rows in _inserts(topic, epoch, progress.batch, again):
            self._store_missing(topic, epoch, progress.under_way, token, rows)
        self.figures.redone += 1

    def _store_missing(self, topic: str, epoch: int, spans: tuple[Span, ...], token: str, rows: Rows) -> None:
        def is_stored() -> bool:
            return self._stored(topic, epoch, spans, rows) >= len(rows)

        of_events = rows.table.name == "events"
        if is_stored() and not (of_events and differences(self._clickhouse, month_of(rows.instants[0]))):
            return
        self._insert(epoch, token, rows)
        # an insert of ours may have been under way in the server, which then took this one for its double
        for _ in range(5):
            if is_stored():
                return
            time.sleep(0.2)
        _log.warning("%s: ClickHouse knew the insert %s and not its rows; stored again", topic, token)
        self._insert(epoch, f"{token}/again", rows)

    def _mend_rollups(self) -> None:
        """Nothing of ours is under way now. Where another sink stores, that one keeps the rollups right."""
        for table, month, stored, counted in settle(self._clickhouse) or ():
            _log.warning("%s had %d events of %d, and has all %d now", table, counted, month, stored)
            self.figures.mended += 1

    def _stored(self, topic: str, epoch: int, spans: Iterable[Span], rows: Rows) -> int:
        """How many rows of this insert the table holds."""
        where = " OR ".join(
            f"(kafka_partition = {span.partition} AND kafka_offset BETWEEN {span.first} AND {span.last})"
            for span in spans
        )
        first, last = rows.instants
        of_topic = f" AND kafka_topic = '{topic}'" if rows.table.name == "deadletters" else ""
        found = self._clickhouse.rows(
            f"SELECT count() FROM {rows.table.name} WHERE kafka_epoch = {epoch}{of_topic} AND ({where})"  # noqa: S608
            f" AND at BETWEEN fromUnixTimestamp64Micro({first}, 'UTC')"
            f" AND fromUnixTimestamp64Micro({last}, 'UTC')"
        )
        return int(found[0][0])

    def step(self, timeout_s: float = 0.1) -> None:
        """Read what has arrived and store the batches that are due."""
        for record in self._reader.read(timeout_s):
            topic = self._topics[record.topic]
            topic.add(record)
            if topic.is_due():
                self._store(topic)
        for topic in self._topics.values():
            if topic.is_due():
                self._store(topic)
        if time.monotonic() - self._checked >= _LIFE_CHECK_S:
            # a broker that came back empty does not tell a reader who waits beyond its end
            for topic in self._topics.values():
                self._check_life(topic)
            self._checked = time.monotonic()

    def flush(self) -> None:
        """Store what is in hand."""
        for topic in self._topics.values():
            if topic.spans:
                self._store(topic)

    def _check_life(self, topic: _Topic) -> None:
        """Raise `OvertakenError` where the topic is in another life than the one being followed."""
        seen = LogIdentity(self._reader.topic_id(topic.name), self._instance)
        if seen.same_as(topic.identity) is False:
            raise OvertakenError(f"{topic.name} is another log than a moment ago")

    def _store(self, topic: _Topic) -> None:
        self._check_life(topic)
        read = {
            partition: (before, topic.reached.sources(partition))
            for partition, before in topic.read_before.items()
        }
        self._ledger.intend(topic.name, topic.epoch, topic.batch + 1, topic.spans.values(), read)
        topic.batch += 1
        for token, rows in _inserts(topic.name, topic.epoch, topic.batch, topic.rows):
            self._insert(topic.epoch, token, rows)
        for span in topic.spans.values():
            self.positions[topic.name, span.partition] = span.last + 1
        self.figures.batches += 1
        self.figures.repeated += topic.rows.repeated
        topic.begin_batch()

    def _insert(self, epoch: int, token: str, rows: Rows) -> None:
        columns = self._veil.columns(rows.table.names, rows.columns(epoch))
        self._clickhouse.insert(rows.table.name, rows.table.names, columns, token=token)
        self.figures.rows += len(rows)
        if rows.table.name == "deadletters":
            # a letter of ours names the topic it is about; others' come by smtp.deadletters
            about = zip(rows.column("source"), rows.column("kafka_topic"), strict=True)
            self.figures.unreadable += sum(source.rpartition("/")[0] == topic for source, topic in about)


def _inserts(topic: str, epoch: int, batch: int, gathered: TopicRows) -> Iterable[tuple[str, Rows]]:
    """Every insert of a batch with its token: one table and one month each (rule 2)."""
    for rows in (gathered.rows, gathered.letters):
        if rows is not None:
            for month, of_month in rows.months():
                yield f"{topic}/{epoch}/{batch}/{rows.table.name}/{month}", of_month

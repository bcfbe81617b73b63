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

While one batch is being stored, the next is read: at most two are in memory.
Several sinks at once do no harm (the first to decide a batch wins), and no good.
What a shipper sent again after a crash is skipped, as the worker skips it (`repeats`): earlier offsets alone
decide, and how far each source was read is part of what rule 1 keeps.
Records that Kafka deletes or compacts before they are read are said to be lost, not found.
"""

import gc
import logging
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.event_lines import Veiling
from streams.audit.ledger import Ledger, LogIdentity, OvertakenError, Progress, Span
from streams.audit.repeats import Reached
from streams.audit.rollups import settle
from streams.audit.rows import Record, TopicRows
from streams.audit.source import LogReader
from streams.audit.storing import Batch, Figures, Storing
from streams.audit.veil import Veil
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, POLICY, WARNINGS

STORED_TOPICS: Final = (EVENTS, DECISIONS, WARNINGS, POLICY, DEADLETTERS)

BATCH_ROWS: Final = 300_000
BATCH_BYTES: Final = 96 * 1024 * 1024
BATCH_S: Final = 1.0
"""A batch is stored when it has this many rows, or bytes of records, or its first record is this old and no
other is being stored."""

SWITCH_S: Final = 0.0005
"""How long the thread that reads may keep the interpreter while the one that stores waits: at the default of
5 ms, once for each megabyte that is sent, a batch is longer on its way than in the making."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Rows are no containers and make no cycles; looking for some costs a tenth of reading them."""

_LIFE_CHECK_S: Final = 3.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Topic:
    """One topic as it is being followed."""

    name: str
    epoch: int
    identity: LogIdentity
    batch: int
    """Number of the last batch handed over."""
    reached: Reached
    veiling: Veiling | None
    rows: TopicRows = field(init=False)
    spans: dict[int, Span] = field(default_factory=dict)
    """What `rows` covers."""
    read_before: dict[int, dict[str, int]] = field(default_factory=dict)
    """Of each partition in `spans`, how far its sources had been read."""
    since: float = 0.0

    def __post_init__(self) -> None:
        self.rows = TopicRows(self.name, self.reached, self.veiling)

    def add(self, record: Record) -> None:
        known = self.spans.get(record.partition)
        if not self.spans:
            self.since = time.monotonic()
        if known is None:
            self.read_before[record.partition] = self.reached.sources(record.partition)
        first = record.offset if known is None else known.first
        self.spans[record.partition] = Span(record.partition, first, record.offset)
        self.rows.add(record)

    def is_full(self) -> bool:
        return len(self.rows) >= BATCH_ROWS or self.rows.bytes >= BATCH_BYTES

    def is_due(self) -> bool:
        return bool(self.spans) and time.monotonic() - self.since >= BATCH_S

    def take(self) -> Batch:
        """What is in hand, as the next batch; from here on the one after it is gathered."""
        self.batch += 1
        read = {
            partition: (before, self.reached.sources(partition))
            for partition, before in self.read_before.items()
        }
        spans = tuple(self.spans.values())
        taken = Batch(self.name, self.epoch, self.batch, self.rows, spans, read)
        self.rows, self.spans, self.read_before = TopicRows(self.name, self.reached, self.veiling), {}, {}
        return taken


class Sink:
    """Follows the topics into ClickHouse. Errors come out as they are: call `catch_up` before going on.

    ClickHouse is spoken to by one thread at a time: by ours, or by the one that stores a batch.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        reader: LogReader,
        *,
        broker_instance: str = "",
        veil: Veil | None = None,
    ) -> None:
        self.figures: Final = Figures()
        self._clickhouse = clickhouse
        self._reader = reader
        self._ledger = Ledger(clickhouse)
        self._instance = broker_instance
        self._veiling = None if veil is None or veil.sees_all else veil.event
        self._storing = Storing(clickhouse, self._ledger, self.figures)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink-storing")
        self._under_way: Future[Batch] | None = None
        self._topics: dict[str, _Topic] = {}
        self.positions: dict[tuple[str, int], int | None] = {}
        """The next offset to be stored of every partition; None: the oldest there is."""
        self._checked = 0.0
        sys.setswitchinterval(SWITCH_S)
        gc.set_threshold(*GC_THRESHOLDS)

    def close(self) -> None:
        """Wait for what is being stored; afterwards nothing is."""
        self._thread.shutdown()

    def catch_up(self) -> None:
        """Forget what is in hand, finish what was under way, and stand behind it (rules 3 and 4)."""
        if self._under_way is not None:
            wait([self._under_way])  # whatever came of it, the ledger says
            self._under_way = None
        self._topics, self.positions = {}, {}
        counts = self._reader.partitions(STORED_TOPICS)
        for name in STORED_TOPICS:
            epoch, identity, progress = self._current_life(name)
            sources = Reached(progress.read_before)
            if progress.under_way:
                again = TopicRows(name, sources, self._veiling)
                for record in self._reader.read_again(name, progress.under_way):
                    again.add(record)
                batch = Batch(name, epoch, progress.batch, again, progress.under_way, {})
                self._storing.finish(batch, as_lines=progress.as_lines)
            self._topics[name] = _Topic(name, epoch, identity, progress.batch, sources, self._veiling)
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

    def _mend_rollups(self) -> None:
        """Nothing of ours is under way now. Where another sink stores, that one keeps the rollups right."""
        for table, month, stored, counted in settle(self._clickhouse) or ():
            _log.warning("%s had %d events of %d, and has all %d now", table, counted, month, stored)
            self.figures.mended += 1

    def step(self, timeout_s: float = 0.1) -> None:
        """Read what has arrived and store the batches that are due."""
        for record in self._reader.read(timeout_s):
            topic = self._topics[record.topic]
            topic.add(record)
            if topic.is_full():
                for other in self._topics.values():  # or they would never have their turn
                    if other is not topic and other.is_due():
                        self._hand_over(other)
                self._hand_over(topic)
        if self._under_way is not None and self._under_way.done():
            self._await_storing()
        for topic in self._topics.values():
            if topic.is_due() and self._under_way is None:
                self._hand_over(topic)
        if time.monotonic() - self._checked >= _LIFE_CHECK_S:
            # a broker that came back empty does not tell a reader who waits beyond its end
            for topic in self._topics.values():
                self._check_life(topic)
            self._checked = time.monotonic()

    def flush(self) -> None:
        """Store what is in hand."""
        for topic in self._topics.values():
            if topic.spans:
                self._hand_over(topic)
        self._await_storing()

    def _check_life(self, topic: _Topic) -> None:
        """Raise `OvertakenError` where the topic is in another life than the one being followed."""
        seen = LogIdentity(self._reader.topic_id(topic.name), self._instance)
        if seen.same_as(topic.identity) is False:
            raise OvertakenError(f"{topic.name} is another log than a moment ago")

    def _hand_over(self, topic: _Topic) -> None:
        """Have what is in hand stored, as soon as the batch before it is."""
        self._await_storing()
        self._check_life(topic)
        self._under_way = self._thread.submit(self._storing.store, topic.take())

    def _await_storing(self) -> None:
        """Wait for the batch that is being stored, and raise what kept it from it."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            batch = under_way.result()
            for span in batch.spans:
                self.positions[batch.topic, span.partition] = span.last + 1

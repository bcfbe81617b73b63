"""One batch into ClickHouse: decided, inserted, after an error brought to its end (the rules: sink.py)."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streams.audit.clickhouse import ClickHouse
from streams.audit.ledger import Ledger, ReadEnds, Span
from streams.audit.rollups import differences
from streams.audit.rows import Rows, TopicRows

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


@dataclass(frozen=True, slots=True)
class Batch:
    """What is stored together: rows of one topic, the records they come from, how far sources were read."""

    topic: str
    epoch: int
    number: int
    rows: TopicRows
    spans: tuple[Span, ...]
    read: Mapping[int, ReadEnds]

    def inserts(self) -> Iterable[tuple[str, Rows]]:
        """Every insert with its token: one table and one month each (rule 2)."""
        for rows in (self.rows.rows, self.rows.letters):
            for month, of_month in rows.months() if rows is not None else ():
                yield f"{self.topic}/{self.epoch}/{self.number}/{of_month.table.name}/{month}", of_month


class Storing:
    """Stores batches, one after another. One thread at a time."""

    def __init__(self, clickhouse: ClickHouse, ledger: Ledger, figures: Figures) -> None:
        self._clickhouse = clickhouse
        self._ledger = ledger
        self._figures = figures

    def store(self, batch: Batch) -> Batch:
        """Decide the batch, then insert it (rules 1 and 2)."""
        self._ledger.intend(batch.topic, batch.epoch, batch.number, batch.spans, batch.read)
        for token, rows in batch.inserts():
            self._insert(batch.epoch, token, rows)
        self._figures.batches += 1
        self._figures.repeated += batch.rows.repeated
        return batch

    def finish(self, batch: Batch, *, as_lines: bool) -> None:
        """Bring a batch that was decided to its end, whatever of it is stored (rule 3).

        `as_lines`: its events are known by their token where they are sent now.
        """
        for token, rows in batch.inserts():
            self._store_missing(batch, token, rows, fill_rollups=as_lines and bool(rows.table.stored_in))
        self._figures.redone += 1

    def _store_missing(self, batch: Batch, token: str, rows: Rows, *, fill_rollups: bool) -> None:
        def is_stored() -> bool:
            return self._stored(batch, rows) >= len(rows)

        if is_stored() and not (fill_rollups and differences(self._clickhouse)):
            return
        self._insert(batch.epoch, token, rows)
        # an insert of ours may have been under way in the server, which then took this one for its double
        for _ in range(5):
            if is_stored():
                return
            time.sleep(0.2)
        _log.warning("%s: ClickHouse knew the insert %s and not its rows; stored again", batch.topic, token)
        self._insert(batch.epoch, f"{token}/again", rows)

    def _stored(self, batch: Batch, rows: Rows) -> int:
        """How many rows of this insert are kept."""
        table = rows.table.stored_in or rows.table.name
        where = " OR ".join(
            f"(kafka_partition = {span.partition} AND kafka_offset BETWEEN {span.first} AND {span.last})"
            for span in batch.spans
        )
        first, last = rows.instants
        of_topic = f" AND kafka_topic = '{batch.topic}'" if rows.table.name == "deadletters" else ""
        found = self._clickhouse.rows(
            f"SELECT count() FROM {table} WHERE kafka_epoch = {batch.epoch}{of_topic}"  # noqa: S608
            f" AND ({where}) AND at BETWEEN fromUnixTimestamp64Micro({int(first)}, 'UTC')"
            f" AND fromUnixTimestamp64Micro({int(last)}, 'UTC')"
        )
        return int(found[0][0])

    def _insert(self, epoch: int, token: str, rows: Rows) -> None:
        self._clickhouse.insert(rows.table.name, rows.table.names, rows.columns(epoch), token=token)
        self._figures.rows += len(rows)
        if rows.table.name == "deadletters":
            # a letter of ours names the topic it is about; others' come by smtp.deadletters
            about = zip(rows.column("source"), rows.column("kafka_topic"), strict=True)
            self._figures.unreadable += sum(source.rpartition("/")[0] == topic for source, topic in about)

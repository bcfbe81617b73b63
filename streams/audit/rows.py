"""Records of a topic as rows of a table: what can be read, and a dead letter for what can't."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

from streams.audit.event_lines import EventLines, Veiling, lines_of, read_lines
from streams.audit.policy_rows import policy_row
from streams.audit.repeats import Reached
from streams.audit.tables import DEADLETTER_ROWS, EVENT_LINE_ROWS, TABLE_OF, Table
from streams.audit.violation_notes import veiled
from streams.errors import InvalidValueError
from streams.model.deadletter import DeadLetter, dead_letter
from streams.model.instant import Instant, as_datetime
from streams.topics import DECISIONS, EVENTS, POLICY
from streams.wire.frames import (
    decode_dead_letter,
    decode_decision,
    decode_warning,
    encode,
    salvage_frame,
)

_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record as the sink needs it."""

    topic: str
    partition: int
    offset: int
    taken_at: Instant
    """When Kafka took it."""
    value: bytes | None
    key: bytes | None = None
    """Of `smtp.policy` only, as `change`."""
    change: bytes | None = None
    """The header `goaway-change`."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as `deadletters` keeps it."""

    at: Instant
    topic: str
    letter: DeadLetter


@dataclass(slots=True)
class Rows:
    """Rows of one table as columns: the values of each, and where each row comes from."""

    table: Table
    values: list[list[Any]] = field(default_factory=list)
    """In the order of `table.columns`."""
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = self.values or [[] for _ in self.table.columns]

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, record: Record, values: Sequence[Sequence[Any]]) -> None:
        """Add the columns of what one record held, in its order."""
        count = len(values[0])
        for column, more in zip(self.values, values, strict=True):
            column.extend(more)
        self.partitions.extend(repeat(record.partition, count))
        self.offsets.extend(repeat(record.offset, count))
        self.indexes.extend(range(count))

    def column(self, name: str) -> list[Any]:
        """The values of one of the table's own columns."""
        return self.values[self.table.names.index(name)]

    @property
    def made_of(self) -> list[tuple[Any, ...]]:
        """Row by row, without the places."""
        return list(zip(*self.values, strict=True))

    def columns(self, epoch: int) -> list[list[Any]]:
        """Every column in the order of `table.names`."""
        return [*self.values, [epoch] * len(self), self.partitions, self.offsets, self.indexes]

    @property
    def instants(self) -> tuple[int, int]:
        """The first and the last instant; there must be rows."""
        instants = self.column("at")
        return min(instants), max(instants)

    def months(self) -> Iterator[tuple[int, "Rows"]]:
        """The rows of each month (yyyymm) in its order: a month is a partition of the table."""
        if not len(self):
            return
        first, last = map(month_of, self.instants)
        if first == last:
            yield first, self
            return
        months = list(map(month_of, self.column("at")))
        for month in sorted(set(months)):
            yield month, self._picked([at for at, other in enumerate(months) if other == month])

    def _picked(self, rows: list[int]) -> "Rows":
        lists = (self.partitions, self.offsets, self.indexes)
        return Rows(self.table, picked(self.values, rows), *picked(lists, rows))


def picked(columns: Iterable[Sequence[Any]], rows: list[int]) -> list[list[Any]]:
    """The columns with these rows only."""
    return [[values[at] for at in rows] for values in columns]


def month_of(at: int) -> int:
    """The month of an instant in UTC, as `toYYYYMM` gives it."""
    return _month(at // _DAY_US)


@lru_cache(maxsize=4096)
def _month(day: int) -> int:
    moment = as_datetime(day * _DAY_US)
    return moment.year * 100 + moment.month


class TopicRows:
    """Gathers the rows of one topic's records, record by record in the order of their offsets.

    The same records yield the same rows, whenever they are read: a batch can be made again after a crash.
    """

    def __init__(self, topic: str, reached: Reached | None = None, veiling: Veiling | None = None) -> None:
        """`reached` says which events were had before, and learns from these."""
        self.topic: Final = topic
        self._reached: Final = reached or Reached()
        self._veiling: Final = veiling
        self.repeated = 0
        """Events left out because a shipper sent them before."""
        self._table: Final = TABLE_OF.get(topic)
        self.rows: Rows | None = None
        if self._table is not None:
            self.rows = Rows(EVENT_LINE_ROWS if topic == EVENTS else self._table)
        self.letters = Rows(DEADLETTER_ROWS)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.letters) + (len(self.rows) if self.rows else 0)

    def add(self, record: Record) -> None:
        """Take one record; a tombstone has no rows, except on `smtp.policy`, where it is part of a change."""
        if record.value is None and self.topic != POLICY:
            return
        self.bytes += len(record.value or b"")
        if self.rows is None or self._table is None:
            assert record.value is not None
            self._add_letter(record, record.value)
            return
        if self.topic == EVENTS:
            with suppress(InvalidValueError):
                self._add_events(record, read_lines(record.value or b"", self._veiling))
                return
        readable, unreadable = _salvaged(record, self._table)
        if self.topic == DECISIONS and self._veiling is not None:
            readable = [veiled(decision, self._veiling) for decision in readable]
        if self.topic == EVENTS:
            self._add_events(record, lines_of(readable, self._veiling))
        else:
            self.rows.add(record, self._table.values(readable))
        place = f"{record.topic}/{record.partition}"
        self._add_letters(
            record, [dead_letter(place, record.offset, reason, line) for line, reason in unreadable]
        )

    def _add_events(self, record: Record, events: EventLines) -> None:
        assert self.rows is not None
        if not events.sources:
            return
        values = events.columns
        new = self._reached.new(record.partition, events.sources, events.positions)
        if new is not None:
            self.repeated += len(events.sources) - len(new)
            values = picked(values, new)
        self.rows.add(record, values)

    def _add_letters(self, record: Record, letters: list[DeadLetter]) -> None:
        rows = [Letter(record.taken_at, record.topic, letter) for letter in letters]
        self.letters.add(record, DEADLETTER_ROWS.values(rows))

    def _add_letter(self, record: Record, value: bytes) -> None:
        """A record of `smtp.deadletters`; one that is no dead letter itself is kept as what it is."""
        try:
            self._add_letters(record, [decode_dead_letter(value)])
        except InvalidValueError as error:
            place = f"{record.topic}/{record.partition}"
            self._add_letters(record, [dead_letter(place, record.offset, error.what, value)])


def _salvaged(record: Record, table: Table) -> tuple[list[Any], list[tuple[bytes, str]]]:
    """What can be stored of a record, and each line that can't with the reason."""
    value = record.value or b""
    unread = value or record.key or b""
    readable: list[Any]
    unreadable: list[tuple[bytes, str]]
    try:
        if record.topic == EVENTS:
            events, unreadable = salvage_frame(value)
            readable = list(events)
        elif record.topic == POLICY:
            row, trouble = policy_row(record.key, record.value, record.change, taken_at=record.taken_at)
            readable, unreadable = [row] if row else [], [(unread, trouble)] if trouble else []
        else:
            decode = decode_decision if record.topic == DECISIONS else decode_warning
            readable, unreadable = [decode(value)], []
    except InvalidValueError as error:
        return [], [(unread, error.what)]
    fitting = []
    for item in readable:
        try:
            table.check([item])
            fitting.append(item)
        except InvalidValueError as error:
            unreadable.append((encode(item) if record.topic == EVENTS else unread, error.what))
    return fitting, unreadable

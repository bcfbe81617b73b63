"""Records of a topic as rows of a table: what can be read, and a dead letter for what can't."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

from streams.audit.policy_rows import policy_row
from streams.audit.repeats import Reached
from streams.audit.tables import DEADLETTER_ROWS, TABLE_OF, Table
from streams.errors import InvalidValueError
from streams.model.deadletter import DeadLetter, dead_letter
from streams.model.instant import Instant, as_datetime
from streams.topics import DECISIONS, EVENTS, POLICY
from streams.wire.frames import (
    decode_dead_letter,
    decode_decision,
    decode_frame,
    decode_warning,
    encode,
    salvage_frame,
)

_DAY_US: Final = 86_400_000_000


class Dated(Protocol):
    """Anything with an instant: what a row is made of."""

    @property
    def at(self) -> Instant: ...


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
    """Rows of one table: what each is made of, and where it comes from (parallel lists)."""

    table: Table
    made_of: list[Any] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.made_of)

    def add(self, record: Record, items: Iterable[Dated], *, first_index: int = 0) -> None:
        """Add what one record held, in its order."""
        before = len(self.made_of)
        self.made_of.extend(items)
        count = len(self.made_of) - before
        self.partitions.extend([record.partition] * count)
        self.offsets.extend([record.offset] * count)
        self.indexes.extend(range(first_index, first_index + count))

    def columns(self, epoch: int) -> list[list[Any]]:
        """Every column in the order of `table.names`."""
        place = [[epoch] * len(self), self.partitions, self.offsets, self.indexes]
        return [*self.table.values(self.made_of), *place]

    @property
    def month(self) -> int:
        """The month of the first row."""
        return month_of(self.made_of[0])

    def months(self) -> Iterator[tuple[int, "Rows"]]:
        """The rows of each month (yyyymm) in its order: a month is a partition of the table."""
        if not self.made_of:
            return
        months = list(map(month_of, self.made_of))
        first, last = min(months), max(months)
        if first == last:
            yield first, self
            return
        for month in sorted(set(months)):
            yield month, self._picked([at for at, other in enumerate(months) if other == month])

    def _picked(self, positions: list[int]) -> "Rows":
        lists = (self.made_of, self.partitions, self.offsets, self.indexes)
        return Rows(self.table, *([values[at] for at in positions] for values in lists))


def month_of(item: Dated) -> int:
    """The month of its instant in UTC, as `toYYYYMM` gives it."""
    return _month(item.at // _DAY_US)


@lru_cache(maxsize=4096)
def _month(day: int) -> int:
    moment = as_datetime(day * _DAY_US)
    return moment.year * 100 + moment.month


class TopicRows:
    """Gathers the rows of one topic's records, record by record in the order of their offsets.

    The same records yield the same rows, whenever they are read: a batch can be made again after a crash.
    """

    def __init__(self, topic: str, reached: Reached | None = None) -> None:
        """`reached` says which events were had before, and learns from these."""
        self.topic: Final = topic
        self._reached: Final = reached or Reached()
        self.repeated = 0
        """Events left out because a shipper sent them before."""
        self.rows: Rows | None = Rows(TABLE_OF[topic]) if topic in TABLE_OF else None
        self.letters = Rows(DEADLETTER_ROWS)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.letters) + (len(self.rows) if self.rows else 0)

    def add(self, record: Record) -> None:
        """Take one record; a tombstone has no rows, except on `smtp.policy`, where it is part of a change."""
        if record.value is None and self.topic != POLICY:
            return
        self.bytes += len(record.value or b"")
        if self.rows is None:
            assert record.value is not None
            self._add_letter(record, record.value)
            return
        events = _fitting_events(record, self.rows.table) if self.topic == EVENTS else None
        if events is not None:
            self.rows.add(record, self._new(record, events))
            return
        readable, unreadable = _salvaged(record, self.rows.table)
        self.rows.add(record, self._new(record, readable) if self.topic == EVENTS else readable)
        place = f"{record.topic}/{record.partition}"
        self.letters.add(
            record,
            [
                Letter(record.taken_at, record.topic, dead_letter(place, record.offset, reason, line))
                for line, reason in unreadable
            ],
        )

    def _new(self, record: Record, events: list[Any]) -> list[Any]:
        new = self._reached.new(record.partition, events)
        self.repeated += len(events) - len(new)
        return new

    def _add_letter(self, record: Record, value: bytes) -> None:
        """A record of `smtp.deadletters`; one that is no dead letter itself is kept as what it is."""
        try:
            letter = decode_dead_letter(value)
            row = Letter(record.taken_at, record.topic, letter)
            DEADLETTER_ROWS.check([row])
        except InvalidValueError as error:
            place = f"{record.topic}/{record.partition}"
            letter = dead_letter(place, record.offset, error.what, value)
        self.letters.add(record, [Letter(record.taken_at, record.topic, letter)])


def _fitting_events(record: Record, table: Table) -> list[Any] | None:
    """All events of a frame, or None where one cannot be read or stored."""
    assert record.value is not None
    try:
        events = decode_frame(record.value)
        table.check(events)
    except InvalidValueError:
        return None
    return list(events)


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

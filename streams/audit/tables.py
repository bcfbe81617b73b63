"""The tables that the sink fills: which field of which record is which column, and what fits into it.

Held against `sql/`, `schemas/` and the model's own fields by tests/unit/test_schemas.py.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, Final

from streams.errors import InvalidValueError
from streams.model.client import parse_address
from streams.topics import DECISIONS, EVENTS, POLICY, WARNINGS

BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "UInt16": (0, 2**16 - 1),
    "UInt32": (0, 2**32 - 1),
    "UInt64": (0, 2**64 - 1),
    # 1970 to the end of 2299, the last year that DateTime64 knows
    "DateTime64(6, 'UTC')": (0, 10_413_791_999_999_999),
}
"""Smallest and largest number that a column takes; beyond them clickhouse-driver fails or wraps around."""

INSTANT: Final = "DateTime64(6, 'UTC')"
"""Written as an integer, microseconds since 1970: a datetime costs many times more."""

LABEL: Final = "LowCardinality(String)"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `field` is the record's field it holds, dotted where nested."""

    name: str
    type: str
    field: str

    @property
    def bounds(self) -> tuple[int, int] | None:
        """What fits, for numbers."""
        nullable = self.type.startswith("Nullable(")
        return BOUNDS.get(self.type[len("Nullable(") : -1] if nullable else self.type)

    def fitted(self, values: Sequence[Any]) -> list[Any]:
        """The values as the column takes them, or `InvalidValueError` where one does not fit."""
        if self.type == "IPv6":
            return list(map(packed, values))
        if self.bounds is not None and (numbers := [n for n in values if n is not None]):
            low, high = self.bounds
            if min(numbers) < low or max(numbers) > high:
                raise InvalidValueError(f"{self.field} is out of range ({low} to {high})")
        return list(values)


@lru_cache(maxsize=65_536)
def packed(address: str) -> bytes:
    """16 bytes as IPv6 holds them, IPv4 mapped; `InvalidValueError` for what is no canonical address."""
    with suppress(OSError, ValueError):  # the ordinary ones at once, the odd ones below
        if ":" not in address:
            four = inet_pton(AF_INET, address)
            if inet_ntop(AF_INET, four) == address:
                return _MAPPED + four
        elif "." not in address and not address.startswith("::"):
            six = inet_pton(AF_INET6, address)
            if inet_ntop(AF_INET6, six) == address:
                return six
    if parse_address(address) != address:
        raise InvalidValueError(f"address {address!r} is not in canonical form")
    return IPv6Address(f"::ffff:{address}" if "." in address else address).packed


_MAPPED: Final = bytes(10) + b"\xff\xff"

PLACE: Final = (
    ("kafka_epoch", "UInt32"),
    ("kafka_partition", "UInt32"),
    ("kafka_offset", "UInt64"),
    ("frame_index", "UInt32"),
)
"""Where a row comes from: the last columns of every table, name and type, in this order."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the columns of its records, and after them those of `PLACE`."""

    name: str
    columns: tuple[Column, ...]
    stored_in: str = ""
    """The table that keeps the rows, where this one only passes them on."""

    @property
    def names(self) -> list[str]:
        """Every column's name, in the order of the values."""
        return [*(column.name for column in self.columns), *(name for name, _ in PLACE)]

    def check(self, records: Sequence[object]) -> None:
        """Raise `InvalidValueError` where a record does not fit."""
        self.values(records)

    def values(self, records: Sequence[object]) -> list[list[Any]]:
        """The columns (without the place) of these records, or `InvalidValueError` where one does not fit."""
        return [column.fitted(list(map(attrgetter(column.field), records))) for column in self.columns]


def _table(name: str, *columns: Column) -> Table:
    return Table(name, columns)


def _columns(*rows: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(field.replace(".", "_"), kind, field) for field, kind in rows)


_EVIDENCE: Final = (
    ("evidence.count", "UInt64"),
    ("evidence.limit", "UInt64"),
    ("evidence.window_s", "UInt32"),
    ("evidence.network", LABEL),
    ("evidence.strike", "UInt32"),
    ("evidence.note", "String"),
)

EVENT_ROWS: Final = _table(
    "events",
    *_columns(
        ("at", INSTANT),
        ("kind", LABEL),
        ("client", "String"),
        ("address", "IPv6"),
        ("session", "String"),
        ("host", LABEL),
        ("service", LABEL),
        ("ptr", "String"),
        ("helo", "String"),
        ("sender", "String"),
        ("recipient", "String"),
        ("queue_id", "String"),
        ("sasl_user", "String"),
        ("violation", LABEL),
        ("code", "UInt16"),
        ("detail", "String"),
        ("size", "UInt64"),
        ("ttl_s", "UInt32"),
        ("source", LABEL),
        ("position", "UInt64"),
        ("id", "String"),
    ),
)

EVENT_LINE_ROWS: Final = Table(
    "event_lines",
    _columns(("at", INSTANT), ("address", "IPv6"), ("line", "String")),
    stored_in=EVENT_ROWS.name,
)
"""Events as they are sent (`event_lines`)."""

DECISION_ROWS: Final = _table(
    "decisions",
    *_columns(
        ("at", INSTANT),
        ("until", f"Nullable({INSTANT})"),
        ("action", LABEL),
        ("client", "String"),
        ("address", "IPv6"),
        ("trigger", LABEL),
        ("rule", LABEL),
        ("code", "UInt16"),
        ("reason", "String"),
        *_EVIDENCE,
        ("policy", LABEL),
        ("event", "String"),
        ("session", "String"),
        ("host", LABEL),
        ("shadow", "Bool"),
        ("triplet", "String"),
        ("pool", "String"),
        ("id", "String"),
    ),
)

WARNING_ROWS: Final = _table(
    "warnings",
    *_columns(
        ("at", INSTANT),
        ("client", "String"),
        ("address", "IPv6"),
        ("rule", LABEL),
        *_EVIDENCE,
        ("policy", LABEL),
        ("event", "String"),
        ("host", LABEL),
        ("about", LABEL),
        ("text", "String"),
        ("id", "String"),
    ),
)

POLICY_ROWS: Final = _table(
    "policy_log",
    *_columns(
        ("at", INSTANT),
        ("key", "String"),
        ("change", "UInt64"),
        ("entry", "String"),
        ("deleted", "Bool"),
        ("after", "UInt64"),
        ("version", LABEL),
        ("who", LABEL),
        ("what", "String"),
        ("note", "String"),
        ("entries", "UInt64"),
    ),
)
"""Its records are `policy_rows.PolicyRow`."""

DEADLETTER_ROWS: Final = _table(
    "deadletters",
    Column("at", INSTANT, "at"),
    Column("source", "String", "letter.source"),
    Column("position", "UInt64", "letter.position"),
    Column("reason", "String", "letter.reason"),
    Column("text", "String", "letter.text"),
    Column("kafka_topic", LABEL, "topic"),
)
"""Its records are `rows.Letter`: a dead letter has no time of its own."""

TABLES: Final = (EVENT_ROWS, DECISION_ROWS, WARNING_ROWS, POLICY_ROWS, DEADLETTER_ROWS)

TABLE_OF: Final[dict[str, Table]] = {
    EVENTS: EVENT_ROWS,
    DECISIONS: DECISION_ROWS,
    WARNINGS: WARNING_ROWS,
    POLICY: POLICY_ROWS,
}
"""Where a topic's readable records go; everything else goes to `deadletters`."""

"""How long each table keeps its rows: ClickHouse's TTL, a whole part at a time."""

import re
from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse, StorageError
from streams.errors import UsageError

KEPT: Final[dict[str, tuple[str, str]]] = {
    "events": ("events", "at"),
    "decisions": ("decisions", "at"),
    "warnings": ("warnings", "at"),
    "deadletters": ("deadletters", "at"),
    "minutes": ("clients_by_minute", "period"),
    "hours": ("clients_by_hour", "period"),
    "days": ("clients_by_day", "period"),
    "months": ("clients_by_month", "period"),
    "traffic": ("traffic_by_minute", "period"),
}
"""Name → its table, and the column that says how old a row is. `policy_log` is kept for ever: it is small,
and without it nobody knows why a decision was made."""

_WITH: Final = {"events": ("refusals", "at")}
"""What is only of use as long as the rows that it leads to."""
FOREVER: Final = "forever"
_PERIOD: Final = re.compile(r"([1-9]\d{0,4})d\Z")
_TTL: Final = re.compile(r"\bTTL (?:toDateTime\(\w+\)|\w+) \+ toIntervalDay\((\d+)\)")
_TABLES: Final = """
SELECT name, engine_full, ifNull(total_rows, 0), ifNull(total_bytes, 0) FROM system.tables
WHERE database = currentDatabase()
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """How long one table keeps its rows, and what it has."""

    name: str
    table: str
    days: int | None
    """None: for ever."""
    rows: int
    bytes: int
    """On disk."""


def parse_period(text: str) -> int | None:
    """`400d` as days, `forever` as None; `UsageError` for anything else."""
    if text == FOREVER:
        return None
    match = _PERIOD.match(text)
    if match is None:
        raise UsageError(f"{text[:40]!r} is no period", try_next="400d, or forever")
    return int(match[1])


def kept(clickhouse: ClickHouse) -> list[Kept]:
    """Every table with how long it keeps its rows."""
    tables = {name: rest for name, *rest in clickhouse.rows(_TABLES)}
    answer = []
    for name, (table, _) in KEPT.items():
        if table not in tables:
            raise StorageError(f"{clickhouse.place}: no table {table}", try_next="goaway db migrate")
        engine, rows, size = tables[table]
        answer.append(Kept(name, table, days_kept(engine), int(rows), int(size)))
    return answer


def days_kept(engine_full: str) -> int | None:
    """Days that a table of this engine keeps its rows; None: for ever."""
    match = _TTL.search(engine_full)
    return int(match[1]) if match else None


def older(clickhouse: ClickHouse, name: str, days: int) -> int:
    """Rows that are older than so many days."""
    table, column = KEPT[name]
    query = f"SELECT count() FROM {table} WHERE {column} < now() - INTERVAL {days:d} DAY"  # noqa: S608
    return int(clickhouse.rows(query)[0][0])


def keep(clickhouse: ClickHouse, name: str, days: int | None) -> None:
    """Keep the rows of a table for at least so many days; None: for ever.

    A part is dropped when its last row is that old, so rows stay up to a month longer (a part never holds
    more than a month), and dropping costs nothing.
    """
    tables = {table: engine for table, engine, *_ in clickhouse.rows(_TABLES)}
    for table, column in (KEPT[name], *([_WITH[name]] if name in _WITH else [])):
        if days is not None:
            clickhouse.command(f"ALTER TABLE {table} MODIFY SETTING ttl_only_drop_parts = 1")
            clickhouse.command(f"ALTER TABLE {table} MODIFY TTL toDateTime({column}) + INTERVAL {days:d} DAY")
        elif days_kept(tables[table]) is not None:
            clickhouse.command(f"ALTER TABLE {table} REMOVE TTL")

"""What clients did over a period, grouped and sorted, with the most connections that were open at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import COUNTERS, Source, Whose
from streams.audit.grouping import Grouping
from streams.audit.peaks import Peak, known, peaks
from streams.errors import UsageError
from streams.model.instant import Instant

SORTS: Final = (*COUNTERS, "clients", "peak", "first", "last", "name")

PEAK_CONNECTIONS: Final = 1_000_000
"""Peaks are taken from single connections: of more than these they would take too long, and are not known."""
_ORDER: Final = {"name": "name", "first": "first, name"}
_BY_ADDRESS: Final = "toIPv6OrDefault(splitByChar('/', name)[1]), name"
"""The order of clients and networks by name: IPv4 by its numbers, then IPv6."""


@dataclass(frozen=True, slots=True)
class Row:
    """One group, or all of them."""

    name: str
    counts: dict[str, int]
    """Every name of `COUNTERS`."""
    clients: int
    first: Instant
    last: Instant
    peak: int | None = None
    """Most connections open at once; None where it is not known: of very many, or of events that are gone."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The groups of a page, and what all groups together have."""

    rows: tuple[Row, ...]
    total: Row | None
    """None where nothing happened."""
    groups: int
    """How many groups there are, shown or not."""


def stats(
    clickhouse: ClickHouse,
    start: int,
    end: int,
    grouping: Grouping,
    *,
    sort: str = "connections",
    limit: int = 50,
    whose: Whose | None = None,
) -> Stats:
    """Groups of [start, end), the largest first (`name` and `first`: the smallest), and all together."""
    source = Source(start, end, grouping, whose or Whose())
    found: dict[str, Peak] = {}
    if grouping.by == "ptr" and sort != "peak":
        found_rows = map(row_of, clickhouse.rows(source.by_ptr(), source.parameters))
        every = sorted(found_rows, key=lambda row: rank(row, sort))
        rows, count, total = every[:limit], len(every), whole(clickhouse, source, every)
        return _with_peaks(clickhouse, source, Stats(tuple(rows), total, count))
    count, total = total_of(clickhouse, source)
    if sort == "peak":
        if total is not None and total.peak is None:
            _refuse_peaks(total)
        found = peaks(clickhouse, grouping, source.parameters, source.condition, limit=limit)
        names = list(found)
    else:
        names = _first_names(clickhouse, source, sort, limit)
    by_name = {row.name: row for row in rows_of(clickhouse, source, names)}
    rows = [by_name[name] for name in names if name in by_name]
    if sort != "peak":
        return _with_peaks(clickhouse, source, Stats(tuple(rows), total, count))
    return Stats(tuple(_peaked(row, found) for row in rows), total, count)


def _refuse_peaks(total: Row) -> NoReturn:
    connections = total.counts["connections"]
    if are_too_many([total]):
        raise UsageError(
            f"{connections:,} connections are too many to sort by their peaks",
            try_next="goaway stats --sort peak --last 24h",
        )
    raise UsageError(
        "nobody can be sorted by its peak: events of this period are not stored any more",
        try_next="goaway stats --sort connections",
    )


def _with_peaks(clickhouse: ClickHouse, source: Source, found: Stats) -> Stats:
    """The same with the peaks of the groups shown, unless that takes too long."""
    if are_too_many(found.rows):
        return found
    names = [row.name for row in found.rows]
    of = peaks(clickhouse, source.grouping, source.parameters, source.condition, names=names)
    return replace(found, rows=tuple(_peaked(row, of) for row in found.rows))


def are_too_many(rows: Iterable[Row]) -> bool:
    """Whether these have more connections than peaks are taken from."""
    return sum(row.counts["connections"] for row in rows) > PEAK_CONNECTIONS


def _peaked(row: Row, found: Mapping[str, Peak]) -> Row:
    return replace(row, peak=known(found.get(row.name), row.counts["connections"]))


def total_of(clickhouse: ClickHouse, source: Source) -> tuple[int, Row | None]:
    """How many groups there are, and all of them as one row, with its peak unless that takes too long."""
    *columns, count = clickhouse.rows(source.total(), source.parameters)[0]
    if not count:
        return 0, None
    return int(count), _total_peaked(clickhouse, source, row_of(columns))


def whole(clickhouse: ClickHouse, source: Source, groups: Sequence[Row]) -> Row | None:
    """As the total of `total_of`, from all the groups there are, where no client is in two of them."""
    return _total_peaked(clickhouse, source, summed("", groups)) if groups else None


def _total_peaked(clickhouse: ClickHouse, source: Source, total: Row) -> Row:
    if are_too_many([total]):
        return total
    return _peaked(total, peaks(clickhouse, None, source.parameters, source.condition))


def groups_of(clickhouse: ClickHouse, source: Source) -> list[Row]:
    """Every group, without peaks."""
    return [row_of(row) for row in clickhouse.rows(source.groups(), source.parameters)]


def _first_names(clickhouse: ClickHouse, source: Source, sort: str, limit: int) -> list[str]:
    """Names of the groups that come first, from the one column that says so."""
    columns = () if sort == "name" else (sort,)
    order = _ORDER.get(sort, f"{sort} DESC, name")
    if sort == "name" and source.grouping.by_address:
        order = _BY_ADDRESS
    groups = source.groups(columns or ("last",))
    query = f"SELECT name FROM ({groups}) ORDER BY {order} LIMIT {limit:d}"  # noqa: S608
    return [str(name) for (name,) in clickhouse.rows(query, source.parameters)]


def rows_of(clickhouse: ClickHouse, source: Source, names: Sequence[str]) -> list[Row]:
    """The groups of these names."""
    if not names:
        return []
    query = source.groups(more=f" AND {source.name} IN %(names)s")
    found = clickhouse.rows(query, {**source.parameters, "names": tuple(names)})
    return [row_of(row) for row in found]


def row_of(columns: Sequence[Any]) -> Row:
    """A row of name, counters, clients, first, last (microseconds)."""
    name, *counts = columns[: 1 + len(COUNTERS)]
    clients, first, last = columns[1 + len(COUNTERS) :]
    return Row(
        name=str(name),
        counts=dict(zip(COUNTERS, map(int, counts), strict=True)),
        clients=int(clients),
        first=Instant(first),
        last=Instant(last),
    )


def rank(row: Row, sort: str) -> tuple[int, str]:
    """By what a row comes first: as `stats` sorts, peaks apart."""
    match sort:
        case "name":
            return 0, row.name
        case "first":
            return row.first, row.name
        case "last":
            return -row.last, row.name
        case "clients":
            return -row.clients, row.name
        case _:
            return -row.counts[sort], row.name


def summed(name: str, rows: Sequence[Row]) -> Row:
    """Rows of different clients put together under one name."""
    return Row(
        name=name,
        counts={it: sum(row.counts[it] for row in rows) for it in COUNTERS},
        clients=sum(row.clients for row in rows),
        first=min(row.first for row in rows),
        last=max(row.last for row in rows),
    )

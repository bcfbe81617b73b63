"""What clients did over a period, grouped and sorted: from the rollup that the period's bounds fall on, else
from the events themselves, so that every count is exact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import DOMAIN, Grouping, inside_sql
from streams.audit.peaks import peaks
from streams.audit.stored import NO_CLIENTS_DOING, clients_holding, keys_around
from streams.errors import UsageError
from streams.model.client import Network
from streams.model.instant import MICROSECONDS, Instant, as_datetime

COUNTERS: Final[dict[str, str]] = {
    "connections": "countIf(kind = 'connect')",
    "requests": "countIf(kind = 'mail')",
    "messages": "countIf(kind = 'message')",
    "recipients_refused": "countIf(code >= 400 AND recipient != '')",
    "bytes": "sumIf(size, kind = 'message')",
    "refusals": "countIf(code >= 400)",
    "go_aways": "countIf(trigger != '')",
    "deferrals": "countIf(code = 451 AND trigger != '')",
    "violations": "countIf(kind = 'violation')",
    "logins": "countIf(kind = 'auth')",
    "login_failures": "countIf(kind = 'auth_failure')",
}
"""Counter → how it is counted from events: as the views of the rollups do (a test holds them together)."""

SORTS: Final = (*COUNTERS, "clients", "peak", "first", "last", "name")

_MINUTE_US: Final = 60 * MICROSECONDS
_HOUR_US: Final = 60 * _MINUTE_US
_CLIENTS: Final = "uniqExact(t.client)"
PEAK_CONNECTIONS: Final = 1_000_000
"""Peaks are taken from single connections: of more than these they would take too long, and are not known."""
_ORDER: Final = {"name": "name", "first": "first, name"}
_BY_ADDRESS: Final = "toIPv6OrDefault(splitByChar('/', name)[1]), name"
"""The order of clients and networks by name: IPv4 by its numbers, then IPv6."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose doings are counted; empty is anybody's."""

    networks: tuple[Network, ...] = ()
    """Clients that lie in one of them, and those in which one of them lies."""
    host: str = ""


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
    """Most connections open at once; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The groups of a page, and what all groups together have."""

    rows: tuple[Row, ...]
    total: Row | None
    """None where nothing happened."""
    groups: int
    """How many groups there are, shown or not."""


class Source:
    """Where a period's counts come from, as SQL."""

    def __init__(self, start: int, end: int, grouping: Grouping, whose: Whose) -> None:
        self.grouping: Final = grouping
        self.parameters: Final[dict[str, object]] = {
            "start": int(start),
            "end": int(end),
            "none": NO_CLIENTS_DOING,
        }
        self.condition = ""
        """What else holds for rows of events and of rollups alike."""
        if whose.networks:
            keys = {it: clients_holding(it) for it in whose.networks}
            large = [it for it, found in keys.items() if not found]
            keys |= {it: [str(it), *keys_around(it)] for it in large}
            self.parameters["clients"] = tuple(sorted({key for of in keys.values() for key in of}))
            inside = f" OR {inside_sql('t.client', large)}" if large else ""
            self.condition += f" AND (t.client IN %(clients)s{inside})"
        if whose.host:
            self.condition += " AND t.host = %(host)s"
            self.parameters["host"] = whose.host
        self.table: Final = table_for(start, end, grouping)

    def groups(self, columns: Sequence[str] = (), more: str = "") -> str:
        """A query: one row a group, as `row_of` takes it; or `name` and these columns. `more` is SQL."""
        wanted = columns or (*COUNTERS, "clients", "first", "last")
        shown = ", ".join(f"{self._expressions[it]} AS {it}" for it in wanted)
        return f"SELECT {self.name} AS name, {shown} {self._from}{more} GROUP BY name"

    def by_ptr(self) -> str:
        """As `groups`: each client is added up before its name is looked at, which is far less work."""
        sums = ", ".join(f"sum(each.{it})" for it in COUNTERS)
        of_client = ", ".join(f"{how} AS {it}" for it, how in self._expressions.items() if it != "clients")
        name, domain, joined = "names.domain", "''", self.grouping.joined("each.client")
        if self.table == "clients_by_month":
            name, domain, joined = "each.name", DOMAIN, ""
        return (
            f"SELECT {name} AS name, {sums}, count(), min(each.first), max(each.last) FROM ("  # noqa: S608
            f"SELECT t.client AS client, {domain} AS name, {of_client}"
            f" FROM {self.table} AS t WHERE {self._where} GROUP BY client) AS each{joined} GROUP BY name"
        )

    def total(self) -> str:
        """A query: all groups as one row, and how many there are."""
        wanted = (*COUNTERS, "clients", "first", "last")
        shown = ", ".join(
            f"{self._expressions[it] if it != 'clients' else _CLIENTS} AS {it}" for it in wanted
        )
        groups = "clients" if self.grouping.by == "client" else f"uniqExact({self.name})"
        return f"SELECT '', {shown}, {groups} {self._from}"

    @property
    def name(self) -> str:
        """The group's name, as SQL."""
        return self.grouping.name(self._time)

    @property
    def _time(self) -> str:
        return "t.at" if self.table == "events" else "t.period"

    @property
    def _expressions(self) -> dict[str, str]:
        of_events = self.table == "events"
        found = {it: how if of_events else f"sum(t.{it})" for it, how in COUNTERS.items()}
        found["clients"] = "toUInt64(1)" if self.grouping.by == "client" else _CLIENTS
        found["first"] = f"toUnixTimestamp64Micro(min(t.{'at' if of_events else 'first_at'}))"
        found["last"] = f"toUnixTimestamp64Micro(max(t.{'at' if of_events else 'last_at'}))"
        return found

    @property
    def _from(self) -> str:
        return f"FROM {self.table} AS t{self.grouping.joined('t.client')} WHERE {self._where}"

    @property
    def _where(self) -> str:
        more = " AND t.kind NOT IN %(none)s" if self.table == "events" else ""
        return (
            f"{self._time} >= fromUnixTimestamp64Micro(%(start)s, 'UTC')"
            f" AND {self._time} < fromUnixTimestamp64Micro(%(end)s, 'UTC'){more}{self.condition}"
        )


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
    found: dict[str, int] = {}
    if grouping.by == "ptr" and sort != "peak":
        found_rows = map(row_of, clickhouse.rows(source.by_ptr(), source.parameters))
        every = sorted(found_rows, key=lambda row: rank(row, sort))
        rows, count, total = every[:limit], len(every), whole(clickhouse, source, every)
        return _with_peaks(clickhouse, source, Stats(tuple(rows), total, count))
    count, total = total_of(clickhouse, source)
    if sort == "peak":
        if total is not None and total.counts["connections"] > PEAK_CONNECTIONS:
            raise UsageError(
                f"{total.counts['connections']:,} connections are too many to sort by their peaks",
                try_next="goaway stats --sort peak --last 24h",
            )
        found = peaks(clickhouse, grouping, source.parameters, source.condition, limit=limit)
        names = list(found)
    else:
        names = _first_names(clickhouse, source, sort, limit)
    by_name = {row.name: row for row in rows_of(clickhouse, source, names)}
    rows = [by_name[name] for name in names if name in by_name]
    if sort != "peak":
        return _with_peaks(clickhouse, source, Stats(tuple(rows), total, count))
    shown = (replace(row, peak=found.get(row.name, 0)) for row in rows)
    return Stats(tuple(shown), total, count)


def _with_peaks(clickhouse: ClickHouse, source: Source, found: Stats) -> Stats:
    """The same with the peaks of the groups shown, unless that takes too long."""
    if sum(row.counts["connections"] for row in found.rows) > PEAK_CONNECTIONS:
        return found
    names = [row.name for row in found.rows]
    known = peaks(clickhouse, source.grouping, source.parameters, source.condition, names=names)
    return replace(found, rows=tuple(replace(row, peak=known.get(row.name, 0)) for row in found.rows))


def total_of(clickhouse: ClickHouse, source: Source) -> tuple[int, Row | None]:
    """How many groups there are, and all of them as one row, with its peak unless that takes too long."""
    *columns, count = clickhouse.rows(source.total(), source.parameters)[0]
    if not count:
        return 0, None
    return int(count), _peaked(clickhouse, source, row_of(columns))


def whole(clickhouse: ClickHouse, source: Source, groups: Sequence[Row]) -> Row | None:
    """As the total of `total_of`, from all the groups there are, where no client is in two of them."""
    return _peaked(clickhouse, source, summed("", groups)) if groups else None


def _peaked(clickhouse: ClickHouse, source: Source, total: Row) -> Row:
    if total.counts["connections"] > PEAK_CONNECTIONS:
        return total
    return replace(total, peak=peaks(clickhouse, None, source.parameters, source.condition).get("", 0))


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


def table_for(start: int, end: int, grouping: Grouping) -> str:
    """The coarsest table on whose periods the bounds fall, and with them the bounds of days and hours."""
    grains = [("clients_by_hour", _HOUR_US), ("clients_by_minute", _MINUTE_US)]
    if not grouping.by_time:
        grains.insert(0, ("clients_by_day", 24 * _HOUR_US))
        if _begins_month(start) and _begins_month(end):
            return "clients_by_month"
    elif any(_offset_s(grouping, at) % 3600 for at in (start, end)):
        del grains[0]
    return next((table for table, grain in grains if start % grain == 0 == end % grain), "events")


def _begins_month(at: int) -> bool:
    moment = as_datetime(at)
    return at % (24 * _HOUR_US) == 0 and moment.day == 1


def _offset_s(grouping: Grouping, at: int) -> int:
    offset = as_datetime(at).astimezone(grouping.zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0


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

"""What clients did over a period, grouped and sorted: from the rollup that the period's bounds fall on, else
from the events themselves, so that every count is exact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final, Literal

from streams.audit.clickhouse import ClickHouse
from streams.audit.peaks import peaks
from streams.audit.stored import NO_CLIENTS_DOING
from streams.model.instant import MICROSECONDS, Instant, as_datetime

By = Literal["client", "network", "ptr", "host", "day", "hour"]

COUNTERS: Final[dict[str, str]] = {
    "connections": "countIf(kind = 'connect')",
    "requests": "countIf(kind = 'mail')",
    "messages": "countIf(kind = 'message')",
    "recipients_refused": "countIf(code >= 400 AND recipient != '')",
    "bytes": "sumIf(size, kind = 'message')",
    "refusals": "countIf(code >= 400)",
    "go_aways": "countIf(code >= 400 AND position(detail, 'Go away: ') > 0)",
    "deferrals": "countIf(code = 451 AND position(detail, 'Go away: ') > 0)",
    "violations": "countIf(kind = 'violation')",
    "logins": "countIf(kind = 'auth')",
    "login_failures": "countIf(kind = 'auth_failure')",
}
"""Counter → how it is counted from events, as the views of sql/0008 do (held together by a test)."""

SORTS: Final = (*COUNTERS, "peak", "first", "last", "name")

_MINUTE_US: Final = 60 * MICROSECONDS
_GRAINS: Final = (
    ("clients_by_hour", 60 * _MINUTE_US),
    ("clients_by_minute", _MINUTE_US),
)

_V4: Final = "toString(tupleElement(IPv4CIDRToRange(toIPv4OrDefault(bare), {v4}), 1)) || '/{v4}'"
_V6: Final = "toString(tupleElement(IPv6CIDRToRange(toIPv6OrDefault(bare), {v6}), 1)) || '/{v6}'"


@dataclass(frozen=True, slots=True)
class Grouping:
    """How rows are put together. `network_v4`, `network_v6`: bits of `by="network"`."""

    by: By = "client"
    zone: tzinfo | None = None
    """Whose days and hours; None is UTC."""
    network_v4: int = 24
    network_v6: int = 48


@dataclass(frozen=True, slots=True)
class Filter:
    """Whose doings are counted; empty is anybody's."""

    clients: tuple[str, ...] = ()
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
    """Most connections open at once; None where it was not asked for."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The groups of a page, and what all groups together have."""

    rows: tuple[Row, ...]
    total: Row
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
    whose: Filter | None = None,
) -> Stats:
    """Groups of [start, end), the largest first (`name`: in order of it), and the totals of all groups."""
    source = Source(start, end, whose or Filter(), grouping)
    key = group_key(grouping)
    most_at_once: dict[str, int] = {}
    where, extra = "", dict[str, object]()
    if sort == "peak":
        most_at_once = peaks(clickhouse, start, end, key, source.condition, source.parameters, limit=limit)
        where, extra = "WHERE name IN %(names)s", {"names": tuple(most_at_once) or ("",)}
    order = "name" if sort == "name" else f"{_SORT_COLUMNS.get(sort, sort)} DESC, name"
    found = clickhouse.rows(
        f"SELECT * FROM ({source.grouped(key)}) {where} ORDER BY {order} LIMIT %(most)s"  # noqa: S608
        if sort != "peak"
        else f"SELECT * FROM ({source.grouped(key)}) {where}",  # noqa: S608
        {**source.parameters, **extra, "most": limit},
    )
    rows = [row_of(row) for row in found]
    if not most_at_once:
        names = [row.name for row in rows]
        most_at_once = peaks(clickhouse, start, end, key, source.condition, source.parameters, names=names)
    rows = [_with_peak(row, most_at_once.get(row.name, 0)) for row in rows]
    if sort == "peak":
        rows.sort(key=lambda row: (-(row.peak or 0), row.name))
    total = clickhouse.rows(
        f"SELECT '', {source.sums}, uniqExact(client), min(first), max(last), uniqExact(name)"  # noqa: S608
        f" FROM ({source.rows(key)})",
        source.parameters,
    )[0]
    overall = peaks(clickhouse, start, end, "''", source.condition, source.parameters, names=[""])
    return Stats(tuple(rows), _with_peak(row_of(total[:-1]), overall.get("", 0)), int(total[-1]))


_SORT_COLUMNS: Final = {"first": "-toUnixTimestamp64Micro(first)", "last": "last"}


class Source:
    """Where a period's counts come from, as SQL: one row a (period, client) with every counter."""

    def __init__(self, start: int, end: int, whose: Filter, grouping: Grouping) -> None:
        self.parameters: dict[str, object] = {"start": start, "end": end, "none": NO_CLIENTS_DOING}
        self.condition = ""
        """What else holds for rows of events as well as of rollups."""
        if whose.clients:
            self.condition += " AND client IN %(clients)s"
            self.parameters["clients"] = whose.clients
        if whose.host:
            self.condition += " AND host = %(host)s"
            self.parameters["host"] = whose.host
        self.table = table_for(start, end, grouping)

    @property
    def sums(self) -> str:
        """Every counter summed, under its own name."""
        return ", ".join(f"sum({name}) AS {name}" for name in COUNTERS)

    def rows(self, key: str) -> str:
        """`name`, `client`, the counters, `first`, `last`: several rows a group."""
        if self.table == "events":
            time, counters = "at", ", ".join(f"{how} AS {name}" for name, how in COUNTERS.items())
            first, last = "min(at)", "max(at)"
            more = " AND kind NOT IN %(none)s"
        else:
            time = "toDateTime64(period, 6, 'UTC')"
            counters = ", ".join(f"sum(t.{name}) AS {name}" for name in COUNTERS)
            first, last, more = "min(first_at)", "max(last_at)", ""
        bounds = (
            "at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
            if self.table == "events"
            else "period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')"
            " AND period < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
        )
        joined = ""
        if key == PTR_KEY:
            joined = f" LEFT JOIN ({_PTRS}) AS names ON names.client = t.client"
        return (
            f"SELECT {key.replace('AT', time)} AS name, t.client AS client, {counters},"  # noqa: S608
            f" {first} AS first, {last} AS last"
            f" FROM {self.table} AS t{joined} WHERE {bounds}{more}{self.condition} GROUP BY name, client"
        )

    def grouped(self, key: str) -> str:
        """One row a group: name, counters, clients, first, last."""
        return (
            f"SELECT name, {self.sums}, uniqExact(client) AS clients, min(first) AS first, max(last) AS last"  # noqa: S608
            f" FROM ({self.rows(key)}) GROUP BY name"
        )


_PTRS: Final = (
    "SELECT client, argMax(ptr, at) AS ptr FROM events"
    " WHERE at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
    " AND ptr != '' GROUP BY client"
)
PTR_KEY: Final = "if(names.ptr = '', '', cutToFirstSignificantSubdomain(lower(names.ptr)))"


def group_key(grouping: Grouping) -> str:
    """The SQL of a group's name; `AT` in it stands for the instant of a row."""
    zone = str(grouping.zone or "UTC").replace("\\", "").replace("'", "")
    match grouping.by:
        case "client":
            return "t.client"
        case "host":
            return "toString(t.host)"
        case "ptr":
            return PTR_KEY
        case "day":
            return f"toString(toDate(AT, '{zone}'))"
        case "hour":
            return f"formatDateTime(toStartOfHour(toTimeZone(AT, '{zone}')), '%%F %%H:00', '{zone}')"
        case "network":
            return network_sql(grouping.network_v4, grouping.network_v6)


def network_sql(v4: int, v6: int) -> str:
    """The network of so many bits that a client lies in; a client that is no address stays what it is."""
    bare = "splitByChar('/', t.client)[1]"
    four = _V4.format(v4=v4).replace("bare", bare)
    six = _V6.format(v6=v6).replace("bare", bare)
    return f"multiIf(isIPv4String({bare}), {four}, isIPv6String({bare}), {six}, t.client)"


def table_for(start: int, end: int, grouping: Grouping) -> str:
    """The coarsest table on whose periods the bounds fall, and the groups' bounds with them."""
    if grouping.by in ("day", "hour") and grouping.zone is not None:
        for at in (start, end):
            offset = grouping.zone.utcoffset(as_datetime(at).replace(tzinfo=None))
            if offset is None or offset.total_seconds() % 3600:
                return "clients_by_minute" if start % _MINUTE_US == 0 == end % _MINUTE_US else "events"
    for table, grain in _GRAINS:
        if start % grain == 0 == end % grain:
            return table
    return "events"


def row_of(columns: Sequence[Any]) -> Row:
    """A row of name, counters, clients, first, last."""
    name, *counts = columns[: 1 + len(COUNTERS)]
    clients, first, last = columns[1 + len(COUNTERS) :]
    return Row(
        name=str(name),
        counts=dict(zip(COUNTERS, map(int, counts), strict=True)),
        clients=int(clients),
        first=_instant(first),
        last=_instant(last),
    )


def _instant(moment: Any) -> Instant:
    from streams.model.instant import instant_of

    return instant_of(moment)


def _with_peak(row: Row, peak: int) -> Row:
    return Row(row.name, row.counts, row.clients, row.first, row.last, peak)


def summed(name: str, rows: Sequence[Row]) -> Row:
    """Rows put together under one name."""
    counts: Mapping[str, int] = {it: sum(row.counts[it] for row in rows) for it in COUNTERS}
    return Row(
        name=name,
        counts=dict(counts),
        clients=sum(row.clients for row in rows),
        first=min(row.first for row in rows),
        last=max(row.last for row in rows),
    )

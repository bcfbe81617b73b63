"""Rollups: what each client did by minute, hour, day and month, what all of them did, and the refusals in
the order of time; held to what `events` says.

Views fill them as rows arrive, each insert into each table whole or absent and under the insert's own token,
so an insert that is sent again fills what is missing and doubles nothing. What that cannot put right (rows
stored before the views were made; a ClickHouse killed between noting a token and keeping its part) is found
by comparing sums, and mended by inserting the difference: whoever computes it again finds it is none.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from streams.audit.clickhouse import ClickHouse
from streams.audit.retention import days_kept
from streams.model.instant import MICROSECONDS, as_datetime

NO_CLIENTS_DOING: Final = ("policy", "forget", "learnt", "reputation")
"""Kinds of event that rollups leave out."""

COUNTERS: Final = (
    "events",
    "connections",
    "requests",
    "messages",
    "recipients_refused",
    "bytes",
    "refusals",
    "go_aways",
    "deferrals",
    "violations",
    "logins",
    "login_failures",
)

_NAMES: Final = """
INSERT INTO clients_by_month (period, client, host, first_at, last_at, named)
SELECT toDateTime(toStartOfMonth(at), 'UTC') AS starts, client, host, min(at), max(at),
    tuple(toDateTime(max(at), 'UTC'), argMax(ptr, at))
FROM events WHERE {within} AND ptr != '' AND kind NOT IN {kinds} GROUP BY starts, client, host
SETTINGS insert_deduplicate = 0, max_bytes_before_external_group_by = 2000000000
"""
"""The newer of two names stays, so that to say them twice changes nothing."""
_SAME_FIGURES: Final = 3
"""So many seconds without a change, and nobody is storing."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """One table, and what its rows are summed from: `events` by the view's own words, or a finer rollup."""

    table: str
    finer: str = ""
    start: str = ""
    """Of one with a finer: the function that gives the beginning of a period."""
    at: str = "period"
    """The column that says when."""
    keys: tuple[str, ...] = ("client", "host")
    """What else a row is about."""
    counters: tuple[str, ...] = COUNTERS
    """The first of them is compared."""
    spans: bool = True
    """Whether it has `first_at` and `last_at`."""


ROLLUPS: Final = (
    Rollup("clients_by_minute"),
    Rollup("clients_by_hour"),
    Rollup("clients_by_day"),
    Rollup("clients_by_month", finer="clients_by_day", start="toStartOfMonth"),
    Rollup("traffic_by_minute", keys=("host", "trigger")),
    Rollup(
        "refusals",
        at="at",
        keys=("client", "code", "host", "trigger"),
        counters=("refusals",),
        spans=False,
    ),
)
"""In the order in which they have to be mended."""


class Difference(NamedTuple):
    """A month (yyyymm) of a rollup that does not count as much as `events` holds: events, or refusals."""

    table: str
    month: int
    stored: int
    """In `events`."""
    counted: int
    """In the rollup."""


def differences(clickhouse: ClickHouse) -> list[Difference]:
    """Where rollups and `events` do not agree; months that retention has begun to drop are left out."""
    since = _kept_since(clickhouse)
    if "events" not in since:
        return []
    kinds = ", ".join(f"'{kind}'" for kind in NO_CLIENTS_DOING)
    queries = [
        f"SELECT '', toYYYYMM(at) AS month, count(), countIf(code >= 400) FROM events"  # noqa: S608
        f" WHERE kind NOT IN ({kinds}) GROUP BY month",
        *(
            f"SELECT '{rollup.table}', toYYYYMM({rollup.at}) AS month, sum({rollup.counters[0]}), 0"  # noqa: S608
            f" FROM {rollup.table} GROUP BY month"
            for rollup in ROLLUPS
        ),
    ]
    sums: dict[tuple[str, int], int] = {}
    for table, of_month, total, refusals in clickhouse.rows(" UNION ALL ".join(queries)):
        sums[table or "events", of_month] = int(total)
        if not table:
            sums["events refused", of_month] = int(refusals)
    months = sorted({of_month for _, of_month in sums})
    stored_in = {"events": "events", "refusals": "events refused"}
    return [
        Difference(rollup.table, each, stored, counted)
        for each in months
        for rollup in ROLLUPS
        if each >= max(since["events"], since[rollup.table], since[rollup.finer or rollup.table])
        if (stored := sums.get((stored_in[rollup.counters[0]], each), 0))
        != (counted := sums.get((rollup.table, each), 0))
    ]


def settle(clickhouse: ClickHouse) -> list[Difference] | None:
    """Mend what differs, and say what did; None where figures change while they are watched: somebody stores.

    Whoever stores must not do so during this call. What another sink is about to store would be counted here
    and again by its insert; so nothing is done before the figures stand still for some seconds.
    """
    found = differences(clickhouse)
    for _ in range(_SAME_FIGURES if found else 0):
        time.sleep(1.0)
        before, found = found, differences(clickhouse)
        if found != before:
            return None
    mend(clickhouse, found)
    return found


def mend(clickhouse: ClickHouse, found: list[Difference], *, first: int = 0, last: int = 0) -> None:
    """Make these rollups say what `events` says, a day at a time.

    `first` and `last` (instants) bound what is looked at, where that is known; 0: the whole month. Nobody may
    be storing events meanwhile.
    """
    for rollup in ROLLUPS:
        for month in sorted({each.month for each in found if each.table == rollup.table}):
            if rollup.finer:
                clickhouse.command(_correction(rollup, f"toYYYYMM(period) = {month:d}", rollup.finer))
                continue
            view = _view(clickhouse, rollup.table)
            for within in _days(month, rollup.at, first, last):
                clickhouse.command(_correction(rollup, within, f"({view})"))
    for month in sorted({each.month for each in found}):
        for within in _days(month, "at", first, last):
            clickhouse.command(_NAMES.format(within=within, kinds=NO_CLIENTS_DOING))


def _correction(rollup: Rollup, within: str, truth: str) -> str:
    """The difference of the two, as rows. A counter that is too high is lowered by adding modulo 2^64."""
    at, counters = rollup.at, rollup.counters
    finer = f"toDateTime({rollup.start}({at}), 'UTC')" if rollup.finer else at
    keys = ", ".join(rollup.keys)
    plus = ", ".join(f"toInt64({name}) AS {name}_" for name in counters)
    minus = ", ".join(f"-toInt64({name}) AS {name}_" for name in counters)
    sums = ", ".join(f"toUInt64(sum({name}_)) AS {name}" for name in counters)
    differs = " OR ".join(f"sum({name}_) != 0" for name in counters)
    names = ", ".join(counters)
    span = ", first_at, last_at" if rollup.spans else ""
    spans = ", min(first_at), max(last_at)" if rollup.spans else ""
    return (
        f"INSERT INTO {rollup.table} ({at}, {keys}, {names}{span})"  # noqa: S608
        f" SELECT starts, {keys}, {sums}{spans} FROM ("
        f"SELECT {finer} AS starts, {keys}, {plus}{span}"
        f" FROM {truth} WHERE {within} UNION ALL "
        f"SELECT {at} AS starts, {keys}, {minus}{span}"
        f" FROM {rollup.table} WHERE {within}"
        f") GROUP BY starts, {keys} HAVING {differs}"
        f" SETTINGS insert_deduplicate = 0, max_bytes_before_external_group_by = 2000000000"
    )


def _view(clickhouse: ClickHouse, table: str) -> str:
    """The SELECT by which the view of this table counts."""
    found = clickhouse.rows(
        "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = %(name)s",
        {"name": f"{table}_view"},
    )
    return str(found[0][0])


def _days(month: int, column: str, first: int, last: int) -> Iterator[str]:
    """The days of a month that lie between two instants, each as what is true of a column."""
    day = datetime(month // 100, month % 100, 1, tzinfo=UTC)
    while day.year * 100 + day.month == month:
        after = day + timedelta(days=1)
        if not last or (after > as_datetime(first) and day <= as_datetime(last)):
            yield f"{column} >= '{day:%Y-%m-%d} 00:00:00' AND {column} < '{after:%Y-%m-%d} 00:00:00'"
        day = after


def _kept_since(clickhouse: ClickHouse) -> dict[str, int]:
    """Table → the first month (yyyymm) of which it has not dropped a row yet; 0 where it keeps all for ever.

    Without `events`: this is a cluster, where a view knows its own shard alone, and nothing can be compared.
    """
    found = clickhouse.rows(
        "SELECT name, engine, engine_full, toUnixTimestamp64Micro(now64(6)) FROM system.tables"
        " WHERE database = currentDatabase()"
    )
    since = {}
    for name, engine, engine_full, now in found:
        if engine == "Distributed":
            continue
        since[str(name)] = 0
        if (days := days_kept(str(engine_full))) is not None:
            oldest = as_datetime(int(now) - days * 86_400 * MICROSECONDS)
            since[str(name)] = oldest.year * 100 + oldest.month + (1 if oldest.month < 12 else 89)
    return since

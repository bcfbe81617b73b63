"""Which clients of a month matter: one pass over what each did in it and in the month before."""

from dataclasses import dataclass
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import COUNTERS
from streams.audit.proposals import Thresholds
from streams.audit.stats import Row, row_of

TOP: Final = 15
REFUSED: Final = 20
CANDIDATES: Final = 5000
"""Clients that are judged, those that connect most first."""
COMPARED: Final = 50
_FACTOR: Final = 2
"""A client changed where it does so many times more, or less, a day."""

_MONTH: Final = "period = fromUnixTimestamp64Micro(%(start)s, 'UTC')"
_PASS: Final = f"""
SELECT
    groupArraySortedIf({TOP})((-c, client), c > 0),
    groupArraySortedIf({REFUSED})((-r, client), r > 0),
    groupArraySortedIf({CANDIDATES})((-c, client),
        c >= multiIf(m = 0, %(block_from)s, trouble > m, %(least)s, %(exempt_from)s)),
    groupArraySortedIf({COMPARED})((-abs(c / %(days)s - b / %(before_days)s), client),
        greatest(c, b) >= %(least)s AND greatest(c / %(days)s, b / %(before_days)s)
            >= {_FACTOR} * least(c / %(days)s, b / %(before_days)s))
FROM (
    SELECT client,
        toInt64(sumIf(connections, now)) AS c, toInt64(sumIf(connections, NOT now)) AS b,
        toInt64(sumIf(messages, now)) AS m, toInt64(sumIf(refusals, now)) AS r,
        r - toInt64(sumIf(go_aways, now)) + toInt64(sumIf(violations + login_failures, now)) AS trouble
    FROM (
        SELECT client, connections, messages, refusals, go_aways, violations, login_failures, {_MONTH} AS now
        FROM clients_by_month
        WHERE period >= fromUnixTimestamp64Micro(%(before)s, 'UTC')
          AND period <= fromUnixTimestamp64Micro(%(start)s, 'UTC') {{busy}}
    ) AS t
    GROUP BY client
)
"""  # noqa: S608
_BUSY: Final = """AND client IN (
    SELECT client FROM clients_by_month
    WHERE period >= fromUnixTimestamp64Micro(%(before)s, 'UTC')
      AND period <= fromUnixTimestamp64Micro(%(start)s, 'UTC')
      AND greatest(connections, refusals) * %(pieces)s >= %(least)s
)"""
"""A client of at least `least` has a row of at least that divided by how many rows it can have: one a host
and part of the table. It spares adding up millions of clients that came once."""
_ROWS_OF: Final = """
SELECT count(), (
    SELECT count() FROM clients_by_month
    WHERE _part_offset = 0 AND period >= fromUnixTimestamp64Micro(%(before)s, 'UTC')
      AND period <= fromUnixTimestamp64Micro(%(start)s, 'UTC'))
FROM clients_by_month
WHERE period >= fromUnixTimestamp64Micro(%(before)s, 'UTC')
  AND period <= fromUnixTimestamp64Micro(%(start)s, 'UTC')
"""
"""How many rows, in how many parts: each has a first one."""
_SEEN: Final = """
SELECT toUnixTimestamp64Micro(toDateTime64(period, 6, 'UTC')), {unique}(client), groupUniqArray(host)
FROM clients_by_month
WHERE period = fromUnixTimestamp64Micro(%(before)s, 'UTC')
   OR period = fromUnixTimestamp64Micro(%(start)s, 'UTC')
GROUP BY period
"""
"""Each month's clients, and the hosts that saw them: the one pass over all there were."""
_FEW_ROWS: Final = 200_000
_EXACT_ROWS: Final = 1_000_000
"""Beyond these, clients are counted to within one per cent: exactly would take a second."""
_MOMENTS: Final = "toUnixTimestamp64Micro(min(first_at)), toUnixTimestamp64Micro(max(last_at))"
_SUMS: Final = ", ".join(f"sum(t.{name})" for name in COUNTERS)
_ROWS: Final = f"""
SELECT client, {_SUMS}, 1, {_MOMENTS}
FROM clients_by_month AS t WHERE {_MONTH} AND client IN %(clients)s GROUP BY client
"""  # noqa: S608
_TOTAL: Final = f"""
SELECT '', {_SUMS}, %(clients)s, {_MOMENTS}
FROM traffic_by_minute AS t WHERE period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')
  AND period < addMonths(fromUnixTimestamp64Micro(%(start)s, 'UTC'), 1)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Chosen:
    """Clients, each list in its order, and the totals of both months (None: nothing was seen)."""

    total: Row | None
    before: Row | None
    top: tuple[str, ...]
    refused: tuple[str, ...]
    candidates: tuple[str, ...]
    compared: tuple[str, ...]
    """Empty where the month before is not stored."""


def choose(
    clickhouse: ClickHouse, start: int, before: int, scaled: Thresholds, days: int, before_days: int
) -> Chosen:
    """Who connected most, was refused most, may be proposed, and changed most against the month before.

    Where there are very many clients, only those with as many connections or refusals as a proposal needs."""
    bounds: dict[str, object] = {"start": int(start), "before": int(before)}
    asked = {
        "exempt_from": scaled.exempt_from,
        "block_from": scaled.block_from,
        "least": min(scaled.block_from, scaled.exempt_from),
        "days": max(1, days),
        "before_days": max(1, before_days),
    }
    rows, parts = map(int, clickhouse.rows(_ROWS_OF, bounds)[0])
    unique = "uniqExact" if rows <= _EXACT_ROWS else "uniq"
    clients, hosts = dict[int, int](), set[str]()
    for month, count, some in clickhouse.rows(_SEEN.format(unique=unique), bounds):
        clients[int(month)] = int(count)
        hosts |= set(some)
    asked["pieces"] = parts * len(hosts)
    query = _PASS.format(busy=_BUSY if rows > _FEW_ROWS else "")
    lists = clickhouse.rows(query, bounds | asked)[0]
    top, refused, candidates, compared = (tuple(str(it[1]) for it in some) for some in lists)
    return Chosen(
        total=_total(clickhouse, start, clients.get(start, 0)),
        before=_total(clickhouse, before, clients.get(before, 0)),
        top=top,
        refused=refused,
        candidates=candidates,
        compared=compared if before_days else (),
    )


def rows_of(clickhouse: ClickHouse, start: int, clients: tuple[str, ...]) -> dict[str, Row]:
    """What each of these clients did in the month that begins here; absent: nothing."""
    if not clients:
        return {}
    found: list[tuple[Any, ...]] = clickhouse.rows(_ROWS, {"start": int(start), "clients": clients})
    return {row.name: row for row in map(row_of, found)}


def _total(clickhouse: ClickHouse, start: int, clients: int) -> Row | None:
    if not clients:
        return None
    return row_of(clickhouse.rows(_TOTAL, {"start": int(start), "clients": clients})[0])

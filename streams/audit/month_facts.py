"""What is known of the clients that a month's proposals may be about."""

from collections.abc import Sequence
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.facts import Facts, Rhythm
from streams.audit.grouping import network_of
from streams.audit.proposals import Thresholds
from streams.audit.stats import COUNTERS

_MOST: Final = 5000
"""Clients that are judged, those that connect most first."""
_WITHIN: Final = (
    "{at} >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND {at} < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
)
_SUMS: Final = ", ".join(f"sum(t.{name}) AS {name}" for name in COUNTERS)
_CANDIDATES: Final = f"""
SELECT client, {_SUMS} FROM clients_by_month AS t WHERE {_WITHIN.format(at="period")} GROUP BY client
HAVING (messages > 0 AND connections >= %(exempt_from)s) OR (messages = 0 AND connections >= %(block_from)s)
ORDER BY connections DESC, client LIMIT {_MOST}
"""  # noqa: S608
_PRESENT: Final = f"""
SELECT client, uniqExact(toDate(period)), uniqExact(period) FROM clients_by_hour
WHERE {_WITHIN.format(at="period")} AND client IN %(clients)s GROUP BY client
"""  # noqa: S608
_GAPS: Final = f"""
SELECT client, middle, arrayCount(gap -> gap BETWEEN 0.8 * middle AND 1.2 * middle, gaps), length(gaps) FROM (
    SELECT client, arrayPopFront(arrayDifference(arraySort(groupArray(toUnixTimestamp64Milli(at))))) AS gaps,
        arrayReduce('quantileExact(0.5)', gaps) AS middle
    FROM events WHERE {_WITHIN.format(at="at")} AND client IN %(clients)s AND kind = 'connect' GROUP BY client
)
"""  # noqa: S608
_SESSIONS: Final = f"""
SELECT client, detail, count() AS sessions FROM events
WHERE {_WITHIN.format(at="at")} AND client IN %(clients)s AND kind = 'disconnect'
GROUP BY client, detail ORDER BY sessions DESC, detail LIMIT 50 BY client
"""  # noqa: S608
_REASONS: Final = f"""
SELECT client, if(kind = 'violation', violation, substring(concat(toString(code), ' ', replaceRegexpAll(
    replaceRegexpAll(detail, '<[^>]*>:? ?', ''), '^[0-9]{{3}} ', '')), 1, 120)) AS reason, count() AS times
FROM events
WHERE {_WITHIN.format(at="at")} AND client IN %(clients)s AND (code >= 400 OR kind = 'violation')
GROUP BY client, reason ORDER BY times DESC, reason LIMIT 5 BY client
"""  # noqa: S608
_BLOCKS: Final = """
SELECT client, sum(blocks) FROM decisions_by_day
WHERE period >= toDate(fromUnixTimestamp64Micro(%(start)s, 'UTC'), 'UTC')
  AND period < toDate(fromUnixTimestamp64Micro(%(end)s, 'UTC'), 'UTC') AND client IN %(clients)s
GROUP BY client
"""
_NAMES: Final = f"""
SELECT client, argMax(ptr, at) FROM events
WHERE {_WITHIN.format(at="at")} AND client IN %(clients)s AND ptr != '' GROUP BY client
"""  # noqa: S608
_DELIVERED: Final = """
SELECT {network} AS network, sum(t.messages) FROM clients_by_month AS t GROUP BY network
HAVING network IN %(networks)s
"""

Counted = tuple[tuple[str, int], ...]


def facts_of(clickhouse: ClickHouse, start: int, end: int, thresholds: Thresholds) -> list[Facts]:
    """The facts of every client that connected often enough to be judged (at most `_MOST`)."""
    bounds: dict[str, object] = {"start": int(start), "end": int(end)}
    rows = clickhouse.rows(
        _CANDIDATES,
        {**bounds, "exempt_from": thresholds.exempt_from, "block_from": thresholds.block_from},
    )
    clients = [str(client) for client, *_ in rows]
    if not clients:
        return []
    whose = {**bounds, "clients": tuple(clients)}
    present = {
        str(client): (int(days), int(hours)) for client, days, hours in clickhouse.rows(_PRESENT, whose)
    }
    rhythms = {
        str(client): Rhythm(float(middle) / 1000, near / gaps if gaps else 0.0, int(gaps))
        for client, middle, near, gaps in clickhouse.rows(_GAPS, whose)
    }
    sessions = _counted(clickhouse, _SESSIONS, whose)
    reasons = _counted(clickhouse, _REASONS, whose)
    blocks = {str(client): int(count) for client, count in clickhouse.rows(_BLOCKS, whose)}
    names = named(clickhouse, start, end, clients)
    return [
        Facts(
            client=client,
            counts=dict(zip(COUNTERS, map(int, counts), strict=True)),
            days=present.get(client, (0, 0))[0],
            hours=present.get(client, (0, 0))[1],
            ptr=names.get(client, ""),
            rhythm=rhythms.get(client),
            sessions=sessions.get(client, ()),
            refused=reasons.get(client, ()),
            blocks=blocks.get(client, 0),
        )
        for client, *counts in rows
    ]


def reasons_of(clickhouse: ClickHouse, start: int, end: int, clients: Sequence[str]) -> dict[str, Counted]:
    """Why these clients were refused, without the addresses in the texts; violations by their names."""
    if not clients:
        return {}
    return _counted(
        clickhouse, _REASONS, {"start": int(start), "end": int(end), "clients": tuple(set(clients))}
    )


def named(clickhouse: ClickHouse, start: int, end: int, clients: Sequence[str]) -> dict[str, str]:
    """Client → its newest verified name, where it has one."""
    if not clients:
        return {}
    found = clickhouse.rows(_NAMES, {"start": int(start), "end": int(end), "clients": tuple(set(clients))})
    return {str(client): str(name) for client, name in found}


def messages_in(clickhouse: ClickHouse, networks: Sequence[str]) -> dict[str, int]:
    """Network (/24, or /48 of IPv6) → messages from anybody in it, ever."""
    if not networks:
        return {}
    query = _DELIVERED.format(network=network_of("t.client", 24, 48))
    return {str(it): int(count) for it, count in clickhouse.rows(query, {"networks": tuple(networks)})}


def _counted(clickhouse: ClickHouse, query: str, parameters: dict[str, object]) -> dict[str, Counted]:
    found: dict[str, list[tuple[str, int]]] = {}
    for client, text, count in clickhouse.rows(query, parameters):
        found.setdefault(str(client), []).append((str(text), int(count)))
    return {client: tuple(some) for client, some in found.items()}

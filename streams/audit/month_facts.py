"""What is known of the clients that a month's proposals may be about."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.facts import DETAILED, REGULAR_GAPS, Counted, Facts, Reasons, Rhythm
from streams.audit.grouping import network_of, within_sql
from streams.audit.stats import Row
from streams.audit.stored import NO_CLIENTS_DOING
from streams.model.client import parse_network
from streams.model.instant import as_datetime

_READ: Final = 200_000
"""About so many events are read for one answer at most: of busier clients, the last part of the month."""
_PASSES: Final = 3
"""So often at most it is asked how those connect who send nothing."""
_WITHIN: Final = (
    "{at} >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND {at} < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
)
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
SELECT client, said > 0 AS is_refusal, if(said = 0, text, substringUTF8(concat(toString(said), ' ',
    replaceRegexpAll(replaceRegexpAll(text, '<[^>]*>:? ?', ''), '^[0-9]{{3}} ', '')), 1, 120)) AS reason,
    sum(each) AS times,
    substringUTF8(argMax(name, each), 1, 100)
FROM (
    SELECT client, if(kind = 'violation', 0, code) AS said, if(kind = 'violation', violation, detail) AS text,
        count() AS each, argMaxIf(helo, at, helo != '') AS name
    FROM events
    WHERE {_WITHIN.format(at="at")} AND client IN %(clients)s AND (code >= 400 OR kind = 'violation')
    GROUP BY client, said, text
)
GROUP BY client, is_refusal, reason ORDER BY times DESC, reason LIMIT 5 BY client, is_refusal
"""  # noqa: S608
"""Equal texts are put together before they are cut, of which there may be 200 000."""
_BLOCKS: Final = """
SELECT client, sum(blocks) FROM decisions_by_day
WHERE period >= toDate(fromUnixTimestamp64Micro(%(start)s, 'UTC'), 'UTC')
  AND period < toDate(fromUnixTimestamp64Micro(%(end)s, 'UTC'), 'UTC') AND client IN %(clients)s
GROUP BY client
"""
_NAMES: Final = """
SELECT client, argMax(named.name, named.at) FROM clients_by_month
WHERE period = fromUnixTimestamp64Micro(%(start)s, 'UTC') AND client IN %(clients)s AND named.name != ''
GROUP BY client
"""
_DELIVERED: Final = """
SELECT {network} AS network, sum(t.messages) FROM clients_by_month AS t WHERE t.messages > 0 AND {among}
GROUP BY network HAVING network IN %(networks)s
"""
"""That a row has messages is cheaper to see than whose it is: five times as fast."""
_STORED: Final = """
SELECT count(), toUnixTimestamp64Micro(min(at)) FROM events WHERE _partition_id = %(month)s
"""
"""Answered from what ClickHouse knows of each part, which is of one month: no row is read."""
_MARKS: Final = "SELECT count() FROM events WHERE _partition_id = %(month)s AND kind IN %(marks)s"
"""Our own among them, which nobody counts: one column of few values is read, 0.15 s of 100 million."""
_ELSEWHERE: Final = """
SELECT client, sum(messages), formatDateTime(max(period), '%%Y-%%m', 'UTC') FROM clients_by_month
WHERE period != fromUnixTimestamp64Micro(%(start)s, 'UTC')
    AND period >= fromUnixTimestamp64Micro(%(start)s, 'UTC') - INTERVAL 12 MONTH
    AND client IN %(clients)s AND messages > 0
GROUP BY client
"""

_TROUBLES: Final = ("refusals", "violations", "login_failures")


def facts_of(
    clickhouse: ClickHouse,
    start: int,
    end: int,
    rows: Sequence[Row],
    reasons: Mapping[str, Reasons],
    names: Mapping[str, str],
) -> list[Facts]:
    """The facts of these clients. What is read from single events (rhythm, sessions) is of the last part of
    the month where these are too many. Who sends nothing and did no harm is read apart from all others,
    however busy these are; sessions of others are those of the first `DETAILED` clients of the list."""
    clients = [row.name for row in rows]
    if not clients:
        return []
    whose: dict[str, object] = {"start": int(start), "end": int(end), "clients": tuple(clients)}
    present = {
        str(client): (int(days), int(hours)) for client, days, hours in clickhouse.rows(_PRESENT, whose)
    }
    blocks = {str(client): int(count) for client, count in clickhouse.rows(_BLOCKS, whose)}
    silent = tuple(row.name for row in rows if not row.counts["messages"])
    elsewhere = _elsewhere(clickhouse, start, silent)
    quiet = [row for row in rows if not any(row.counts[it] for it in _TROUBLES) and not blocks.get(row.name)]
    lurkers = {row.name: row for row in quiet if not row.counts["messages"]}
    rhythms, sessions = _listened(clickhouse, start, end, list(lurkers.values()))
    senders = [row for row in quiet if row.counts["messages"]]
    rhythms |= _rhythms(clickhouse, _bounded(start, end, senders, "connections"))
    shown = [row for row in rows[:DETAILED] if row.name not in lurkers]
    sessions |= _counted(clickhouse, _SESSIONS, _bounded(start, end, shown, "connections"))
    return [
        Facts(
            client=row.name,
            counts=row.counts,
            days=present.get(row.name, (0, 0))[0],
            hours=present.get(row.name, (0, 0))[1],
            ptr=names.get(row.name, ""),
            rhythm=rhythms.get(row.name),
            sessions=sessions.get(row.name, ()),
            reasons=reasons.get(row.name, Reasons()),
            blocks=blocks.get(row.name, 0),
            delivered=elsewhere.get(row.name, (0, ""))[0],
            delivered_last=elsewhere.get(row.name, (0, ""))[1],
        )
        for row in rows
    ]


def reasons_of(clickhouse: ClickHouse, start: int, end: int, rows: Sequence[Row]) -> dict[str, Reasons]:
    """Why these clients were refused, without the addresses in the texts; violations by their names."""
    if not rows:
        return {}
    found: dict[str, Reasons] = {}
    parameters = _bounded(start, end, rows, "refusals", "violations")
    for client, is_refusal, text, count, helo in clickhouse.rows(_REASONS, parameters):
        was, one = found.get(str(client), Reasons()), (str(text), int(count))
        found[str(client)] = Reasons(
            refused=(*was.refused, one) if is_refusal else was.refused,
            violated=was.violated if is_refusal else (*was.violated, one),
            helo=was.helo or str(helo),
        )
    return found


def named(clickhouse: ClickHouse, start: int, clients: Collection[str]) -> dict[str, str]:
    """Client → its newest verified name in the month, where it has one."""
    if not clients:
        return {}
    found = clickhouse.rows(_NAMES, {"start": int(start), "clients": tuple(clients)})
    return {str(client): str(name) for client, name in found}


def _listened(
    clickhouse: ClickHouse, start: int, end: int, rows: Sequence[Row]
) -> tuple[dict[str, Rhythm], dict[str, Counted]]:
    """How these clients connect and what they say, in the last part of the month where they are too many;
    then, of whom that was too little, in all of it: those first who connect least."""
    rhythms: dict[str, Rhythm] = {}
    sessions: dict[str, Counted] = {}
    asked, waiting = rows, list[Row]()
    for number in range(_PASSES):
        window = _bounded(start, end, asked, "connections")
        rhythms |= _rhythms(clickhouse, window)
        sessions |= _counted(clickhouse, _SESSIONS, window)
        if number == 0 and window["start"] != start:
            few = (row for row in rows if _is_little(rhythms.get(row.name), row))
            waiting = sorted(few, key=lambda row: row.counts["connections"])
        events = list(accumulate(row.counts["connections"] for row in waiting))
        most = max(1, bisect_right(events, _READ))
        asked, waiting = waiting[:most], waiting[most:]
    return rhythms, sessions


def _is_little(rhythm: Rhythm | None, row: Row) -> bool:
    """Whether so few of its connections were read that there are more, and a clock could not be told."""
    gaps = rhythm.gaps if rhythm is not None else 0
    return gaps < REGULAR_GAPS and gaps + 1 < row.counts["connections"]


def _bounded(start: int, end: int, rows: Sequence[Row], *counters: str) -> dict[str, object]:
    """Parameters of a query about these clients, over so much of the month that `_READ` events count."""
    events = sum(row.counts[name] for row in rows for name in counters)
    last = max((int(row.last) for row in rows), default=int(end))
    if events > _READ:
        start = max(int(start), last - (last - int(start)) * _READ // events)
    return {"start": int(start), "end": int(end), "clients": tuple(row.name for row in rows)}


def messages_in(clickhouse: ClickHouse, networks: Sequence[str], month: int | None = None) -> dict[str, int]:
    """Network (/24, or /48 of IPv6) → messages from anybody in it: in the month that begins then, or ever."""
    if not networks:
        return {}
    among = within_sql("t.client", list(map(parse_network, networks)))
    if month is not None:
        among += " AND t.period = fromUnixTimestamp64Micro(%(month)s, 'UTC')"
    query = _DELIVERED.format(network=network_of("t.client", 24, 48), among=among)
    found = clickhouse.rows(query, {"networks": tuple(networks), "month": month})
    return dict.fromkeys(networks, 0) | {str(it): int(count) for it, count in found}


def stored_of(clickhouse: ClickHouse, start: int) -> tuple[int, int]:
    """How many events of clients in the month that begins here are stored, and the instant of the first event
    or mark of ours; none: 0, 0."""
    month = {"month": f"{as_datetime(start):%Y%m}", "marks": NO_CLIENTS_DOING}
    [(count, first)] = clickhouse.rows(_STORED, month)
    if not count:
        return 0, 0
    [(marks,)] = clickhouse.rows(_MARKS, month)
    return int(count) - int(marks), int(first)


def _elsewhere(clickhouse: ClickHouse, start: int, clients: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Client → messages in the twelve months before the one that begins here and in those after it, and the
    latest of these; absent: none."""
    if not clients:
        return {}
    found = clickhouse.rows(_ELSEWHERE, {"start": int(start), "clients": clients})
    return {str(client): (int(messages), str(last)) for client, messages, last in found}


def _rhythms(clickhouse: ClickHouse, parameters: dict[str, object]) -> dict[str, Rhythm]:
    return {
        str(client): Rhythm(float(middle) / 1000, near / gaps if gaps else 0.0, int(gaps))
        for client, middle, near, gaps in (
            clickhouse.rows(_GAPS, parameters) if parameters["clients"] else []
        )
    }


def _counted(clickhouse: ClickHouse, query: str, parameters: dict[str, object]) -> dict[str, Counted]:
    if not parameters["clients"]:
        return {}
    found: dict[str, list[tuple[str, int]]] = {}
    for client, text, count in clickhouse.rows(query, parameters):
        found.setdefault(str(client), []).append((str(text), int(count)))
    return {client: tuple(some) for client, some in found.items()}

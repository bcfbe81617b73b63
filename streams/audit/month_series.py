"""A month's figures by day, hour, rule and client, and beside those of the month before."""

from dataclasses import dataclass, field
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.hits import spoken_sql
from streams.model.instant import MICROSECONDS, Instant

_DAY_US: Final = 86_400 * MICROSECONDS
BY_MTA: Final = "the MTA's own rules"
OTHER: Final = "Goaway, other"
_SHOWN: Final = 50
_FACTOR: Final = 2
"""A client changed where it does so many times more, or less, a day."""
_PERIOD: Final = """period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')
  AND period < fromUnixTimestamp64Micro(%(end)s, 'UTC')"""
_DAYS: Final = f"""
SELECT toDayOfMonth(period) AS day, sum(events), sum(connections), sum(messages), sum(refusals), sum(go_aways)
FROM clients_by_day WHERE {_PERIOD} GROUP BY day
"""  # noqa: S608
_TRIGGERS: Final = """
SELECT toDayOfMonth(at, 'UTC') AS day, {spoken} AS spoken, count() FROM events
WHERE at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')
  AND code >= 400 AND position(detail, 'Go away: ') > 0 GROUP BY day, spoken
"""
_HOURS: Final = f"""
SELECT toDayOfMonth(period) AS day, toHour(period) AS hour, sum(connections) FROM clients_by_hour
WHERE {_PERIOD} GROUP BY day, hour HAVING sum(connections) > 0 ORDER BY day, hour
"""  # noqa: S608
_RULES: Final = """
SELECT trigger, rule, shadow, sum(blocks), sum(releases), sum(warnings), uniqExact(client)
FROM decisions_by_day
WHERE period >= toDate(fromUnixTimestamp64Micro(%(start)s, 'UTC'), 'UTC')
  AND period < toDate(fromUnixTimestamp64Micro(%(end)s, 'UTC'), 'UTC')
GROUP BY trigger, rule, shadow
HAVING sum(blocks) + sum(warnings) > 0 ORDER BY sum(blocks) DESC, sum(warnings) DESC, trigger, rule
"""
_WARNED: Final = """
SELECT about, client, rule, uniqExact(id) AS times, max(evidence_count), any(evidence_limit),
    toUnixTimestamp64Micro(max(at)), argMax(text, at) FROM warnings
WHERE at >= fromUnixTimestamp64Micro(%(start)s, 'UTC') AND at < fromUnixTimestamp64Micro(%(end)s, 'UTC')
GROUP BY about, client, rule ORDER BY about != 'limit' DESC, times DESC, client LIMIT {most}
"""
_COMPARED: Final = """
SELECT client, sumIf(connections, period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')) AS now_c,
    sumIf(connections, period < fromUnixTimestamp64Micro(%(start)s, 'UTC')) AS was_c,
    sumIf(messages, period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')),
    sumIf(messages, period < fromUnixTimestamp64Micro(%(start)s, 'UTC')),
    sumIf(refusals, period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')),
    sumIf(refusals, period < fromUnixTimestamp64Micro(%(start)s, 'UTC'))
FROM clients_by_month
WHERE period >= fromUnixTimestamp64Micro(%(before)s, 'UTC')
  AND period <= fromUnixTimestamp64Micro(%(start)s, 'UTC')
GROUP BY client
HAVING greatest(now_c, was_c) >= %(least)s AND (
    greatest(now_c / %(days)s, was_c / %(before_days)s)
    >= {factor} * least(now_c / %(days)s, was_c / %(before_days)s))
ORDER BY abs(now_c / %(days)s - was_c / %(before_days)s) DESC, client LIMIT {most}
"""


@dataclass(frozen=True, slots=True)
class Day:
    """One day: what happened, and its refusals by what brought them about."""

    day: int
    events: int = 0
    connections: int = 0
    messages: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    """Trigger, `OTHER` or `BY_MTA` → how many."""


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What a rule did. Blocks in shadow refused nobody."""

    trigger: str
    rule: str
    shadow: bool
    blocks: int
    releases: int
    warnings: int
    clients: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Whom, or what, warnings were about."""

    about: str
    subject: str
    rule: str
    times: int
    highest: int
    limit: int
    last: Instant
    text: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A client's month beside the one before."""

    client: str
    what: str
    """`new`, `gone`, `more`, `less`"""
    connections: tuple[int, int]
    """Now, and before."""
    messages: tuple[int, int]
    refusals: tuple[int, int]


def days_of(clickhouse: ClickHouse, start: int, end: int, *, triggers: bool = True) -> list[Day]:
    """Every day of a month in order; without `triggers` its refusals are not told apart."""
    bounds: dict[str, object] = {"start": int(start), "end": int(end)}
    found = {day: Day(day) for day in range(1, (end - start) // _DAY_US + 1)}
    ours: dict[int, dict[str, int]] = {}
    if triggers:
        query = _TRIGGERS.format(spoken=spoken_sql(OTHER))
        for day, spoken, count in clickhouse.rows(query, bounds):
            ours.setdefault(int(day), {})[str(spoken)] = int(count)
    for day, events, connections, messages, refusals, go_aways in clickhouse.rows(_DAYS, bounds):
        by = dict(ours.get(day, {}))
        if refusals > go_aways:
            by[BY_MTA] = int(refusals - go_aways)
        found[day] = Day(int(day), int(events), int(connections), int(messages), by)
    return list(found.values())


def hours_of(clickhouse: ClickHouse, start: int, end: int) -> list[tuple[int, int, int]]:
    """(day, hour, connections) where there were any."""
    rows = clickhouse.rows(_HOURS, {"start": int(start), "end": int(end)})
    return [(int(day), int(hour), int(count)) for day, hour, count in rows]


def rules_of(clickhouse: ClickHouse, start: int, end: int) -> list[RuleCount]:
    """Every rule that decided or warned."""
    rows = clickhouse.rows(_RULES, {"start": int(start), "end": int(end)})
    return [RuleCount(str(it[0]), str(it[1]), bool(it[2]), *map(int, it[3:])) for it in rows]


def warnings_of(clickhouse: ClickHouse, start: int, end: int) -> list[Warned]:
    """Trouble first, then whom limits were close for, the most often warned about first."""
    rows = clickhouse.rows(_WARNED.format(most=_SHOWN), {"start": int(start), "end": int(end)})
    return [
        Warned(
            str(about), str(client), str(rule), int(times), int(high), int(limit), Instant(last), str(text)
        )
        for about, client, rule, times, high, limit, last, text in rows
    ]


def compared(
    clickhouse: ClickHouse, start: int, before: int, least: int, days: int, before_days: int
) -> list[Compared]:
    """Clients of at least `least` connections in a month that are new, gone, or do twice as much or half as
    much a day; the greatest changes first. Nothing where the month before is not stored."""
    if not before_days:
        return []
    rows = clickhouse.rows(
        _COMPARED.format(factor=_FACTOR, most=_SHOWN),
        {
            "start": int(start),
            "before": int(before),
            "least": least,
            "days": max(1, days),
            "before_days": before_days,
        },
    )
    found = []
    for client, now, was, *rest in rows:
        what = (
            "new" if not was else "gone" if not now else "more" if now / days > was / before_days else "less"
        )
        m_now, m_was, r_now, r_was = map(int, rest)
        found.append(Compared(str(client), what, (int(now), int(was)), (m_now, m_was), (r_now, r_was)))
    return found

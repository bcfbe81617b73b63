"""A month's figures by day, hour, rule and client, and beside those of the month before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.stats import Row
from streams.model.instant import MICROSECONDS, Instant

_DAY_US: Final = 86_400 * MICROSECONDS
BY_MTA: Final = "the MTA's own rules"
OTHER: Final = "Goaway, other"
_SHOWN: Final = 50
_PERIOD: Final = """period >= fromUnixTimestamp64Micro(%(start)s, 'UTC')
  AND period < fromUnixTimestamp64Micro(%(end)s, 'UTC')"""
_DAYS: Final = f"""
SELECT toDayOfMonth(period) AS day, trigger, sum(events), sum(connections), sum(messages), sum(refusals),
    sum(go_aways)
FROM traffic_by_minute WHERE {_PERIOD} GROUP BY day, trigger
"""  # noqa: S608
_HOURS: Final = f"""
SELECT toDayOfMonth(period) AS day, toHour(period) AS hour, sum(connections) FROM traffic_by_minute
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


def days_of(clickhouse: ClickHouse, start: int, end: int) -> list[Day]:
    """Every day of a month in order. Our refusals are told apart by their texts."""
    found = {day: Day(day) for day in range(1, (end - start) // _DAY_US + 1)}
    rows = clickhouse.rows(_DAYS, {"start": int(start), "end": int(end)})
    for day, trigger, *counts in rows:
        events, connections, messages, refusals, go_aways = map(int, counts)
        was = found[day]
        by = dict(was.refusals)
        if go_aways:
            by[OTHER if trigger == "other" else str(trigger)] = go_aways
        if refusals > go_aways:
            by[BY_MTA] = refusals - go_aways
        found[day] = Day(
            was.day, was.events + events, was.connections + connections, was.messages + messages, by
        )
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
    clients: Sequence[str], now: Mapping[str, Row], was: Mapping[str, Row], days: int, before_days: int
) -> list[Compared]:
    """Clients beside themselves in the month before: `now` and `was` are what they did."""
    found = []
    for client in clients:
        pairs = [
            tuple(it[client].counts[name] if client in it else 0 for it in (now, was))
            for name in ("connections", "messages", "refusals")
        ]
        here, there = pairs[0]
        more = here / max(1, days) > there / max(1, before_days)
        what = "new" if not there else "gone" if not here else "more" if more else "less"
        (c, b), (m, n), (r, q) = pairs
        found.append(Compared(client, what, (c, b), (m, n), (r, q)))
    return found

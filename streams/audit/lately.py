"""What ClickHouse has of one client's last hours: what was decided about it, and how it was refused."""

from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.stored import decisions_where
from streams.config import ClickHouseSettings
from streams.engine.taking import FORGOTTEN
from streams.model.client import Client
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant

_READ: Final = 50
"""Decisions read, of which those of one administrator's word are one."""
_DECIDED: Final = """client = %(client)s AND at > fromUnixTimestamp64Micro(%(since)s)
AND (action = 'block' OR (action = 'release' AND rule != 'delivered'))"""
_REFUSED: Final = """
SELECT code, detail, count(), toUnixTimestamp64Micro(max(at)) AS latest
FROM (SELECT DISTINCT id, code, detail, at FROM events
      WHERE client = %(client)s AND at > fromUnixTimestamp64Micro(%(since)s) AND code >= 400)
GROUP BY code, detail ORDER BY latest DESC, detail LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusals of the same words, as the MTA logged them."""

    code: int
    detail: str
    count: int
    last: Instant


@dataclass(frozen=True, slots=True)
class Lately:
    """The latest of a period, newest first."""

    decisions: tuple[Decision, ...] = ()
    """Blocks and releases; an administrator's word, which releases every trigger, once."""
    refused: tuple[Refused, ...] = ()


def lately(settings: ClickHouseSettings, client: Client, now: int, *, period_s: int, most: int) -> Lately:
    """At most 50 decisions, and `most` kinds of refusals, of the `period_s` seconds before `now`.

    `UnavailableError` where ClickHouse does not answer, `StorageError` where the tables are missing.
    """
    clickhouse = ClickHouse(settings)
    about = {"client": client, "since": now - period_s * MICROSECONDS}
    try:
        decisions = decisions_where(clickhouse, _DECIDED, about, limit=_READ)
        refused = [Refused(*row) for row in clickhouse.rows(_REFUSED, {**about, "most": most})]
    finally:
        clickhouse.close()
    once = {(it.event, it.rule) if it.rule == FORGOTTEN else (it.id, ""): it for it in decisions}
    return Lately(tuple(once.values()), tuple(refused))

"""What ClickHouse knows of one client: how often it came lately, under which names, when last."""

from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.model.client import Client
from streams.model.instant import MICROSECONDS, Instant

_COUNTS: Final = """
SELECT
    countIf(kind = 'connect'), countIf(kind = 'mail'), countIf(kind = 'message'),
    countIf(code >= 400), countIf(kind = 'violation'), countIf(kind = 'auth'),
    toUnixTimestamp64Micro(min(at)), toUnixTimestamp64Micro(max(at)),
    groupUniqArrayIf(5)(helo, helo != ''), groupUniqArrayIf(5)(ptr, ptr != ''), groupUniqArray(5)(host)
FROM (SELECT DISTINCT id, kind, code, at, helo, ptr, host FROM events
      WHERE client = %(client)s AND at > fromUnixTimestamp64Micro(%(since)s)
        AND kind NOT IN ('policy', 'forget', 'learnt', 'reputation'))
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What a client did within a period; at most five names of each kind, as it or its DNS gave them."""

    connections: int
    requests: int
    messages: int
    refusals: int
    violations: int
    logins: int
    first: Instant
    last: Instant
    helo: tuple[str, ...]
    ptr: tuple[str, ...]
    hosts: tuple[str, ...]


def known(settings: ClickHouseSettings, client: Client, now: int, *, period_s: int) -> Known | None:
    """What the client did in the `period_s` seconds before `now`; None where it was not seen.

    `UnavailableError` where ClickHouse does not answer, `StorageError` where the tables are missing.
    """
    clickhouse = ClickHouse(settings)
    try:
        since = now - period_s * MICROSECONDS
        rows = clickhouse.rows(_COUNTS, {"client": client, "since": since})
    finally:
        clickhouse.close()
    if not rows or not any(rows[0][:6]):
        return None
    first, last, helo, ptr, hosts = rows[0][6:]
    connections, requests, messages, refusals, violations, logins = rows[0][:6]
    return Known(
        connections=connections,
        requests=requests,
        messages=messages,
        refusals=refusals,
        violations=violations,
        logins=logins,
        first=Instant(first),
        last=Instant(last),
        helo=tuple(sorted(helo)),
        ptr=tuple(sorted(ptr)),
        hosts=tuple(sorted(hosts)),
    )

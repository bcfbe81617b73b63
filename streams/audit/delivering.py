"""Clients that delivered mail, by what ClickHouse keeps: whom greylisting can let through from the start."""

from typing import NamedTuple

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.model.client import Address, Client, parse_address
from streams.model.instant import Instant

_DELIVERED = """
SELECT client, toString(any(address)), anyLast(ptr), uniqExact(id)
FROM events
WHERE kind = 'message' AND at >= fromUnixTimestamp64Micro(%(since)s)
GROUP BY client
HAVING uniqExact(id) >= %(messages)s
ORDER BY client
"""


class Delivering(NamedTuple):
    """A client and how many messages of it were queued."""

    client: Client
    address: Address
    ptr: str
    messages: int


def delivering(settings: ClickHouseSettings, *, since: Instant, messages: int) -> list[Delivering]:
    """Clients of which at least so many messages were queued since then.

    `UnavailableError` where ClickHouse does not answer, `StorageError` where the tables are missing.
    """
    clickhouse = ClickHouse(settings)
    try:
        rows = clickhouse.rows(_DELIVERED, {"since": int(since), "messages": messages})
    finally:
        clickhouse.close()
    return [
        Delivering(Client(client), parse_address(address), ptr, count) for client, address, ptr, count in rows
    ]

"""Which of the clients that a candidate treats otherwise deliver mail, and when, by what ClickHouse keeps."""

from collections.abc import Sequence
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.model.client import Client
from streams.model.instant import Instant

_AT_ONCE: Final = 500

_MESSAGES: Final = """
SELECT client, anyLast(ptr), groupArray(100000)(moment)
FROM (
    SELECT DISTINCT id, client, ptr, toUnixTimestamp64Micro(at) AS moment FROM events
    WHERE kind = 'message' AND client IN %(clients)s
      AND at >= fromUnixTimestamp64Micro(%(start)s) AND at < fromUnixTimestamp64Micro(%(end)s)
)
GROUP BY client
"""


def delivered(
    settings: ClickHouseSettings, clients: Sequence[Client], start: Instant, end: Instant
) -> dict[Client, tuple[str, list[int]]]:
    """Client → its name and when its messages were queued, of those that had any.

    `UnavailableError` where ClickHouse does not answer, `StorageError` where the tables are missing.
    """
    found: dict[Client, tuple[str, list[int]]] = {}
    clickhouse = ClickHouse(settings)
    try:
        for place in range(0, len(clients), _AT_ONCE):
            some = tuple(clients[place : place + _AT_ONCE])
            rows = clickhouse.rows(_MESSAGES, {"clients": some, "start": start, "end": end})
            found |= {Client(client): (name, list(times)) for client, name, times in rows}
    finally:
        clickhouse.close()
    return found

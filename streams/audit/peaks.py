"""Most connections open at once, of each group: from each connect to the next connect or disconnect of its session."""

from collections.abc import Mapping, Sequence
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.model.instant import MICROSECONDS

IDLE_S: Final = 1800
"""A connection whose end was not logged counts as open for so long (`session_idle_s`)."""

_QUERY: Final = """
SELECT name, toUInt64(max(open)) AS peak FROM (
    SELECT name, change_at, sum(change) OVER (PARTITION BY name ORDER BY change_at, change) AS open
    FROM (
        SELECT name, pair.1 AS change_at, pair.2 AS change FROM (
            SELECT name, arrayJoin([(opened, toInt64(1)), (least(closed, opened + {idle}), toInt64(-1))]) AS pair
            FROM (
                SELECT {key} AS name, t.kind AS kind, toUnixTimestamp64Micro(t.at) AS opened,
                    if(following.1 = 0, opened + {idle}, following.1) AS closed,
                    leadInFrame((toUnixTimestamp64Micro(t.at), 1)) OVER (
                        PARTITION BY t.client, t.session
                        ORDER BY t.at, t.kafka_epoch, t.kafka_partition, t.kafka_offset, t.frame_index
                        ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING
                    ) AS following
                FROM events AS t{joined}
                WHERE t.kind IN ('connect', 'disconnect')
                  AND t.at >= fromUnixTimestamp64Micro(%(start)s - {idle}, 'UTC')
                  AND t.at < fromUnixTimestamp64Micro(%(end)s, 'UTC'){condition}
            ) WHERE kind = 'connect' AND closed > %(start)s {names}
        )
    )
) WHERE change_at >= %(start)s - {idle} GROUP BY name ORDER BY peak DESC, name {limit}
"""


def peaks(
    clickhouse: ClickHouse,
    start: int,
    end: int,
    key: str,
    condition: str,
    parameters: Mapping[str, object],
    *,
    names: Sequence[str] | None = None,
    limit: int = 0,
) -> dict[str, int]:
    """Group → its peak within [start, end): of the groups named, or of the `limit` highest.

    A line that was shipped twice is one connection: its second connect ends the first.
    """
    if names is not None and not names:
        return {}
    from streams.audit.stats import _PTRS, PTR_KEY

    joined = f" LEFT JOIN ({_PTRS}) AS names ON names.client = t.client" if key == PTR_KEY else ""
    query = _QUERY.format(
        key=key.replace("AT", "t.at"),
        joined=joined,
        condition=condition.replace(" client IN", " t.client IN").replace(" host =", " t.host ="),
        idle=IDLE_S * MICROSECONDS,
        names="AND name IN %(names)s" if names is not None else "",
        limit=f"LIMIT {limit:d}" if limit else "",
    )
    found = clickhouse.rows(query, {**parameters, "start": start, "end": end, "names": tuple(names or ("",))})
    return {str(name): int(peak) for name, peak in found}

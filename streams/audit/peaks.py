"""Most connections open at once, of each group: from each connect to the next event of its kind or the
disconnect of its session."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import Grouping
from streams.model.instant import MICROSECONDS

IDLE_S: Final = 1800
"""A connection whose end was not logged counts as open for so long (`session_idle_s`)."""

_QUERY: Final = """
SELECT {shown} AS shown_name, toUInt64(max(open)) AS peak, toUInt64(sum(begins)) AS connections FROM (
    SELECT name, change_at, begins, sum(change) OVER (PARTITION BY name ORDER BY change_at, change) AS open
    FROM (
        SELECT name, pair.1 AS change_at, pair.2 AS change, pair.3 AS begins FROM (
            SELECT name, arrayJoin([
                (greatest(opened, toInt64(%(start)s)), toInt64(1), toUInt8(opened >= %(start)s)),
                (greatest(least(closed, opened + {idle}), opened + 1, toInt64(%(start)s) + 1), toInt64(-1), 0)
            ]) AS pair
            FROM (
                SELECT {name} AS name, t.kind AS kind, toUnixTimestamp64Micro(t.at) AS opened,
                    leadInFrame(toUnixTimestamp64Micro(t.at), 1, opened + {idle}) OVER (
                        PARTITION BY t.client, t.session
                        ORDER BY t.at, t.kafka_epoch, t.kafka_partition, t.kafka_offset, t.frame_index
                        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                    ) AS closed
                FROM events AS t{joined}
                WHERE t.kind IN ('connect', 'disconnect')
                  AND t.at >= fromUnixTimestamp64Micro(%(start)s - {idle}, 'UTC')
                  AND t.at < fromUnixTimestamp64Micro(%(end)s, 'UTC'){condition} {inner}
            ) WHERE kind = 'connect' AND least(closed, opened + {idle}) >= %(start)s
        )
    )
) WHERE change_at < %(end)s {outer} GROUP BY shown_name ORDER BY peak DESC, shown_name {limit}
"""


class Peak(NamedTuple):
    """What the stored events of a group say."""

    open: int
    """Most connections open at once."""
    connections: int
    """Connections opened within the period."""


def known(found: Peak | None, connections: int) -> int | None:
    """The peak of a group of so many connections; None where some of their events are not stored any more."""
    if found is None:
        return None if connections else 0
    return found.open if found.connections >= connections else None


def peaks(
    clickhouse: ClickHouse,
    grouping: Grouping | None,
    parameters: Mapping[str, object],
    condition: str = "",
    *,
    names: Sequence[str] | None = None,
    limit: int = 0,
    name: str = "",
) -> dict[str, Peak]:
    """Group → its peak in [start, end): of the groups named, or of the `limit` highest.

    `parameters` has `start` and `end`, and what `condition` (SQL over `t`) needs. Without a grouping all
    are one group, `''`. Of days and hours the peak is that of all connections within them. `name` is SQL
    that names groups in place of the grouping's own. A line that was shipped twice is one connection: its
    second connect ends the first.
    """
    if names is not None and not names:
        return {}
    by_time = grouping is not None and grouping.by_time
    named = "''" if grouping is None or by_time else name or grouping.name("t.at")
    shown = "name"
    if grouping is not None and by_time:
        shown = grouping.name("fromUnixTimestamp64Micro(toInt64(change_at), 'UTC')")
    query = _QUERY.format(
        shown=shown,
        name=named,
        joined=grouping.joined("t.client") if grouping else "",
        condition=condition,
        idle=IDLE_S * MICROSECONDS,
        inner=f"AND {named} IN %(names)s" if names is not None and not by_time else "",
        outer=f"AND {shown} IN %(names)s" if names is not None and by_time else "",
        limit=f"LIMIT {limit:d}" if limit else "",
    )
    found = clickhouse.rows(query, {**parameters, "names": tuple(names or ("",))})
    return {str(group): Peak(int(most), int(connections)) for group, most, connections in found}

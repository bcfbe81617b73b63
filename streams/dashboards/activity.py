"""What clients did, from the rollup that fits the time shown: by minute, by hour or by day."""

from typing import Final

from streams.dashboards.panels import ALL

HOST: Final = f"decodeURLComponent('${{host:percentencode}}') IN ('{ALL}', host)"
"""The host that was chosen, or all."""
CLIENT: Final = "client = decodeURLComponent('${client:percentencode}')"
"""The client that was chosen."""

_HOURS: Final = "dateDiff('hour', $__fromTime, $__toTime)"
_ROLLUPS: Final = (
    ("clients_by_minute", 60, "toStartOfMinute", f"{_HOURS} < 48"),
    ("clients_by_hour", 3600, "toStartOfHour", f"{_HOURS} >= 48 AND {_HOURS} < 1488"),
    ("clients_by_day", 86400, "toStartOfDay", f"{_HOURS} >= 1488"),
)


def activity(sql: str, columns: str, *, where: str) -> str:
    """The query with `ACTIVITY` replaced by rows of `time` (begin of a point) and the named columns.

    Of the three rollups only the one that fits is read: what the others are asked is false before a row is
    looked at. Whole minutes, hours or days count, those in which the time shown begins and ends as well. What
    asks for no client, of any host, is answered by what all clients together did.
    """
    parts = []
    everybody = where == HOST and "client" not in columns.split(", ")
    for table, step, begin, fits in _ROLLUPS:
        point = f"greatest(intDiv($__interval_s, {step}) * {step}, {step})"
        parts.append(
            " ".join((
                f"SELECT toDateTime(intDiv(toUInt32(period), {point}) * {point}, 'UTC') AS time, {columns}",
                f"FROM {'traffic_by_minute' if everybody else table}",
                f"WHERE {fits} AND period >= {begin}($__fromTime, 'UTC')"
                f" AND period < {begin}($__toTime, 'UTC') + INTERVAL {step} SECOND AND {where}",
            ))
        )  # fmt: skip
    return sql.replace("ACTIVITY", f"({' UNION ALL '.join(parts)})")

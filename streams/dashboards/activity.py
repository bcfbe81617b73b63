"""What clients did, from the rollup that fits the time shown: by minute, by hour or by day."""

from typing import Final

from streams.dashboards.macros import Span
from streams.dashboards.panels import ALL

HOST: Final = f"decodeURLComponent('${{host:percentencode}}') IN ('{ALL}', host)"
"""The host that was chosen, or all."""
CLIENT: Final = "client = decodeURLComponent('${client:percentencode}')"
"""The client that was chosen."""

_HOURS: Final = "dateDiff('hour', $__fromTime, $__toTime, 'UTC')"
_ROLLUPS: Final = (
    ("clients_by_minute", 60, "toStartOfMinute", range(48)),
    ("clients_by_hour", 3600, "toStartOfHour", range(48, 1488)),
    ("clients_by_day", 86400, "toStartOfDay", range(1488, 10**7)),
)
"""Table, seconds of a period, what begins one, how many hours shown it is for."""


def activity(sql: str, columns: str, *, where: str) -> str:
    """The query with `ACTIVITY` replaced by rows of `time` (begin of a point) and the named columns.

    Of the three rollups only the one that fits is read: what the others are asked is false before a row is
    looked at. Whole minutes, hours or days count, those in which the time shown begins and ends as well. What
    asks for no client, of any host, is answered by what all clients together did.
    """
    parts = []
    everybody = where == HOST and "client" not in columns.split(", ")
    for table, step, begin, hours in _ROLLUPS:
        fits = f"{_HOURS} >= {hours.start} AND {_HOURS} < {hours.stop}"
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


def point_s(span: Span) -> int:
    """How long a point of `activity` is, in seconds: an interval in whole periods of the rollup that fits."""
    shown = span.end // 3600 - span.start // 3600
    step = next(step for _, step, _, hours in _ROLLUPS if shown in hours)
    return max(span.interval_s // step * step, step)

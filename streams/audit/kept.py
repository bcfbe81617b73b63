"""Since when and until when a table has what clients did: what there is to say where nothing was found.

Nothing large is read for it: parts know their bounds, `traffic_by_minute` is small and in the order of time.
"""

from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.model.instant import Instant

_BY_INSTANT: Final = ("events", "decisions")
"""Tables partitioned by `at`; rollups are by `period`."""
_FIRST_MINUTE: Final = """
SELECT toUnixTimestamp64Micro(min(first_at)), count() FROM traffic_by_minute WHERE period = (
    SELECT min(period) FROM traffic_by_minute
    WHERE period >= toStartOfMinute(fromUnixTimestamp64Micro(%(oldest)s, 'UTC'))
)
"""
_LAST_MINUTE: Final = """
SELECT toUnixTimestamp64Micro(max(last_at)), count() FROM traffic_by_minute
WHERE period = (SELECT max(period) FROM traffic_by_minute)
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """The first and the last that a table has."""

    oldest: Instant
    newest: Instant


def kept(clickhouse: ClickHouse, table: str = "events") -> Kept | None:
    """What `events`, `decisions` or a rollup by client has; None where that is nothing.

    Of events and rollups it is what clients did, as far as `traffic_by_minute` knows: our own marks among
    the events may be of any time.
    """
    at = "at" if table in _BY_INSTANT else "period"
    bounds = ", ".join(f"toUnixTimestamp64Micro(toDateTime64({of}({at}), 6, 'UTC'))" for of in ("min", "max"))
    [(oldest, newest, count)] = clickhouse.rows(f"SELECT {bounds}, count() FROM {table}")  # noqa: S608
    if not count:
        return None
    if table != "decisions":
        [(first, known)] = clickhouse.rows(_FIRST_MINUTE, {"oldest": oldest})
        if known:
            [(last, _)] = clickhouse.rows(_LAST_MINUTE)
            oldest, newest = max(oldest, first), min(newest, last) if table == "events" else last
    return Kept(Instant(oldest), Instant(newest))

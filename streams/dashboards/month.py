"""The dashboard of a month: the audit at a glance. `goaway audit` has the proposals with their commands."""

from typing import Final

from streams.dashboards.activity import HOST
from streams.dashboards.common import HOSTS
from streams.dashboards.panels import Panel, Screen


def _whole(column: str) -> str:
    """That it lies in the months in which the time shown begins and ends, or between them."""
    return (
        f"{column} >= toStartOfMonth($__fromTime, 'UTC')"
        f" AND {column} < toStartOfMonth($__toTime, 'UTC') + INTERVAL 1 MONTH"
    )


_MONTHS: Final = f"FROM clients_by_month WHERE {_whole('period')} AND {HOST}"
_DAYS: Final = f"FROM traffic_by_minute WHERE {_whole('period')} AND {HOST}"
_CLIENT_COLUMNS: Final = (
    "SELECT client, sum(connections) AS connections, sum(requests) AS requests,"
    " sum(messages) AS messages, sum(refusals) AS refused, max(last_at) AS last "
)
_BLOCKED: Final = f"FROM decisions WHERE {_whole('at')} AND action = 'block' AND NOT shadow AND {HOST}"

MONTH: Final = Screen(
    "goaway-month",
    "Goaway: month",
    "Whole months in UTC, those in which the time shown begins and ends.",
    (
        Panel(
            "In these months",
            "stats",
            "SELECT sum(connections) AS connections, sum(messages) AS `messages queued`, sum(bytes) AS size,"
            f" sum(go_aways) AS `told to go away`, uniqExact(client) AS clients {_MONTHS}",
            16,
            4,
            units={"size": "bytes"},
        ),
        Panel(
            "Blocked",
            "stats",
            f"SELECT uniqExact(id) AS blocks, uniqExact(client) AS `clients blocked` {_BLOCKED}",
            8,
            4,
        ),
        Panel(
            "Connections by day",
            "columns",
            "SELECT toStartOfDay(period, 'UTC') AS time, sum(connections) AS connections"
            f" {_DAYS} GROUP BY time ORDER BY time",
            8,
            point="day",
        ),
        Panel(
            "Messages by day",
            "columns",
            "SELECT toStartOfDay(period, 'UTC') AS time, sum(messages) AS messages"
            f" {_DAYS} GROUP BY time ORDER BY time",
            8,
            point="day",
        ),
        Panel(
            "Blocks by day and trigger",
            "columns",
            f"SELECT toStartOfDay(at, 'UTC') AS time, trigger, uniqExact(id) AS blocks {_BLOCKED}"
            " GROUP BY time, trigger ORDER BY time, trigger",
            8,
            by="trigger",
            point="day",
        ),
        Panel(
            "Most connections",
            "table",
            f"{_CLIENT_COLUMNS}{_MONTHS} GROUP BY client ORDER BY connections DESC, client LIMIT 20",
            12,
            9,
        ),
        Panel(
            "Blocks by rule",
            "bars",
            "SELECT concat(trigger, ': ', rule) AS name, uniqExact(id) AS blocks"
            f" {_BLOCKED} GROUP BY name ORDER BY blocks DESC, name LIMIT 15",
            12,
            9,
        ),
        Panel(
            "Many connections, and they deliver",
            "table",
            f"{_CLIENT_COLUMNS}{_MONTHS} GROUP BY client HAVING connections >= 1000 AND messages > 0"
            " ORDER BY connections DESC, client LIMIT 50",
            12,
            8,
            about="From 1000 connections on: candidates for an exemption.",
        ),
        Panel(
            "Many connections, and no mail",
            "table",
            f"{_CLIENT_COLUMNS}{_MONTHS} GROUP BY client HAVING connections >= 100 AND messages = 0"
            " ORDER BY connections DESC, client LIMIT 50",
            12,
            8,
            about="From 100 connections on: candidates for a block, unless it is your own monitoring.",
        ),
    ),
    (HOSTS,),
    opens_with=("now/M", "now/M"),
    last_s=31 * 86400,
    zone="utc",
)

"""Queries and variables that several dashboards have."""

from typing import Final

from streams.dashboards.activity import HOST, activity
from streams.dashboards.panels import Panel, Variable

HOSTS: Final = Variable(
    "host",
    "MTA",
    "SELECT DISTINCT host FROM traffic_by_minute WHERE period >= toStartOfMonth($__fromTime, 'UTC')"
    " AND period < toStartOfMonth($__toTime, 'UTC') + INTERVAL 1 MONTH ORDER BY host LIMIT 500",
    with_all=True,
)
CLIENTS: Final = Variable(
    "client",
    "client",
    "SELECT client FROM clients_by_day"
    " WHERE period >= toStartOfDay($__fromTime, 'UTC') AND period <= $__toTime"
    " GROUP BY client ORDER BY sum(connections) DESC, client LIMIT 200",
    with_all=False,
)

EVIDENCE: Final = (
    "if(evidence_limit = 0, toString(evidence_network),"
    " concat(toString(evidence_count), ' of ', toString(evidence_limit),"
    " if(evidence_window_s > 0, concat(' in ', toString(evidence_window_s), ' s'), '')))"
)
"""What was counted, of what limit; where nothing is counted, the entry of the policy that decided."""


def counted_panels(where: str) -> tuple[Panel, ...]:
    """Connections, messages and refusals over time, side by side."""
    return (
        Panel(
            "Connections",
            "columns",
            activity(
                "SELECT time, sum(connections) AS connections FROM ACTIVITY GROUP BY time ORDER BY time",
                "connections",
                where=where,
            ),
            8,
            point="rollup",
        ),
        Panel(
            "Messages queued",
            "columns",
            activity(
                "SELECT time, sum(messages) AS messages FROM ACTIVITY GROUP BY time ORDER BY time",
                "messages",
                where=where,
            ),
            8,
            point="rollup",
        ),
        Panel(
            "Refusals",
            "columns",
            activity(
                "SELECT time, sum(go_aways - deferrals) AS `told to go away`,"
                " sum(deferrals) AS `asked to come back`,"
                " sum(refusals - go_aways) AS `refused by the MTA itself`"
                " FROM ACTIVITY GROUP BY time ORDER BY time",
                "go_aways, deferrals, refusals",
                where=where,
            ),
            8,
            point="rollup",
            about="Replies from 400 on, as the MTA logged them.",
        ),
    )


BLOCKS_BY_TRIGGER: Final = Panel(
    "Blocks by trigger",
    "columns",
    "SELECT $__timeInterval(at) AS time, trigger, uniqExact(id) AS blocks FROM decisions"  # noqa: S608
    f" WHERE $__timeFilter(at) AND action = 'block' AND NOT shadow AND {HOST}"
    " GROUP BY time, trigger ORDER BY time, trigger",
    8,
    by="trigger",
    about="Rules in shadow refuse nobody and are left out.",
)

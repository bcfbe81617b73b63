"""The dashboard to keep open: what comes in, who is refused at this moment, and why."""

from typing import Final

from streams.dashboards.activity import HOST, activity
from streams.dashboards.common import BLOCKS_BY_TRIGGER, EVIDENCE, HOSTS, counted_panels
from streams.dashboards.panels import Panel, Screen

LIVE: Final = Screen(
    "goaway-live",
    "Goaway: live",
    "What comes in, who is told to go away, and why.",
    (
        Panel(
            "In this period",
            "stats",
            activity(
                "SELECT sum(connections) AS connections, sum(requests) AS `MAIL requests`,"
                " sum(messages) AS `messages queued`, sum(go_aways) AS `told to go away`,"
                " uniqExact(client) AS clients FROM ACTIVITY",
                "connections, requests, messages, go_aways, client",
                where=HOST,
            ),
            24,
            4,
            about="Told to go away: replies, deferrals included; one client gets many.",
        ),
        *counted_panels(HOST),
        BLOCKS_BY_TRIGGER,
        Panel(
            "Refused at the end of this period",
            "table",
            "SELECT client, trigger, last.2 AS reason, last.3 AS until FROM ("  # noqa: S608
            " SELECT client, trigger, argMax((action, reason, until), (at, kafka_partition, kafka_offset))"
            " AS last FROM decisions"
            " WHERE at > $__toTime - INTERVAL 30 DAY AND at <= $__toTime AND action IN ('block', 'release')"
            f" AND NOT shadow AND {HOST} GROUP BY client, trigger"
            ") WHERE last.1 = 'block' AND (isNull(until) OR until > $__toTime)"
            " ORDER BY until DESC NULLS FIRST, client LIMIT 50",
            16,
            about="Of the last 30 days. Until is empty where it is as long as the policy says so.",
        ),
        Panel(
            "Newest decisions",
            "table",
            "SELECT at AS time, client, action AS decision, code, reason, rule,"  # noqa: S608
            f" {EVIDENCE} AS evidence, until FROM decisions"
            f" WHERE $__timeFilter(at) AND action IN ('block', 'release') AND NOT shadow AND {HOST}"
            " ORDER BY at DESC, client LIMIT 1 BY id LIMIT 50",
            24,
            8,
        ),
        Panel(
            "Told to go away most",
            "bars",
            activity(
                "SELECT client, sum(go_aways) AS replies FROM ACTIVITY GROUP BY client HAVING replies > 0"
                " ORDER BY replies DESC, client LIMIT 10",
                "client, go_aways",
                where=HOST,
            ),
            12,
            8,
        ),
        Panel(
            "Most connections",
            "bars",
            activity(
                "SELECT client, sum(connections) AS connections FROM ACTIVITY GROUP BY client"
                " HAVING connections > 0 ORDER BY connections DESC, client LIMIT 10",
                "client, connections",
                where=HOST,
            ),
            12,
            8,
        ),
    ),
    (HOSTS,),
    refresh="30s",
)

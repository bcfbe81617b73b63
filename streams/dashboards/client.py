"""The dashboard about one client, on all hosts: what it did, what it said it was, what was decided."""

from typing import Final

from streams.dashboards.activity import CLIENT, activity
from streams.dashboards.common import CLIENTS, EVIDENCE, counted_panels
from streams.dashboards.panels import Panel, Screen

_SEEN: Final = f"FROM events WHERE {CLIENT} AND $__timeFilter(at)"

OF_CLIENT: Final = Screen(
    "goaway-client",
    "Goaway: client",
    "One client across all MTAs.",
    (
        Panel(
            "In this period",
            "stats",
            activity(
                "SELECT sum(connections) AS connections, sum(requests) AS `MAIL requests`,"
                " sum(messages) AS `messages queued`, sum(bytes) AS size, sum(go_aways) AS `told to go away`,"
                " sum(violations) AS `protocol violations`, sum(login_failures) AS `failed logins`"
                " FROM ACTIVITY",
                "connections, requests, messages, bytes, go_aways, violations, login_failures",
                where=CLIENT,
            ),
            24,
            4,
            units={"size": "bytes"},
        ),
        *counted_panels(CLIENT),
        Panel(
            "Most open at once",
            "columns",
            "SELECT time, max(open) AS connections FROM ("  # noqa: S608
            "SELECT $__timeInterval(at) AS time, host, sum(if(kind = 'connect', 1, -1)) OVER"
            " (PARTITION BY host ORDER BY at, kind ROWS UNBOUNDED PRECEDING) AS open"
            f" {_SEEN} AND kind IN ('connect', 'disconnect')"
            ") GROUP BY time ORDER BY time",
            12,
            about="On the busiest MTA, when one was opened or closed; not those from before this period.",
        ),
        Panel(
            "By MTA",
            "bars",
            activity(
                "SELECT host, sum(connections) AS connections FROM ACTIVITY GROUP BY host"
                " ORDER BY connections DESC, host LIMIT 20",
                "host, connections",
                where=CLIENT,
            ),
            12,
        ),
        Panel(
            "Decisions and warnings",
            "table",
            "SELECT * FROM ("  # noqa: S608
            f"SELECT at AS time, if(shadow, concat(action, ' (shadow)'), toString(action)) AS what,"
            " toString(trigger) AS trigger, toString(rule) AS rule,"
            f" {EVIDENCE} AS evidence, reason, until, toString(policy) AS policy"
            f" FROM decisions WHERE {CLIENT} AND $__timeFilter(at) LIMIT 1 BY id"
            " UNION ALL SELECT at, 'warning', toString(about), toString(rule),"
            f" {EVIDENCE}, text, NULL, toString(policy) FROM warnings"
            f" WHERE {CLIENT} AND $__timeFilter(at) LIMIT 1 BY id"
            ") ORDER BY time DESC LIMIT 100",
            24,
            8,
            about="Policy: the version in force then.",
        ),
        Panel(
            "Names it gave",
            "table",
            "SELECT helo AS HELO, any(ptr) AS name, count() AS events, min(at) AS first, max(at) AS last"
            f" {_SEEN} AND helo != '' GROUP BY helo ORDER BY events DESC, helo LIMIT 10",
            12,
        ),
        Panel(
            "Senders",
            "bars",
            "SELECT if(sender = '', '(bounces)', sender) AS name, count() AS messages"
            f" {_SEEN} AND kind = 'message' GROUP BY name ORDER BY messages DESC, name LIMIT 10",
            12,
        ),
        Panel(
            "Newest events",
            "table",
            "SELECT at AS time, toString(host) AS host, toString(kind) AS kind,"
            " if(code = 0, '', toString(code)) AS reply, sender, recipient,"
            f" if(violation = '', detail, toString(violation)) AS detail {_SEEN} ORDER BY at DESC LIMIT 100",
            24,
            10,
        ),
    ),
    (CLIENTS,),
    opens_with=("now-7d", "now"),
    last_s=7 * 86400,
)

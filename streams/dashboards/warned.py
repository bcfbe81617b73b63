"""The dashboard of warnings: who comes close to a limit, and what the other stages complain of."""

from typing import Final

from streams.dashboards.activity import HOST
from streams.dashboards.common import EVIDENCE, HOSTS
from streams.dashboards.panels import Panel, Screen

_LIMIT: Final = f"FROM warnings WHERE $__timeFilter(at) AND about = 'limit' AND {HOST}"
_BLOCKED: Final = (
    "SELECT client FROM decisions WHERE $__timeFilter(at) AND action = 'block' AND NOT shadow"
    " AND trigger = 'rate'"
)

WARNED: Final = Screen(
    "goaway-warnings",
    "Goaway: warnings",
    "Who came close to a limit, and what zones, partners and the pipeline were warned of.",
    (
        Panel(
            "In this period",
            "stats",
            "SELECT uniqExactIf(id, about = 'limit') AS `close to a limit`,"  # noqa: S608
            " uniqExactIf(client, about = 'limit') AS `clients warned`,"
            " uniqExactIf(client, about = 'limit' AND client IN ("
            f"{_BLOCKED})) AS `of them blocked`,"
            " uniqExactIf(id, about = 'zone') AS zones, uniqExactIf(id, about = 'partner') AS partners,"
            " uniqExactIf(id, about = 'pipeline') AS pipeline"
            f" FROM warnings WHERE $__timeFilter(at) AND (about != 'limit' OR {HOST})",
            24,
            4,
            about="Blocked: within this period, for too many connections or requests.",
        ),
        Panel(
            "Warnings by limit",
            "columns",
            "SELECT $__timeInterval(at) AS time, rule, uniqExact(id) AS warnings "
            f"{_LIMIT} GROUP BY time, rule ORDER BY time, rule",
            12,
            by="rule",
        ),
        Panel(
            "Warned, and not blocked",
            "bars",
            f"SELECT client, uniqExact(id) AS warnings {_LIMIT} AND client NOT IN ({_BLOCKED})"
            " GROUP BY client ORDER BY warnings DESC, client LIMIT 10",
            12,
            about="Who lives close to a limit: where they are welcome, it is rather low.",
        ),
        Panel(
            "Clients warned",
            "table",
            "SELECT client, rule, uniqExact(id) AS warnings, max(evidence_count) AS highest,"
            f" max(evidence_limit) AS limit, max(at) AS last {_LIMIT}"
            " GROUP BY client, rule ORDER BY warnings DESC, client, rule LIMIT 50",
            12,
            8,
        ),
        Panel(
            "Newest warnings",
            "table",
            f"SELECT at AS time, client, rule, {EVIDENCE} AS evidence, host AS MTA {_LIMIT}"
            " ORDER BY at DESC, client LIMIT 1 BY id LIMIT 50",
            12,
            8,
        ),
        Panel(
            "Zones, partners, pipeline",
            "table",
            "SELECT at AS time, about, client AS subject, text FROM warnings WHERE $__timeFilter(at)"
            " AND about != 'limit' ORDER BY at DESC, subject LIMIT 1 BY id LIMIT 50",
            24,
            8,
        ),
    ),
    (HOSTS,),
    opens_with=("now-7d", "now"),
    last_s=7 * 86400,
)

"""The dashboard of Goaway itself: does everything arrive, how late, and what could not be read."""

from typing import Final

from streams.dashboards.panels import OTHERS, Panel, Screen

_NEWEST: Final = (
    "SELECT max(last_at) AS newest FROM traffic_by_minute"
    " WHERE period = (SELECT max(period) FROM traffic_by_minute) HAVING count() > 0"
)
"""The newest event of a client's doing: what Goaway itself puts among the events is none. No row without."""
NEWEST_AGE_S: Final = f"SELECT greatest(0, dateDiff('second', newest, now())) AS age FROM ({_NEWEST})"  # noqa: S608
"""How old the newest event is: it grows where nothing is logged, shipped or stored any more."""
LAG_S: Final = (
    "SELECT greatest(0, dateDiff('second', (SELECT max(at) FROM events), max(written))) AS lag"
    " FROM sink_batches WHERE topic = 'smtp.events'"
    " HAVING count() > 0 AND (SELECT count() FROM events) > 0"
)
"""How old the newest event was when the sink last wrote: it grows where what is written is a backlog. Here
our own marks are events too, as the sink writes them: on a quiet night there may be nothing else."""
_BUSIEST: Final = (
    "SELECT host FROM traffic_by_minute WHERE $__timeFilter(period)"
    " GROUP BY host ORDER BY sum(events) DESC, host LIMIT 5"
)

PIPELINE: Final = Screen(
    "goaway-pipeline",
    "Goaway: pipeline",
    "Whether everything arrives, how late, and what could not be read.",
    (
        Panel(
            "Age of the newest event",
            "stats",
            NEWEST_AGE_S,
            6,
            4,
            units={"age": "s"},
            about="Counted from now, whatever time is shown.",
        ),
        Panel(
            "Sink is behind by",
            "stats",
            LAG_S,
            6,
            4,
            units={"lag": "s"},
            about="Age of the newest event, our own marks included, when the sink last wrote.",
        ),
        Panel(
            "In this period",
            "stats",
            "SELECT (SELECT sum(events) FROM traffic_by_minute WHERE $__timeFilter(period)) AS events,"
            " (SELECT uniqExact(id) FROM decisions WHERE $__timeFilter(at)) AS decisions,"
            " (SELECT uniqExact(id) FROM warnings WHERE $__timeFilter(at)) AS warnings,"
            " (SELECT count() FROM deadletters WHERE $__timeFilter(at)) AS unreadable",
            12,
            4,
        ),
        Panel(
            "Events by MTA",
            "columns",
            "SELECT $__timeInterval(period) AS time,"  # noqa: S608
            f" if(host IN ({_BUSIEST}), toString(host), '{OTHERS}') AS MTA, sum(events) AS events"
            " FROM traffic_by_minute WHERE $__timeFilter(period) GROUP BY time, MTA ORDER BY time, MTA",
            12,
            by="MTA",
            about="The five busiest, and all others together.",
        ),
        Panel(
            "Unreadable, by topic",
            "columns",
            "SELECT $__timeInterval(at) AS time, kafka_topic, count() AS records FROM deadletters"
            " WHERE $__timeFilter(at) GROUP BY time, kafka_topic ORDER BY time, kafka_topic",
            12,
            by="kafka_topic",
            about="By when Kafka took them.",
        ),
        Panel(
            "MTAs",
            "table",
            "SELECT host, max(last_at) AS last, dateDiff('second', last, now()) AS ago,"
            " sum(t.events) AS events, sum(t.connections) AS connections FROM traffic_by_minute AS t"
            " WHERE $__timeFilter(period) GROUP BY host ORDER BY last LIMIT 100",
            12,
            8,
            units={"ago": "s"},
            about="The one that has been silent longest first.",
        ),
        Panel(
            "What the sink wrote",
            "table",
            "SELECT topic, kafka_partition AS partition, argMax(last_offset, (epoch, batch)) AS offset,"
            " max(written) AS written FROM sink_batches GROUP BY topic, kafka_partition"
            " ORDER BY topic, partition LIMIT 200",
            12,
            8,
            about="Up to which record of each partition, and when.",
        ),
        Panel(
            "What could not be read",
            "table",
            "SELECT reason, count() AS records, max(at) AS last, argMax(source, at) AS source,"
            " argMax(text, at) AS text FROM deadletters WHERE $__timeFilter(at) GROUP BY reason"
            " ORDER BY records DESC, reason LIMIT 20",
            24,
            8,
        ),
        Panel(
            "Changes of the policy",
            "table",
            "SELECT at AS time, change, who, what, note, version FROM policy_log"
            " WHERE $__timeFilter(at) AND key = 'change' ORDER BY at DESC, change DESC LIMIT 50",
            24,
            8,
            about="As they were written; goaway policy log says which of them were accepted.",
        ),
    ),
    opens_with=("now-24h", "now"),
    last_s=86400,
    refresh="1m",
)

"""The alert rules: a query that yields one number, and the number above which it is an alarm."""

from dataclasses import dataclass
from typing import Final

from streams.dashboards.pipeline import LAG_S, NEWEST_AGE_S


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule of Grafana's alerting. Where the query yields nothing there is nothing to be alarmed about."""

    uid: str
    title: str
    sql: str
    above: float
    for_min: int
    """How long it must be so."""
    window_s: int
    """How much time `$__timeFilter` looks back over."""
    severity: str
    what_to_do: str


def _warned(about: str) -> str:
    return (
        "SELECT uniqExact(id) AS warnings FROM warnings"  # noqa: S608
        f" WHERE $__timeFilter(at) AND about = '{about}'"
    )


ALERTS: Final = (
    Alert(
        "goaway-many-warnings",
        "Many clients close to a limit",
        "SELECT uniqExact(client) AS clients FROM warnings WHERE $__timeFilter(at) AND about = 'limit'",
        20,
        0,
        900,
        "warning",
        "More than 20 clients came close to a limit within 15 minutes: an attack, or too low a limit. "
        "Dashboard: Goaway: warnings. Try: goaway search --trigger rate",
    ),
    Alert(
        "goaway-sink-lag",
        "Storage is behind",
        LAG_S,
        300,
        5,
        900,
        "warning",
        "What the sink stores is more than 5 minutes old: search and statistics lack the newest events. "
        "Refusals are not affected. Try: goaway status",
    ),
    Alert(
        "goaway-no-events",
        "No events",
        NEWEST_AGE_S,
        900,
        5,
        900,
        "critical",
        "No event for 15 minutes: the MTA logs nothing, or ship or sink has stopped. Try: goaway doctor",
    ),
    Alert(
        "goaway-zone-out",
        "A DNSBL zone is out",
        _warned("zone"),
        0,
        0,
        3600,
        "warning",
        "A zone does not answer, or answers with errors, and is skipped. Try: goaway reputation zones",
    ),
    Alert(
        "goaway-partner-listed",
        "A partner is listed in a DNSBL",
        _warned("partner"),
        0,
        0,
        3600,
        "warning",
        "One of the watched addresses became listed; the warning names the zone's delisting page. "
        "Dashboard: Goaway: warnings.",
    ),
    Alert(
        "goaway-pipeline-trouble",
        "A stage has trouble",
        _warned("pipeline"),
        0,
        0,
        1800,
        "critical",
        "A stage warned of trouble of its own. Dashboard: Goaway: warnings. Try: goaway doctor",
    ),
    Alert(
        "goaway-unreadable",
        "Much cannot be read",
        "SELECT count() AS records FROM deadletters WHERE $__timeFilter(at)",
        100,
        0,
        900,
        "warning",
        "More than 100 lines or records within 15 minutes could not be read. Dashboard: Goaway: pipeline.",
    ),
)

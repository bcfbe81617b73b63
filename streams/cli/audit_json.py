"""The monthly audit as one JSON document."""

from typing import Any

from streams.audit.monthly import Month
from streams.cli.stats import TOTAL, row_json
from streams.model.instant import rfc3339


def month_json(month: Month) -> dict[str, Any]:
    """The whole review as one document."""
    return {
        "month": month.name,
        "from": rfc3339(month.start),
        "to": rfc3339(month.end),
        "days": month.days,
        "days_in_month": month.days_in_month,
        "thresholds": {
            "exempt_from": month.scaled.exempt_from,
            "block_from": month.scaled.block_from,
            "unused_days": month.scaled.stale_days,
        },
        "remarks": month.remarks,
        "total": row_json(month.total, TOTAL) if month.total else None,
        "before": row_json(month.before, TOTAL) if month.before else None,
        "proposals": [
            {
                "kind": it.kind,
                "subject": it.subject,
                "why": it.why,
                "evidence": it.evidence,
                "command": it.command or None,
            }
            for it in month.proposals
        ],
        "top": [row_json(row) | {"ptr": month.names.get(row.name, "")} for row in month.top],
        "refused": [
            row_json(it.row)
            | {"ptr": it.ptr, "reasons": [{"why": why, "count": count} for why, count in it.reasons]}
            for it in month.refused
        ],
        "rules": [
            {
                name: getattr(it, name)
                for name in ("trigger", "rule", "shadow", "blocks", "releases", "warnings", "clients")
            }
            for it in month.rules
        ],
        "warnings": [
            {
                "about": it.about,
                "subject": it.subject,
                "rule": it.rule,
                "times": it.times,
                "highest": it.highest,
                "limit": it.limit,
                "last": rfc3339(it.last),
                "text": it.text,
            }
            for it in month.warned
        ],
        "compared": [
            {
                "client": it.client,
                "what": it.what,
                "connections": it.connections,
                "messages": it.messages,
                "refusals": it.refusals,
            }
            for it in month.compared
        ],
        "daily": [
            {"day": it.day, "connections": it.connections, "messages": it.messages, "refusals": it.refusals}
            for it in month.daily
        ],
        "policy_changes": [
            {"number": it.number, "at": rfc3339(it.at), "who": it.who, "what": it.what, "note": it.note}
            for it in month.changes
        ],
    }

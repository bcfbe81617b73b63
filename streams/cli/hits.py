"""A hit of a search as text, CSV and JSON."""

import json
from collections.abc import Iterable
from datetime import tzinfo
from typing import Any, Final

from streams.audit.hits import Hit
from streams.cli.period import local
from streams.cli.screen import why
from streams.cli.tables import cell
from streams.model.instant import rfc3339
from streams.wire.frames import encode
from streams.wire.postfix.ours import spoken_by

COLUMNS: Final = (
    "at",
    "id",
    "client",
    "address",
    "host",
    "session",
    "kind",
    "trigger",
    "rule",
    "code",
    "text",
    "sender",
    "recipient",
    "helo",
    "ptr",
    "count",
    "limit",
    "window_s",
    "policy",
    "until",
)
"""Of CSV."""


def hit_fields(hit: Hit) -> dict[str, Any]:
    """One hit, flat: the columns of CSV."""
    event, decision = hit.event, hit.decision
    head = event or decision
    assert head is not None
    return {
        "at": rfc3339(hit.at),
        "id": hit.short_id,
        "client": head.client,
        "address": head.address,
        "host": head.host,
        "session": head.session,
        "kind": event.kind if event else (decision.action if decision else ""),
        "trigger": decision.trigger if decision else spoken_by(event) if event else "",
        "rule": decision.rule if decision else "",
        "code": head.code or "",
        "text": (event.detail or event.violation) if event else (decision.reason if decision else ""),
        "sender": event.sender if event else "",
        "recipient": event.recipient if event else "",
        "helo": event.helo if event else "",
        "ptr": event.ptr if event else "",
        "count": decision.evidence.count if decision else "",
        "limit": decision.evidence.limit if decision else "",
        "window_s": decision.evidence.window_s if decision else "",
        "policy": decision.policy if decision else "",
        "until": rfc3339(decision.until) if decision and decision.until else "",
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """One hit: its short id, the event, the decision, each as on its topic."""
    found: dict[str, Any] = {"id": hit.short_id, "at": rfc3339(hit.at)}
    found["event"] = None if hit.event is None else json.loads(encode(hit.event))
    found["decision"] = None if hit.decision is None else json.loads(encode(hit.decision))
    return found


def hit_lines(hit: Hit, zone: tzinfo) -> Iterable[str]:
    """Two lines of a hit: when, who, what and its id; then the words."""
    decision = hit.decision
    it = hit_fields(hit)
    name = f"{it['kind']} {it['code']}".strip()
    shadow = "shadow " if decision is not None and decision.shadow else ""
    name = f"{shadow}{name} {it['trigger']}".rstrip()
    yield f"{local(hit.at, zone)}  {cell(it['client'], 43):<18} {cell(name, 40):<24} {it['id']}"
    words = [cell(it["text"])] if it["text"] else []
    if decision is not None:
        until = f" until {local(decision.until, zone)}" if decision.until else ""
        words.append(f"{cell(why(decision))}{until}; policy {cell(decision.policy, 16)}")
    for label in ("sender", "recipient", "helo"):
        if it[label]:
            words.append(f"{label} {cell(it[label], 100)}")
    words.append(f"at {cell(it['host'], 64)}" if it["host"] else "")
    if any(words):
        yield "    " + "; ".join(word for word in words if word)

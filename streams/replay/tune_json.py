"""What tuning found, for a program to read: all that the page has, and each setting and client."""

from typing import Any

import msgspec

from streams.model.policy import NetworkRule
from streams.replay.setting import setting_of
from streams.replay.tune_page import cautions
from streams.replay.tune_tables import Known, busiest_clients
from streams.replay.tuning import Tuned, as_json


def document(tuned: Tuned) -> dict[str, Any]:
    """`front` of a setting: whether it lies where no other beats it, alone there or not."""
    found: dict[str, Any] = as_json(tuned)
    rows = [{**row, "front": not tuned.beaten(number)} for number, row in enumerate(found["settings"])]
    return {
        **found,
        "now": rows[tuned.now],
        "recommended": rows[tuned.recommended],
        "settings": rows,
        "cautions": cautions(tuned),
        "busiest_clients": {side: [_client(*it) for it in of] for side, of in busiest_clients(tuned).items()},
        "entries": _entries(tuned),
    }


def _client(*known: *Known) -> dict[str, object]:
    client, seen, thought = known
    opened, connections, requests = seen.peaks
    return {
        "client": client,
        "open": opened,
        "connections_per_minute": connections,
        "requests_per_minute": requests,
        "connections": seen.connects,
        "messages": seen.messages,
        "verdict": thought.verdict,
        "score": thought.score,
        "reasons": thought.reasons,
    }


def _entries(tuned: Tuned) -> list[dict[str, object]]:
    """The network entries that the recommendation makes or changes; `before` is null of a new one."""
    was = {it.network: it for it in tuned.before.networks}
    return [
        {"network": str(it.network), "name": it.name, "before": _numbers(before), "after": _numbers(it)}
        for it in tuned.after.networks
        if _numbers(before := was.get(it.network)) != _numbers(it)
    ]


def _numbers(rule: NetworkRule | None) -> dict[str, float] | None:
    return None if rule is None else msgspec.structs.asdict(setting_of(rule.limits))

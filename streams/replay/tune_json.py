"""What tuning found, for a program to read: all that the page has, and each setting and client."""

from typing import Any

import msgspec

from streams.model.policy import NetworkRule
from streams.replay.setting import setting_of
from streams.replay.tune_page import cautions
from streams.replay.tune_tables import Known, busiest_clients
from streams.replay.tuning import Tuned
from streams.replay.weighing import SIDES


def document(tuned: Tuned) -> dict[str, Any]:
    """Everything."""
    rows = [_row(tuned, number) for number in range(len(tuned.settings))]
    return {
        "span_s": round(tuned.span_s),
        "clients": {side: sum(it == side for it in tuned.sides.values()) for side in SIDES},
        "now": rows[tuned.now],
        "recommended": rows[tuned.recommended],
        "busiest": [msgspec.structs.asdict(it) for it in tuned.busiest],
        "lone": [it.rule for it in tuned.lone],
        "networks": {name: [msgspec.structs.asdict(it) for it in of] for name, of in tuned.networks.items()},
        "settings": rows,
        "legitimacy": {
            client: {"verdict": thought.verdict, "score": thought.score, "reasons": thought.reasons}
            for client, (_, thought) in tuned.clients.items()
        },
        "cautions": cautions(tuned),
        "busiest_clients": {side: [_client(*it) for it in of] for side, of in busiest_clients(tuned).items()},
        "entries": _entries(tuned),
    }


def _row(tuned: Tuned, number: int) -> dict[str, object]:
    """What a setting does. `front`: whether it lies where no other beats it, alone there or not."""
    found = tuned.weighed[number]
    return {
        **msgspec.structs.asdict(tuned.settings[number]),
        "front": not tuned.beaten(number),
        "blocks": found.blocks,
        "clients": found.clients,
        "connections": found.connections,
        "requests": found.requests,
        "hurt": found.hurt,
        "doubtful": found.doubtful,
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

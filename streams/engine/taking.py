"""How a decision, new or recorded, becomes part of a client's state."""

from collections.abc import Callable, Sequence
from typing import Final

from streams.engine import greylist
from streams.engine.outcome import Outcome, shadow_name
from streams.engine.state import ClientState
from streams.model.decision import Decision
from streams.model.policy import Block
from streams.model.standing import PolicyIndex

Recorded = Sequence[Decision] | None
"""None: decide. Else the decisions that were taken then."""

FORGOTTEN: Final = "forgotten"
"""Rule of the releases by which an administrator has all dropped that is remembered of a client."""


def stand(index: PolicyIndex, client: ClientState, taken: Decision) -> None:
    """Take a decision into the client's state."""
    until = taken.until or 0
    if taken.shadow:
        client.on_record().shadows[shadow_name(taken.trigger, taken.rule)] = until
        return
    if taken.rule == FORGOTTEN and client.record is not None:
        client.record.shadows.clear()
    if taken.trigger == "blocklist":
        client.listed = _entry(index, taken)
    elif taken.trigger == "rate":
        client.block_end = until
        client.strike = taken.evidence.strike
    elif taken.trigger == "greylist":
        greylist.stand(client, taken)
    elif taken.action == "block":
        client.on_record().blocks[taken.trigger] = until
        if taken.trigger == "reputation":
            client.on_record().blamed = taken.address
    elif taken.action == "release" and client.record is not None:
        client.record.blocks.pop(taken.trigger, None)


def _entry(index: PolicyIndex, taken: Decision) -> Block | None:
    """The block list entry that a decision put on record, where the policy still has it."""
    recorded = (taken.evidence.network, taken.evidence.note)
    entries = index.standing(taken.address).blocks
    return next((it for it in entries if (str(it.network), it.note) == recorded), None)


def settled(index: PolicyIndex, client: ClientState, outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes, with the decisions among them taken into the client's state."""
    for it in outcomes:
        if isinstance(it, Decision):
            stand(index, client, it)
    return outcomes


def conclude(
    index: PolicyIndex, client: ClientState, recorded: Recorded, decide: Callable[[], list[Outcome]]
) -> list[Outcome]:
    if recorded is None:
        return settled(index, client, decide())
    for it in recorded:
        stand(index, client, it)
    return []

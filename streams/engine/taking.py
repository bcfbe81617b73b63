"""How a decision, new or recorded, becomes part of a client's state."""

from collections.abc import Callable, Sequence

from streams.engine import greylist
from streams.engine.outcome import Outcome
from streams.engine.state import ClientState
from streams.model.decision import Decision
from streams.model.standing import PolicyIndex

Recorded = Sequence[Decision] | None
"""None: decide. Else the decisions that were taken then."""


def stand(index: PolicyIndex, client: ClientState, taken: Decision) -> None:
    """Take a decision into the client's state."""
    until = taken.until or 0
    if taken.shadow:
        name = "reputation" if taken.trigger == "reputation" else taken.rule
        client.on_record().shadows[name] = until
        if taken.rule == "no_retry":
            client.on_record().pending.clear()
    elif taken.trigger == "blocklist":
        client.listed = index.standing(taken.address).blocked(taken.at)
    elif taken.trigger == "rate":
        client.block_end = until
        client.strike = taken.evidence.strike
    elif taken.trigger == "greylist":
        greylist.stand(client, taken)
    elif taken.action == "block":
        client.on_record().blocks[taken.trigger] = until
    elif taken.action == "release" and client.record is not None:
        client.record.blocks.pop(taken.trigger, None)


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

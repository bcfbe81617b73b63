"""One event in, its decisions and warnings out.

**Late events.** Hosts ship their logs apart, so an event may arrive after later ones of the same client. It
is judged at the client's clock (the latest event time seen of the client): it is counted at its own time, in
the windows that end at the clock, and not at all once those windows have moved past it; a block that it
brings about starts at the clock. So a host that is minutes behind catches up without its backlog being taken
for a burst. Whether a client is blocked when an event arrives is likewise asked at the clock.

**Blocked.** What arrives before `until` is refused: it is counted nowhere and does not extend the block. At
`until` itself the client is let in again. A greylist block refuses transactions only, so connections count.

**Exempt.** What an exempt address does is not counted: when the exemption ends, it is judged afresh. The same
holds for everybody while a module is suspended.

**Shadow.** A rule in shadow decides and records; nobody is refused, so everything goes on being counted. It
speaks once in the time that its block would have lasted.

An event brings about at most one block that refuses.
"""

from collections.abc import Mapping, Sequence

from streams.engine import greylist, rate
from streams.engine.outcome import Outcome, decision, lets_off, refused, refuses
from streams.engine.rules import RULES_BY_KIND
from streams.engine.sessions import alive, heard
from streams.engine.special import SPECIAL, deferred
from streams.engine.state import ClientState, State
from streams.engine.taking import settled, stand
from streams.model.decision import Decision, Evidence
from streams.model.event import Event
from streams.model.policy import Block
from streams.model.standing import PolicyIndex

__all__ = ["Outcome", "recall", "stand", "step"]

Taken = Mapping[str, Sequence[Decision]]
"""Recorded decisions by the id of their event."""


def step(index: PolicyIndex, state: State, event: Event) -> list[Outcome]:
    """Count the event and decide; decisions are taken into the state."""
    if index.has_schedules:
        index = index.at(event.at)
    kind = event.kind
    if kind not in RULES_BY_KIND:
        special = SPECIAL.get(kind)
        if special is not None:
            return special(index, state, event, None)
        heard(index, state, event)
        return []
    standing = index.standing(event.address)
    if standing.blocks and (block := standing.blocked(event.at)) is not None:
        client = state.client(event.client, event.at)
        return _listed(index, client, event, block) if client.listed != block else []
    if event.code == 451 and greylist.is_deferral(index, event):
        return deferred(index, state, event, None)
    if (standing.exemptions or index.suspends) and lets_off(index, standing, "rate", event.at):
        return []
    client = state.client(event.client, event.at)
    if client.sessions:
        alive(index, client, event)
    if client.clock < client.block_end or (client.record and refused(index, standing, client, event)):
        return []
    reached = rate.count(client, event, standing.limits)
    outcomes = rate.judge(index, standing, client, event, reached) if reached else []
    if client.record and not refuses(outcomes) and greylist.judged(index, standing, event):
        outcomes = greylist.no_retry(index, client, event) + outcomes
    return settled(index, client, outcomes) if outcomes else outcomes


def recall(index: PolicyIndex, state: State, event: Event, taken: Taken) -> None:
    """Count an event again after a restart, with the decisions that were taken then instead of new ones.

    Whether a client was blocked depends on the block before, and that on the one before it, back beyond any
    horizon; the record ends that chain, so the state after the fold is exactly the one that was lost.
    """
    if index.has_schedules:
        index = index.at(event.at)
    decisions = taken.get(event.id, ())
    if event.kind not in RULES_BY_KIND:
        special = SPECIAL.get(event.kind)
        if special is not None:
            special(index, state, event, decisions)
        else:
            heard(index, state, event)
        return
    standing = index.standing(event.address)
    if any(it.trigger == "blocklist" for it in decisions):
        client = state.client(event.client, event.at)
        for it in decisions:
            stand(index, client, it)
        return
    if (entry := standing.blocked(event.at)) is not None:
        known = state.clients.get(event.client)
        if known is not None and known.listed == entry:
            state.client(event.client, event.at).listed = entry
        return
    if event.code == 451 and greylist.is_deferral(index, event):
        deferred(index, state, event, decisions)
        return
    if not decisions and lets_off(index, standing, "rate", event.at):
        return
    client = state.client(event.client, event.at)
    alive(index, client, event)
    if refused(index, standing, client, event):
        return
    rate.count(client, event, standing.limits)
    for it in decisions:
        stand(index, client, it)


def _listed(index: PolicyIndex, client: ClientState, event: Event, block: Block) -> list[Outcome]:
    """Record once that an administrator's entry refuses this client; the shim refuses by the entry itself."""
    client.listed = block
    replies = index.policy.replies
    return [
        decision(
            index,
            client,
            event,
            "blocklist",
            "blocks",
            until=block.expires,
            code=replies.connect_code,
            reason=f"{replies.blocklist}: {block.note}" if block.note else replies.blocklist,
            evidence=Evidence(network=str(block.network), note=block.note),
        )
    ]

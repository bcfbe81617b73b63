"""One event in, its decisions and warnings out.

**Late events.** Hosts ship their logs apart, so an event may arrive after later ones of the same client. It
is judged at the client's clock (the latest event time seen of the client): it is counted at its own time, in
the windows that end at the clock, and not at all once those windows have moved past it; a block that it
brings about starts at the clock. So a host that is minutes behind catches up without its backlog being taken
for a burst. Whether a client is blocked when an event arrives is likewise asked at the clock.

**Blocked.** What arrives before `until` is refused: it is counted nowhere and does not extend the block. At
`until` itself the client is let in again.

**Exempt.** What an exempt address does is not counted: when the exemption ends, it is judged afresh.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.engine.rules import RULES_BY_KIND, Rule
from streams.engine.state import ClientState, State
from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Block, Limits
from streams.model.standing import PolicyIndex, Standing

Outcome = Decision | LimitWarning


@dataclass(frozen=True, slots=True)
class _Reached:
    """A rule whose count went over its limit, or first reached the share of it that is warned about."""

    rule: Rule
    count: int
    limit: int
    breach: bool


def step(index: PolicyIndex, state: State, event: Event) -> list[Outcome]:
    """Count the event and decide: at most one decision, taken into the state, then warnings that are due."""
    rules = RULES_BY_KIND.get(event.kind)
    if rules is None:
        _heard(index, state, event)
        return []
    standing = index.standing(event.address)
    if standing.block is not None:
        client = state.client(event.client, event.at)
        return [_listed(index, client, event, standing.block)] if client.listed != standing.block else []
    if standing.exemptions and standing.exempt("rate", event.at):
        return []
    client = state.client(event.client, event.at)
    _alive(index, client, event)
    if client.clock < client.block_end:
        return []
    reached = _count(client, event, rules, standing.limits)
    if not reached:
        return []
    outcomes: list[Outcome] = [
        _warning(index, standing, client, event, it) for it in reached if not it.breach
    ]
    breach = next((it for it in reached if it.breach), None)
    if breach is not None:
        outcomes.insert(0, _block(index, standing, client, event, breach))
    return outcomes


def recall(index: PolicyIndex, state: State, event: Event, taken: Mapping[str, Decision]) -> None:
    """Count an event again after a restart, with the decisions that were taken then instead of new ones.

    `taken` holds recorded decisions by the id of their event. Whether a client was blocked depends on the
    block before, and that on the one before it, back beyond any horizon; the record ends that chain, so the
    state after the fold is exactly the one that was lost.
    """
    rules = RULES_BY_KIND.get(event.kind)
    if rules is None:
        _heard(index, state, event)
        return
    decision = taken.get(event.id)
    standing = index.standing(event.address)
    if decision is None and (standing.block or (standing.exemptions and standing.exempt("rate", event.at))):
        return
    client = state.client(event.client, event.at)
    _alive(index, client, event)
    if decision is None or decision.until is not None:
        if client.clock < client.block_end:
            return
        _count(client, event, rules, standing.limits)
    if decision is not None:
        stand(index, client, decision)


def stand(index: PolicyIndex, client: ClientState, decision: Decision) -> None:
    """Take a decision into the client's state."""
    if decision.until is None:
        client.listed = index.standing(decision.address).block
    else:
        client.block_end = decision.until
        client.strike = decision.evidence.strike


def _heard(index: PolicyIndex, state: State, event: Event) -> None:
    """An event that no rule counts: it ends a session, or shows that one is alive."""
    client = state.known(event.client, event.at)
    if client is None:
        return
    if event.kind == "disconnect":
        if client.sessions:
            client.sessions.pop(event.session, None)
    else:
        _alive(index, client, event)


def _alive(index: PolicyIndex, client: ClientState, event: Event) -> None:
    """Note that an open session was heard of; one that was idle for too long is over and stays so."""
    sessions = client.sessions
    forgotten = sessions.get(event.session) if sessions else None
    if sessions is None or forgotten is None:
        return
    if forgotten <= client.clock:
        del sessions[event.session]
        return
    later = event.at + index.standing(event.address).limits.session_idle_s * MICROSECONDS
    if later > forgotten:
        sessions[event.session] = later


def _count(client: ClientState, event: Event, rules: tuple[Rule, ...], limits: Limits) -> list[_Reached]:
    """Let every rule count; what went over its limit or reached a warning, in order of precedence.

    A warning is given once until an event finds the count below again, so that a client which hovers at
    the threshold is not reported at each of its events.
    """
    reached: list[_Reached] = []
    for rule in rules:
        count, limit = rule.count(client, event, client.clock, limits), rule.limit(limits)
        warn = limits.warning_count(limit)
        if count > limit:
            reached.append(_Reached(rule, count, limit, True))
            client.warned |= rule.bit
        elif not warn or count < warn:
            client.warned &= ~rule.bit
        elif not client.warned & rule.bit:
            client.warned |= rule.bit
            reached.append(_Reached(rule, count, limit, False))
    return reached


def _cool_down_us(limits: Limits, strike: int) -> int:
    """`cool_down_s`, grown once for each earlier strike, capped; in integers, so the same everywhere."""
    length, cap = limits.cool_down_s * MICROSECONDS, limits.cool_down_max_s * MICROSECONDS
    growth = round(limits.cool_down_growth * 1000)
    if growth <= 1000:
        return length
    for _ in range(strike - 1):
        if length >= cap:
            break
        length = length * growth // 1000
    return min(length, max(cap, limits.cool_down_s * MICROSECONDS))


def _evidence(standing: Standing, found: _Reached, strike: int = 0) -> Evidence:
    return Evidence(
        count=found.count,
        limit=found.limit,
        window_s=found.rule.window_s,
        network=standing.network,
        strike=strike,
    )


def _block(
    index: PolicyIndex, standing: Standing, client: ClientState, event: Event, found: _Reached
) -> Decision:
    now = client.clock
    limits, replies = standing.limits, index.policy.replies
    repeated = client.strike and now < client.block_end + limits.repeat_within_s * MICROSECONDS
    strike = client.strike + 1 if repeated else 1
    decision = Decision(
        id=derived_id(found.rule.trigger, event.client, event.id),
        at=Instant(now),
        until=Instant(now + _cool_down_us(limits, strike)),
        action="block",
        client=event.client,
        address=event.address,
        trigger=found.rule.trigger,
        rule=found.rule.name,
        code=replies.connect_code,
        reason=replies.rate,
        evidence=_evidence(standing, found, strike),
        policy=index.version,
        event=event.id,
        session=event.session,
        host=event.host,
    )
    stand(index, client, decision)
    return decision


def _listed(index: PolicyIndex, client: ClientState, event: Event, block: Block) -> Decision:
    """Record once that an administrator's entry refuses this client; the shim refuses by the entry itself."""
    client.listed = block
    replies = index.policy.replies
    return Decision(
        id=derived_id("blocklist", event.client, event.id),
        at=Instant(client.clock),
        until=None,
        action="block",
        client=event.client,
        address=event.address,
        trigger="blocklist",
        rule="blocks",
        code=replies.connect_code,
        reason=f"{replies.blocklist}: {block.note}" if block.note else replies.blocklist,
        evidence=Evidence(network=str(block.network), note=block.note),
        policy=index.version,
        event=event.id,
        session=event.session,
        host=event.host,
    )


def _warning(
    index: PolicyIndex, standing: Standing, client: ClientState, event: Event, found: _Reached
) -> LimitWarning:
    return LimitWarning(
        id=derived_id("warning", found.rule.name, event.client, event.id),
        at=Instant(client.clock),
        client=event.client,
        address=event.address,
        rule=found.rule.name,
        evidence=_evidence(standing, found),
        policy=index.version,
        event=event.id,
        host=event.host,
    )

"""Trigger `rate`: too many connections or requests. The rules themselves are rows of `rules.RULES`."""

from dataclasses import dataclass

from streams.engine.outcome import Outcome, decision, in_shadow, shadow_end
from streams.engine.rules import Rule, bounds_of
from streams.engine.state import ClientState
from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Limits
from streams.model.standing import PolicyIndex, Standing


@dataclass(frozen=True, slots=True)
class Reached:
    """A rule whose count went over its limit, or first reached the share of it that is warned about."""

    rule: Rule
    count: int
    limit: int
    breach: bool


def count(client: ClientState, event: Event, limits: Limits) -> list[Reached]:
    """Let every rule count; what went over its limit or reached a warning, in order of precedence.

    A warning is given once until an event finds the count below again, or finds nothing before itself: so a
    client which hovers at the threshold is not reported at each of its events.
    """
    reached: list[Reached] = []
    now = client.clock
    for bound in bounds_of(limits)[event.kind]:
        rule, counter, bit, limit, warn, _ = bound
        found = counter(client, event, now, bound)
        if found > limit:
            reached.append(Reached(rule, found, limit, True))
            client.warned |= bit
        elif not warn or found < warn:
            client.warned &= ~bit
        elif found == 1 or not client.warned & bit:
            client.warned |= bit
            reached.append(Reached(rule, found, limit, False))
    return reached


def judge(
    index: PolicyIndex, standing: Standing, client: ClientState, event: Event, reached: list[Reached]
) -> list[Outcome]:
    """What rules in shadow would have done, then at most one block, then warnings.

    The block comes last of the decisions: it shares their key, of which the latest is what holds.
    """
    blocks: list[Outcome] = []
    shadows: list[Outcome] = []
    warnings: list[Outcome] = []
    for it in reached:
        if not it.breach:
            warnings.append(_warning(index, standing, client, event, it))
        elif in_shadow(index, "rate", it.rule.name):
            if client.clock >= shadow_end(index, client, "rate", it.rule.name):
                shadows.append(_block(index, standing, client, event, it))
        elif not blocks:
            blocks.append(_block(index, standing, client, event, it))
    return shadows + blocks + warnings


def _evidence(standing: Standing, found: Reached, strike: int = 0) -> Evidence:
    return Evidence(
        count=found.count,
        limit=found.limit,
        window_s=found.rule.window_s,
        network=standing.network,
        strike=strike,
    )


def _block(
    index: PolicyIndex, standing: Standing, client: ClientState, event: Event, found: Reached
) -> Decision:
    now, limits, replies = client.clock, standing.limits, index.policy.replies
    repeated = client.strike and now < client.block_end + limits.repeat_within_s * MICROSECONDS
    strike = client.strike + 1 if repeated else 1
    return decision(
        index,
        client,
        event,
        "rate",
        found.rule.name,
        until=now + _cool_down_us(limits, strike),
        code=replies.connect_code,
        reason=replies.rate,
        evidence=_evidence(standing, found, strike),
    )


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


def _warning(
    index: PolicyIndex, standing: Standing, client: ClientState, event: Event, found: Reached
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

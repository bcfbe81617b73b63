"""What comes out of an event: decisions and warnings, each with its evidence."""

from streams.engine.state import ClientState
from streams.model.decision import Action, Decision, Evidence, LimitWarning, Trigger, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import MODULE_OF, Module
from streams.model.standing import PolicyIndex, Standing

Outcome = Decision | LimitWarning


def decision(
    index: PolicyIndex,
    client: ClientState,
    event: Event,
    trigger: Trigger,
    rule: str,
    *,
    until: int | None,
    code: int,
    reason: str,
    evidence: Evidence,
    action: Action = "block",
    triplet: str = "",
    pool: str = "",
) -> Decision:
    """A decision that this event brings about, at the client's clock."""
    shadow = action == "block" and in_shadow(index, trigger, rule)
    name = trigger if action == "block" and not shadow else f"{trigger} {action} {rule if shadow else ''}"
    return Decision(
        id=derived_id(name, event.client, event.id),
        at=Instant(client.clock),
        until=None if until is None else Instant(until),
        action=action,
        client=event.client,
        address=event.address,
        trigger=trigger,
        rule=rule,
        code=code,
        reason=reason,
        evidence=evidence,
        policy=index.version,
        event=event.id,
        session=event.session,
        host=event.host,
        shadow=shadow,
        triplet=triplet,
        pool=pool,
    )


def in_shadow(index: PolicyIndex, trigger: Trigger, rule: str) -> bool:
    """Whether the policy lets this rule, or all of its trigger, decide without refusing."""
    shadow = index.policy.shadow
    return bool(shadow) and (trigger in shadow or rule in shadow)


def refuses(outcomes: list[Outcome]) -> bool:
    """Whether a block that is not in shadow is among them."""
    return any(isinstance(it, Decision) and it.action == "block" and not it.shadow for it in outcomes)


def shadow_end(index: PolicyIndex, client: ClientState, trigger: Trigger, rule: str) -> int:
    """First instant at which a rule in shadow speaks again; 0 for one that refuses."""
    record = client.record
    if record is None or not record.shadows or not in_shadow(index, trigger, rule):
        return 0
    return record.shadows.get(shadow_name(trigger, rule), 0)


def shadow_name(trigger: Trigger, rule: str) -> str:
    """What speaks in shadow once in the time of a block: the rule; of `reputation` all zones as one."""
    return trigger if trigger == "reputation" else rule


def lets_off(index: PolicyIndex, standing: Standing, module: Module, at: int) -> bool:
    """Whether a module leaves the address alone at this instant: exempt, or suspended for all."""
    return standing.exempt(module, at) or index.suspended(module, at)


def moot(index: PolicyIndex, standing: Standing, trigger: Trigger, rule: str = "", reason: str = "") -> str:
    """Why a block that stands refuses nobody since the policy was changed, in words; empty where it refuses.

    `rule` and `reason` are its decision's; without them only what holds for all of its trigger is looked at.
    """
    policy, zones = index.policy, index.zones
    if trigger == "reputation":
        if not zones:
            return "no DNSBL is asked any more"
        if rule and rule not in zones and not any(f"[{zone.shown}]" in reason for zone in zones.values()):
            return "what listed it is switched off"
        judged = policy.reputation.internal
    elif trigger == "greylist":
        if not policy.greylist.enabled:
            return "greylisting is switched off"
        judged = policy.greylist.internal
    elif trigger == "protocol":
        if rule and not getattr(policy.protocol, rule, True):
            return f"{rule} is switched off"
        judged = policy.protocol.internal
    else:
        return ""
    return f"{standing.network} is internal" if standing.internal and not judged else ""


def refused(index: PolicyIndex, standing: Standing, client: ClientState, event: Event) -> bool:
    """Whether a block stands at the client's clock that refuses what this event tells of.

    Greylisting refuses transactions, the others also the connection.
    """
    now = client.clock
    if now < client.block_end and not lets_off(index, standing, "rate", event.at):
        return True
    record = client.record
    if record is None or not record.blocks:
        return False
    return any(
        now < end
        and (trigger != "greylist" or event.kind != "connect")
        and not lets_off(index, standing, MODULE_OF[trigger], event.at)
        and not moot(index, standing, trigger)
        for trigger, end in record.blocks.items()
    )

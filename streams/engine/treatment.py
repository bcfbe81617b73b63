"""How the policy treats one address, and what stands against it: for `goaway explain` and `unblock`."""

from collections.abc import Sequence
from typing import Final

import msgspec

from streams.engine.outcome import moot
from streams.model.client import Address, shown
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.modules import VIOLATIONS
from streams.model.policy import MODULE_OF, MODULES, Exemption, Module
from streams.model.standing import PolicyIndex, Standing

TRIGGER_OF: Final = {module: trigger for trigger, module in MODULE_OF.items()}
JUDGES: Final = "judges it"
"""What `modules` says of a module that leaves the address nothing."""


class Stands(msgspec.Struct, frozen=True):
    """A decision that has not ended, and why it refuses or does not."""

    decision: Decision
    lifted_by: str = ""
    """What keeps it from refusing: an exemption, a suspension, shadow; empty where it refuses."""


def standing_decisions(
    index: PolicyIndex, address: Address, decisions: Sequence[Decision], now: int
) -> list[Stands]:
    """Blocks that have not ended, in order of precedence, each with what lifts it."""
    standing = index.standing(address)
    found = []
    for decision in decisions:
        ends = decision.until
        if decision.action == "block" and decision.trigger != "blocklist" and (ends is None or ends > now):
            found.append(Stands(decision, _lifted(index, standing, decision, now)))
    order = list(MODULE_OF)
    return sorted(found, key=lambda it: order.index(it.decision.trigger))


def _lifted(index: PolicyIndex, standing: Standing, decision: Decision, now: int) -> str:
    module = MODULE_OF[decision.trigger]
    if decision.shadow:
        return "it was decided in shadow: recorded, nobody refused"
    if (entry := exemption_of(standing, module, now)) is not None:
        return f"exempt from {module} by {shown(entry.network)}{noted(entry.note)}"
    if index.suspended(module, now):
        return f"{module} is suspended"
    return moot(index, standing, decision.trigger, decision.rule, decision.reason)


def exemption_of(standing: Standing, module: Module, now: int) -> Exemption | None:
    """The entry by which this module lets the address alone now."""
    return next(
        (
            entry
            for entry in standing.exemptions
            if entry.module == module and (entry.expires is None or now < entry.expires)
        ),
        None,
    )


def noted(note: str) -> str:
    """A note as it follows what it is about."""
    return f" ({note})" if note else ""


def modules(index: PolicyIndex, address: Address, now: int) -> dict[Module, str]:
    """How each module treats the address, in words."""
    standing, policy = index.standing(address), index.policy
    switched = {
        "rate": True,
        "dnsbl": bool(index.zones),
        "greylist": policy.greylist.enabled,
        "protocol": any(getattr(policy.protocol, name) for name in VIOLATIONS.values()),
    }
    internal = {
        "rate": False,
        "dnsbl": not policy.reputation.internal,
        "greylist": not policy.greylist.internal,
        "protocol": not policy.protocol.internal,
    }
    found: dict[Module, str] = {}
    for module in MODULES:
        entry = exemption_of(standing, module, now)
        if not switched[module]:
            words = "off"
        elif entry is not None:
            until = f", until {moment(entry.expires)}" if entry.expires else ""
            words = f"exempt by {shown(entry.network)}{noted(entry.note)}{until}"
        elif index.suspended(module, now):
            words = "suspended for everybody"
        elif standing.internal and internal[module]:
            words = f"let off: {standing.network} is internal"
        elif TRIGGER_OF[module] in policy.shadow:
            words = "in shadow: decides and records, refuses nobody"
        else:
            words = JUDGES
        found[module] = words
    return found


def greylisted(
    index: PolicyIndex, address: Address, decisions: Sequence[Decision], now: int
) -> list[Instant]:
    """From when on a retry of each first attempt passes that is on record, the earliest first.

    Empty where the client passes anyway: learnt, exempt, let off.
    """
    if modules(index, address, now)["greylist"] != JUDGES:
        return []
    ended = max(
        (it.at for it in decisions if it.trigger == "greylist" and it.action in ("pass", "release")),
        default=0,
    )
    delay_us = index.policy.greylist.delay_s * MICROSECONDS
    return sorted(
        Instant(it.at + delay_us)
        for it in decisions
        if it.action == "defer" and it.at > ended and it.until is not None and now < it.until
    )


def moment(at: int) -> str:
    """An instant for people: `2026-11-24 18:02:59 UTC`."""
    return f"{rfc3339(at)[:19].replace('T', ' ')} UTC"


def span(us: int) -> str:
    """A length of time for people, in its largest unit of which there are two or more: `90 s`, `12 min`."""
    seconds = us // MICROSECONDS
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"

"""What holds for one address, in words: limits, exemptions, what stands against it, and what would help.

For `goaway explain`. The classic mistakes each have a finding with the exact command that mends them.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from streams.model.client import Address, Network, shown
from streams.model.decision import Decision, LimitWarning
from streams.model.instant import MICROSECONDS, rfc3339
from streams.model.modules import VIOLATIONS
from streams.model.policy import MODULE_OF, MODULES, Exemption, Module
from streams.model.standing import PolicyIndex, Standing

_NEIGHBOURS_IPV4: Final = 24
_NEIGHBOURS_IPV6: Final = 56
_PER_MINUTE: Final = ("requests_per_minute", "connections_per_minute")

_OWN: Final = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Ranges of nobody else (RFC 1918, RFC 6598, RFC 4193)."""

TRIGGER_OF: Final = {module: trigger for trigger, module in MODULE_OF.items()}


class Finding(msgspec.Struct, frozen=True):
    """One thing to know, and the command that changes it."""

    what: str
    command: str = ""


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
    if (entry := _exemption(standing, module, now)) is not None:
        return f"exempt from {module} by {shown(entry.network)}{_note(entry.note)}"
    if index.suspended(module, now):
        return f"{module} is suspended"
    return ""


def _exemption(standing: Standing, module: Module, now: int) -> Exemption | None:
    return next(
        (
            entry
            for entry in standing.exemptions
            if entry.module == module and (entry.expires is None or now < entry.expires)
        ),
        None,
    )


def _note(note: str) -> str:
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
        entry = _exemption(standing, module, now)
        if not switched[module]:
            words = "off"
        elif entry is not None:
            until = f", until {rfc3339(entry.expires)}" if entry.expires else ""
            words = f"exempt by {shown(entry.network)}{_note(entry.note)}{until}"
        elif index.suspended(module, now):
            words = "suspended for everybody"
        elif standing.internal and internal[module]:
            words = f"let off: {standing.network} is internal"
        elif TRIGGER_OF[module] in policy.shadow:
            words = "in shadow: decides and records, refuses nobody"
        else:
            words = "judges it"
        found[module] = words
    return found


def findings(
    index: PolicyIndex,
    address: Address,
    decisions: Sequence[Decision],
    now: int,
    *,
    trouble: Mapping[tuple[str, str], LimitWarning] | None = None,
) -> list[Finding]:
    """What to know about the address, the most pressing first."""
    standing = index.standing(address)
    stands = standing_decisions(index, address, decisions, now)
    found: list[Finding] = []
    block = standing.blocked(now)
    if block is not None:
        words = f"{shown(block.network)} is on the block list{_note(block.note)}; no exemption lifts that"
        found.append(Finding(words, f"goaway policy remove blocks/{block.network}"))
    for it in stands:
        found += _of_block(index, standing, address, it, now)
    found += _suspensions(index, now)
    found += _unlike_neighbours(index, standing, address, now)
    found += _private(index, standing, address)
    found += _trouble(index, address, trouble or {})
    return found


def _of_block(
    index: PolicyIndex, standing: Standing, address: Address, it: Stands, now: int
) -> list[Finding]:
    decision, module = it.decision, MODULE_OF[it.decision.trigger]
    if it.lifted_by:
        words = f"a {decision.trigger} block is on record but does not refuse: {it.lifted_by}"
        if not decision.shadow:
            words += (
                "; the next attempt passes, also in a session that is open. What was answered 5xx before is "
                "for its sender to send again"
            )
        return [Finding(words)]
    until = f"until {rfc3339(decision.until)}" if decision.until else "without an end"
    found = [Finding(f"refused {until}: {decision.reason}; to let it in now", f"goaway unblock {address}")]
    others = [m for m in MODULES if m != module and _exemption(standing, m, now) is not None]
    if others:
        words = f"it is exempt from {', '.join(others)}, but what refuses it is {module}: that needs its own"
        found.append(Finding(words, f"goaway exempt {module} {address}"))
    else:
        found.append(Finding(f"never to judge it by {module} again", f"goaway exempt {module} {address}"))
    if decision.trigger == "rate" and decision.rule in _PER_MINUTE and standing.network:
        plain, own = index.policy.limits, standing.limits
        if own.concurrent_connections > plain.concurrent_connections and getattr(
            own, decision.rule
        ) <= getattr(plain, decision.rule):
            words = (
                f"{standing.network} raises concurrent_connections to {own.concurrent_connections}, but "
                f"{decision.rule} is still {getattr(own, decision.rule)}: they are two limits"
            )
            raised = 2 * max(decision.evidence.count, getattr(own, decision.rule))
            key = f"networks.{standing.network}.{decision.rule}"
            found.append(Finding(words, f"goaway policy set {key} {raised}"))
    if decision.trigger == "reputation":
        for zone in index.policy.zones:
            if f"[{zone.shown}]" in decision.reason and zone.delisting:
                found.append(Finding(f"[{zone.shown}] says why, and takes it off, at {zone.delisting}"))
    return found


def _suspensions(index: PolicyIndex, now: int) -> list[Finding]:
    found = []
    for entry in index.policy.suspensions:
        if entry.until > now:
            minutes = (entry.until - now) // (60 * MICROSECONDS)
            by = f" by {entry.by}" if entry.by else ""
            words = (
                f"{entry.module} is suspended for everybody until {rfc3339(entry.until)}{by}"
                f"{_note(entry.note)}: {minutes} min left, in which it refuses nobody"
            )
            found.append(Finding(words, f"goaway resume {entry.module}"))
    return found


def _unlike_neighbours(index: PolicyIndex, standing: Standing, address: Address, now: int) -> list[Finding]:
    """An entry for one address next to this one, where a network may have been meant."""
    ip = ip_address(address)
    around: Network = ip_network(
        f"{address}/{_NEIGHBOURS_IPV4 if ip.version == 4 else _NEIGHBOURS_IPV6}", strict=False
    )
    found = []
    for module in MODULES:
        if _exemption(standing, module, now) is not None:
            continue
        near = [
            entry
            for entry in index.policy.exemptions
            if entry.module == module
            and entry.network.version == ip.version
            and entry.network.prefixlen == entry.network.max_prefixlen
            and entry.network.network_address in around
        ]
        if near:
            words = (
                f"{shown(near[0].network)} is exempt from {module}{_note(near[0].note)}, a single address: "
                f"it does not cover {address}"
            )
            found.append(Finding(words, f"goaway exempt {module} {around}"))
    return found


def _private(index: PolicyIndex, standing: Standing, address: Address) -> list[Finding]:
    ip = ip_address(address)
    if standing.internal or not any(ip in network for network in _OWN if network.version == ip.version):
        return []
    on = [
        name
        for name, is_on in (
            ("greylist", index.policy.greylist.enabled and not index.policy.greylist.internal),
            ("dnsbl", bool(index.zones)),
        )
        if is_on
    ]
    if not on:
        return []
    around = ip_network(f"{address}/{24 if ip.version == 4 else 64}", strict=False)
    words = f"a private address, but in no network marked internal: {' and '.join(on)} judge it"
    return [Finding(words, f"goaway policy set networks.{standing.network or around}.internal true")]


def _trouble(
    index: PolicyIndex, address: Address, trouble: Mapping[tuple[str, str], LimitWarning]
) -> list[Finding]:
    found = []
    for (about, subject), warning in sorted(trouble.items()):
        known_zone = about == "zone" and subject in index.zones
        if known_zone or (about == "partner" and subject == address):
            found.append(Finding(f"{rfc3339(warning.at)}: {warning.text}"))
    return found

"""What to know about one address, in words, and the command that would help.

For `goaway explain`. The classic mistakes each have a finding with the exact command that mends them.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from streams.engine.treatment import (
    Stands,
    exemption_of,
    greylisted,
    modules,
    moment,
    noted,
    span,
    standing_decisions,
)
from streams.model.client import Address, Network, shown
from streams.model.decision import Decision, LimitWarning
from streams.model.policy import MODULE_OF, MODULES, Module
from streams.model.standing import PolicyIndex, Standing

__all__ = ["Finding", "Stands", "findings", "modules", "standing_decisions"]

_NEIGHBOURS_IPV4: Final = 24
_NEIGHBOURS_IPV6: Final = 56
_PER_MINUTE: Final = ("requests_per_minute", "connections_per_minute")

_OUT: Final = " is out: "
_LISTED: Final = " is listed in "
"""In the words of the reputation stage; other warnings say that the trouble is over."""

_OWN: Final = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Ranges of nobody else (RFC 1918, RFC 6598, RFC 4193)."""


class Finding(msgspec.Struct, frozen=True):
    """One thing to know, and the command that changes it."""

    what: str
    command: str = ""


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
        words = f"{shown(block.network)} is on the block list{noted(block.note)}; no exemption lifts that"
        if block.network.prefixlen < block.network.max_prefixlen:
            words += ". To take all of it off"
        found.append(Finding(words, f"goaway policy remove blocks/{block.network}"))
    for it in stands:
        found += _of_block(index, standing, address, it, now)
    found += _greylisted(index, address, decisions, now)
    found += _suspensions(index, now)
    concerned = [MODULE_OF[it.decision.trigger] for it in stands if not it.lifted_by] or list(MODULES)
    for module in concerned:
        found += _ended(standing, module, now)
        found += _unlike_neighbours(index, standing, module, address, now)
    found += _private(index, standing, address)
    found += _trouble(index, standing, address, trouble or {}, now)
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
    until = f"until {moment(decision.until)}" if decision.until else "without an end"
    found = [Finding(f"refused {until}: {decision.reason}; to let it in now", f"goaway unblock {address}")]
    # all its addresses are blocked together, and a sender's next one is another of them
    client = index.policy.clients.client_of(address)
    others = [m for m in MODULES if m != module and exemption_of(standing, m, now) is not None]
    if others:
        words = f"it is exempt from {', '.join(others)}, but what refuses it is {module}: that needs its own"
        found.append(Finding(words, f"goaway exempt {module} {client}"))
    else:
        found.append(Finding(f"never to judge it by {module} again", f"goaway exempt {module} {client}"))
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


def _greylisted(
    index: PolicyIndex, address: Address, decisions: Sequence[Decision], now: int
) -> list[Finding]:
    due = greylisted(index, address, decisions, now)
    if not due:
        return []
    attempts = "one first attempt was" if len(due) == 1 else f"{len(due)} first attempts were"
    words = (
        f"greylisted: {attempts} put off with 451 and not retried yet; a retry passes from "
        f"{moment(due[0])} on, and once its message is queued the client passes. Never to put it off"
    )
    return [Finding(words, f"goaway exempt greylist {index.policy.clients.client_of(address)}")]


def _suspensions(index: PolicyIndex, now: int) -> list[Finding]:
    found = []
    for entry in index.policy.suspensions:
        if entry.until > now:
            by = f" by {entry.by}" if entry.by else ""
            words = (
                f"{entry.module} is suspended for everybody until {moment(entry.until)}{by}"
                f"{noted(entry.note)}: {span(entry.until - now)} left, in which it refuses nobody"
            )
            found.append(Finding(words, f"goaway resume {entry.module}"))
    return found


def _ended(standing: Standing, module: Module, now: int) -> list[Finding]:
    """The latest exemption that let the address alone until it ended by itself."""
    ended = [it for it in standing.exemptions if it.module == module and it.expires and it.expires <= now]
    if not ended or exemption_of(standing, module, now) is not None:
        return []
    last = max(ended, key=lambda it: it.expires or 0)
    words = (
        f"{shown(last.network)} was exempt from {module}{noted(last.note)}, but that entry ended at "
        f"{moment(last.expires or 0)}. To have it again"
    )
    return [Finding(words, f"goaway exempt {module} {shown(last.network)}")]


def _unlike_neighbours(
    index: PolicyIndex, standing: Standing, module: Module, address: Address, now: int
) -> list[Finding]:
    """An entry for one address next to this one, where a network may have been meant."""
    if exemption_of(standing, module, now) is not None:
        return []
    ip = ip_address(address)
    around: Network = ip_network(
        f"{address}/{_NEIGHBOURS_IPV4 if ip.version == 4 else _NEIGHBOURS_IPV6}", strict=False
    )
    near = next(
        (
            entry
            for entry in index.policy.exemptions
            if entry.module == module
            and entry.network.version == ip.version
            and entry.network.prefixlen == entry.network.max_prefixlen
            and entry.network.network_address in around
            and entry.network.network_address != ip
            and (entry.expires is None or now < entry.expires)
        ),
        None,
    )
    if near is None:
        return []
    words = (
        f"{shown(near.network)} is exempt from {module}{noted(near.note)}, a single address: "
        f"it does not cover {address}"
    )
    return [Finding(words, f"goaway exempt {module} {around}")]


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
    judge = f"{' and '.join(on)} judge{'s' if len(on) == 1 else ''} it"
    words = f"a private address, but in no network marked internal: {judge}"
    return [Finding(words, f"goaway policy set networks.{standing.network or around}.internal true")]


def _trouble(
    index: PolicyIndex,
    standing: Standing,
    address: Address,
    trouble: Mapping[tuple[str, str], LimitWarning],
    now: int,
) -> list[Finding]:
    found = []
    for (about, subject), warning in sorted(trouble.items()):
        said = f"since {moment(warning.at)}: {warning.text}"
        if about == "zone" and subject in index.zones and _OUT in warning.text:
            found.append(
                Finding(f"{said}. To do without it", f"goaway policy set zones.{subject}.enabled false")
            )
        elif about == "partner" and subject == address:
            command = f"goaway exempt dnsbl {address} --expires 7d"
            if _LISTED not in warning.text or exemption_of(standing, "dnsbl", now) is not None:
                found.append(Finding(said))
            else:
                found.append(Finding(f"{said}. To let it in until that is done", command))
    return found

"""What the clients of one network have in common: many that are to be blocked are one block, and one whose
neighbours deliver is said to be among them. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, Final

from streams.audit.counting import COUNTERS
from streams.audit.facts import DETAILED, Counted, Reasons, said, times
from streams.audit.proposals import KINDS, Proposal, deny_command
from streams.model.client import parse_network
from streams.model.standing import PolicyIndex

_TOGETHER: Final = 5
"""So many clients of one network that are to be blocked, and nobody there delivers: block the network."""


def network_around(client: str) -> str:
    """The network that a client's neighbours share: /24, or /48 of IPv6."""
    network = parse_network(client)
    length = 24 if network.version == 4 else 48
    if network.prefixlen <= length:
        return str(network)
    return str(ip_network(f"{network.network_address}/{length}", strict=False))


def crowded(proposals: Sequence[Proposal]) -> dict[str, list[Proposal]]:
    """Networks with so many clients to be blocked that the network itself may be meant."""
    found: dict[str, list[Proposal]] = {}
    for it in proposals:
        if it.kind == "block":
            found.setdefault(network_around(it.subject), []).append(it)
    return {network: group for network, group in found.items() if len(group) >= _TOGETHER}


def together(
    proposals: Sequence[Proposal], messages: Mapping[str, int], index: PolicyIndex, month: str
) -> list[Proposal]:
    """The proposals, with one block in place of the many of a network from which nobody delivers.

    `messages`: network of `crowded` → messages from anybody in it, as far back as is known. A network that
    holds an exemption or an entry of ours is never proposed.
    """
    whole = {
        network: _of_network(network, group, month)
        for network, group in crowded(proposals).items()
        if not messages.get(network, 1) and not _is_named(index, network)
    }
    found = [it for it in proposals if it.kind != "block" or network_around(it.subject) not in whole]
    found += whole.values()
    return sorted(
        found, key=lambda it: (KINDS.index(it.kind), -it.evidence.get("connections", 0), it.subject)
    )


def _of_network(network: str, group: Sequence[Proposal], month: str) -> Proposal:
    counts = {name: sum(it.evidence.get(name, 0) for it in group) for name in (*COUNTERS, "blocks")}
    shown: dict[str, Any] = {name: count for name, count in counts.items() if count or name == "messages"}
    shown |= {"clients": len(group), "such as": ", ".join(it.subject for it in group[:3])}
    reasons = Reasons(_added(it.reasons.refused for it in group), _added(it.reasons.violated for it in group))
    looked_up = sum(1 for it in group if it.reasons.refused or it.reasons.violated)
    if 0 < looked_up < len(group):
        shown["reasons known of"] = f"{looked_up} of {len(group)} clients"
    why = (
        f"{len(group)} of its clients connect and deliver nothing in this month, and nobody there has "
        "delivered anything, as far back as is stored"
    )
    command = deny_command(network, counts["connections"], month)
    return Proposal("block", network, why, shown | said(reasons), command, reasons)


def _added(several: Iterable[Counted]) -> Counted:
    """Texts of several clients, each as often as all of them together."""
    found = Counter[str]()
    for some in several:
        found.update(dict(some))
    return tuple(sorted(found.items(), key=lambda it: (-it[1], it[0])))


def to_look_around(proposals: Sequence[Proposal]) -> list[str]:
    """Networks around the first `DETAILED` clients that are to be blocked."""
    clients = [it.subject for it in proposals if it.kind == "block"][:DETAILED]
    return sorted({around for it in clients if (around := network_around(it)) != it})


def beside_senders(proposals: Sequence[Proposal], messages: Mapping[str, int]) -> list[Proposal]:
    """The proposals; a block says so where others of its network delivered.

    `messages`: network of `to_look_around` → messages from anybody in it in the month.
    """
    return [_beside(it, messages) if it.kind == "block" else it for it in proposals]


def _beside(it: Proposal, messages: Mapping[str, int]) -> Proposal:
    network = network_around(it.subject)
    count = messages.get(network, 0)
    if not count or network == it.subject:
        return it
    why = f"{it.why}; but its network delivered: {times(count, 'message')} from others in {network}"
    return replace(it, why=why, evidence={**it.evidence, "messages of its network": count})


def _is_named(index: PolicyIndex, network: str) -> bool:
    """Whether the policy has an exemption or a network of its own inside."""
    meant = parse_network(network)
    entries = [*(it.network for it in index.policy.exemptions), *(it.network for it in index.policy.networks)]
    return any(it.version == meant.version and it.overlaps(meant) for it in entries)

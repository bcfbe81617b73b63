"""What a month suggests: whom to exempt, whom to block, what to look at; each with its evidence and command.

Pure: facts in, proposals out. The facts are of clients that connected often (`monthly` gathers them).
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Any, Final, Literal

from streams.audit.facts import Facts, evidence, gap, times
from streams.errors import InvalidValueError
from streams.model.client import Address, parse_address, parse_network
from streams.model.instant import as_datetime
from streams.model.standing import PolicyIndex, Standing

Kind = Literal["exempt", "block", "remove", "look"]
KINDS: Final[tuple[Kind, ...]] = ("exempt", "block", "remove", "look")

_FLOOR: Final = 10
"""A threshold scaled to few days is never lower."""
_FEW_HOURS: Final = 4
"""Who was there in fewer hours of the whole month came in a burst."""
_TOGETHER: Final = 5
"""So many clients of one network that are to be blocked, and nobody there delivers: block the network."""
_BLOCK_FOR: Final = "90d"
_LATELY: Final = "--last 60d"
_THIS_HOST: Final = "this host itself (its own programs, or a proxy that hands on everybody's mail)"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From how many connections a month on a client is judged, scaled to the days that there is data of."""

    exempt_from: int = 1000
    block_from: int = 100
    stale_days: int = 90
    """An exemption whose addresses were not seen for so long is stale."""

    def scaled(self, days: int, of: int) -> "Thresholds":
        """The same for `days` of a month of `of` days."""
        if days >= of:
            return self
        some, every = (max(_FLOOR, ceil(it * days / of)) for it in (self.block_from, self.exempt_from))
        return Thresholds(min(every, self.exempt_from), min(some, self.block_from), self.stale_days)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One thing to do, or to look at."""

    kind: Kind
    subject: str
    """A client, a network, or the key of an exemption."""
    why: str
    """In a sentence."""
    evidence: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    """What does it; empty where there is nothing to type."""


def period_around(start: int, end: int, now: int) -> str:
    """Flags of `goaway stats` that show the month [start, end) and the one before it."""
    if now < end:
        return _LATELY
    before = as_datetime(start) - timedelta(days=1)
    return f"--from {before:%Y-%m}-01 --to {as_datetime(end):%Y-%m-%d}"


def judge(
    facts: Iterable[Facts],
    index: PolicyIndex,
    thresholds: Thresholds,
    at: int,
    month: str,
    *,
    period: str = _LATELY,
) -> list[Proposal]:
    """Proposals about clients, those that connect most first; none where the policy says already what would
    be proposed. `period`: the flags by which `goaway stats` shows the month."""
    found = []
    for it in sorted(facts, key=lambda it: (-it.connections, it.client)):
        try:
            address = parse_address(str(parse_network(it.client).network_address))
        except InvalidValueError:
            continue  # no address: nothing that a command could name
        standing = index.standing(address)
        exempt = any(
            entry.module == "rate" and (entry.expires is None or at < entry.expires)
            for entry in standing.exemptions
        )
        if exempt or standing.blocked(at) is not None:
            continue
        whose = _whose(address, standing)
        proposal = _of(it, thresholds, month, own=bool(whose))
        if proposal is None:
            continue
        if whose:
            # a proxy that is exempt lets all its clients off
            kind = "look" if whose == _THIS_HOST else proposal.kind
            proposal = replace(proposal, kind=kind, why=f"{whose}: {proposal.why}")
        if proposal.kind == "look":
            proposal = replace(proposal, command=f"goaway stats {it.client} --by day {period}")
        found.append(proposal)
    return found


def _whose(address: Address, standing: Standing) -> str:
    """In words, whose an address of our own is; empty: somebody else's."""
    if ip_address(address).is_loopback:
        return _THIS_HOST
    return f"one of our own ({standing.network} is internal)" if standing.internal else ""


def _of(it: Facts, thresholds: Thresholds, month: str, *, own: bool) -> Proposal | None:
    counts = it.counts
    if counts["messages"]:
        if it.connections < thresholds.exempt_from:
            return None
        trouble = it.refused_by_mta + counts["violations"]
        if trouble > counts["messages"]:
            words = f"delivers, but {trouble} refusals and violations outweigh {counts['messages']} messages"
            return _look(it, words)
        if it.hours < _FEW_HOURS:
            hours = "one hour" if it.hours == 1 else f"{it.hours} hours"
            words = f"delivers, but all within {hours} of the month: a burst, not a standing partner"
            return _look(it, words)
        if it.rhythm is not None and it.rhythm.regular and not trouble:
            words = f"a monitor that delivers too: connects every {gap(it.rhythm)}, is refused nothing"
            return _exempt(it, words, month)
        return _exempt(it, "delivers and connects often", month)
    if it.connections < thresholds.block_from:
        return None
    if it.rhythm is not None and it.rhythm.regular and it.quiet:
        clock = f"connects every {gap(it.rhythm)}"
        words = f"a monitor: {clock}, says EHLO and QUIT, tries no mail, is refused nothing"
        return _exempt(it, words, month)
    if own:
        return _look(it, "connects and sends no mail")
    if it.delivered:
        words = "used to deliver" if it.delivered_last < month else "delivers in other months"
        messages = f"{times(it.delivered, 'message')}, the last in {it.delivered_last}"
        return _look(it, f"{words}: {messages}; none in this month")
    if counts["logins"]:
        return _look(it, "signs in and sends no mail")
    if counts["deferrals"] and counts["deferrals"] == counts["refusals"]:
        return _look(it, "was greylisted and never came back in time: it may be honest")
    return Proposal("block", it.client, _why_block(it), evidence(it), _deny(it.client, it.connections, month))


def _why_block(it: Facts) -> str:
    counts = it.counts
    done = []
    if counts["refusals"]:
        done.append(times(counts["refusals"], "refusal"))
    if counts["violations"]:
        done.append(times(counts["violations"], "protocol violation"))
    if counts["login_failures"]:
        done.append(times(counts["login_failures"], "failed login"))
    if it.blocks:
        done.append(f"{times(it.blocks, 'block')} by Goaway")
    if it.tried_mail and not counts["refusals"]:
        done.append(f"breaks off after MAIL in {it.tried_mail} sessions")
    what = ", ".join(done) or "does nothing, at no regular time"
    return f"connects and delivers nothing in this month: {what}"


def _look(it: Facts, why: str) -> Proposal:
    return Proposal("look", it.client, why, evidence(it))


def _exempt(it: Facts, why: str, month: str) -> Proposal:
    note = f"audit {month}: {it.connections} connections, {it.counts['messages']} messages"
    return Proposal(
        "exempt", it.client, why, evidence(it), f"goaway exempt rate {it.client} --note {shlex.quote(note)}"
    )


def _deny(subject: str, connections: int, month: str) -> str:
    note = f"audit {month}: {connections} connections, no mail"
    return f"goaway deny {subject} --expires {_BLOCK_FOR} --note {shlex.quote(note)}"


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
    whole: dict[str, Proposal] = {}
    for network, group in crowded(proposals).items():
        if messages.get(network, 1) or _is_named(index, network):
            continue
        connections = sum(it.evidence["connections"] for it in group)
        why = (
            f"{len(group)} of its clients connect and deliver nothing in this month, and nobody there has "
            "delivered anything, as far back as is stored"
        )
        shown = {
            "connections": connections,
            "messages": 0,
            "clients": len(group),
            "such as": ", ".join(it.subject for it in group[:3]),
            "refused": group[0].evidence.get("refused", ""),
        }
        whole[network] = Proposal("block", network, why, shown, _deny(network, connections, month))
    found = [it for it in proposals if it.kind != "block" or network_around(it.subject) not in whole]
    found += whole.values()
    return sorted(
        found, key=lambda it: (KINDS.index(it.kind), -it.evidence.get("connections", 0), it.subject)
    )


def _is_named(index: PolicyIndex, network: str) -> bool:
    """Whether the policy has an exemption or a network of its own inside."""
    meant = parse_network(network)
    entries = [*(it.network for it in index.policy.exemptions), *(it.network for it in index.policy.networks)]
    return any(it.version == meant.version and it.overlaps(meant) for it in entries)

"""Network entries of their own: for those whose clients ask for more than `[limits]` gives everybody."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

import msgspec

from streams.model.client import Address, Network
from streams.model.policy import NetworkRule, Policy
from streams.replay.recommend import (
    Asking,
    Busiest,
    Clients,
    Count,
    apart_from_limits,
    asking,
    busiest_of,
    of_limits,
)
from streams.replay.setting import RULES

_BIG_MESSAGES: Final = 100
_BIG_NETWORKS: Final = 20
_SENDERS_IPV4, _SENDERS_IPV6 = 24, 48
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""A remote chose it."""
_COUNTRY, _OF_A_COUNTRY = 2, 3
"""Letters of the last label of `co.uk`, `com.br`, and at most of the one before it: nobody's own domain."""


class Split(NamedTuple):
    """Who gets limits of their own, and what is left for `[limits]`."""

    policy: Policy
    """With the new entries, which follow `[limits]` in every key: it decides as it did without them."""
    own: dict[str, dict[str, Busiest]]
    """Network entry → rule → the busiest that its own limit is for."""
    limits: list[Busiest]
    """The busiest of all others."""
    new: tuple[str, ...]


def per_network(policy: Policy, clients: Clients) -> Split:
    """An entry goes on following `[limits]` where its clients ask for no more. A big sender's network becomes
    an entry where it asks for more. An entry with a value of its own gets what its clients ask for; one that
    lies above `[limits]`, those of now or those recommended, is not lowered below these."""
    named = {network for it in policy.schedules for network in it.networks}
    senders = sender_networks(clients)
    new = [it for it in senders if it not in named]  # an entry would bring these in force
    askers = asking(clients, new)
    own: dict[str, dict[str, Busiest]] = defaultdict(dict)
    for place, rule in enumerate(RULES):
        for name, it in _outgrown(policy, askers, place).items():
            own[name][rule] = it
    limits = of_limits(policy, askers, own)  # those that are apart already do not ask of these
    for place, rule in enumerate(RULES):
        level = next((it.limit for it in limits if it.rule == rule), getattr(policy.limits, rule))
        for network in policy.networks:
            name, value = str(network.network), getattr(network.limits, rule)
            top = busiest_of(rule, _counts(askers, place, name))
            if top is not None and value != getattr(policy.limits, rule):
                least = level if value >= min(level, getattr(policy.limits, rule)) else 0
                own[name][rule] = msgspec.structs.replace(top, limit=max(top.limit, least))
    added = tuple(
        NetworkRule(network=it, name=senders[it], limits=policy.limits) for it in new if str(it) in own
    )
    wider = msgspec.structs.replace(policy, networks=(*policy.networks, *added))
    return Split(wider, dict(own), limits, tuple(str(it.network) for it in added))


def _outgrown(policy: Policy, askers: Sequence[Asking], place: int) -> dict[str, Busiest]:
    """Entries that follow `[limits]` in this rule and ask for more of it than all others do: those without an
    entry, or, where these ask for nothing, the entry that asks for least.

    Who no longer follows `[limits]` is no longer reached by schedules that change them: it asks for what it
    does under these, too.
    """
    rule, apart = RULES[place], apart_from_limits(policy, RULES[place])
    asked: dict[str, Busiest] = {}
    for name in {it.network: None for it in askers if it.network not in apart}:
        top = busiest_of(rule, _counts(askers, place, name))
        if top is not None:
            asked[name] = top
    others = asked.pop("", None)
    level = others.limit if others is not None else min((it.limit for it in asked.values()), default=0)
    scheduled = any(not it.networks and rule in dict(it.overrides) for it in policy.schedules)
    found = {}
    for name, it in asked.items():
        if it.limit > level:
            top = busiest_of(rule, _counts(askers, place, name, scheduled=scheduled))
            found[name] = top or it
    return found


def _counts(askers: Sequence[Asking], place: int, name: str, *, scheduled: bool = False) -> list[Count]:
    return [
        ((it.scheduled if scheduled else it.counts)[place], it.client) for it in askers if it.network == name
    ]


def sender_networks(clients: Clients) -> dict[Network, str]:
    """/24 (/48 in IPv6) from which legitimate clients delivered at least 100 messages and that no entry of
    the policy covers yet, the biggest first, 20 at most; each with a name for it."""
    messages: dict[Network, int] = defaultdict(int)
    names: dict[Network, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for seen, thought in clients.values():
        if seen.messages and not seen.network and not seen.exempt and thought.verdict == "legitimate":
            network = _around(seen.address)
            messages[network] += seen.messages
            names[network][_domain(seen.ptr)] += seen.messages
    big = sorted((it for it in messages.items() if it[1] >= _BIG_MESSAGES), key=lambda it: -it[1])
    return {network: _name(network, names[network]) for network, _ in big[:_BIG_NETWORKS]}


def _around(address: Address) -> Network:
    ip = ip_address(address)
    return ip_network(f"{ip}/{_SENDERS_IPV4 if ip.version == 4 else _SENDERS_IPV6}", strict=False)


def _name(network: Network, names: Mapping[str, int]) -> str:
    """The domain from which most of its messages came; the network's own address where no name is known."""
    known = {name: count for name, count in names.items() if name}
    return max(known, key=lambda name: known[name])[:64] if known else str(network)


def _domain(ptr: str) -> str:
    """`mx.example.org` → `example.org`, `mx.example.co.uk` → `example.co.uk`; empty where it is no name."""
    if not _HOST_NAME.fullmatch(ptr):
        return ""
    labels = ptr.lower().split(".")
    country = len(labels[-1]) == _COUNTRY and len(labels) > 2 and len(labels[-2]) <= _OF_A_COUNTRY
    return ".".join(labels[-3:] if country else labels[-2:])

"""Which limits to have: a fifth above the busiest legitimate client, in `[limits]` and for networks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from streams.model.client import Address, Client, Network
from streams.model.policy import Limits, NetworkRule, Policy
from streams.replay.legitimacy import Legitimacy, protected
from streams.replay.observed import Observed
from streams.replay.setting import RULES, Setting, grid, setting_of
from streams.replay.weighing import Weighed

HEADROOM_PERCENT: Final = 20
_NEAR: Final = 0.95
"""A shorter cool-down that refuses abusive clients this share of what the longest does is preferred."""
_BIG_MESSAGES: Final = 100
_BIG_NETWORKS: Final = 20
_SENDERS_IPV4, _SENDERS_IPV6 = 24, 48

Clients = Mapping[Client, tuple[Observed, Legitimacy]]


class Busiest(msgspec.Struct, frozen=True):
    """The protected client whose count of one rule was highest, and what that asks of the limit."""

    rule: str
    client: Client
    peak: int
    limit: int


def with_headroom(peak: int) -> int:
    """A fifth above the peak, rounded up, at least one above it."""
    return max(peak + 1, -(-peak * (100 + HEADROOM_PERCENT) // 100))


def busiest(policy: Policy, clients: Clients, *, network: str | None = None) -> list[Busiest]:
    """Of each rule the busiest protected client, of those to whom `[limits]` apply (or this network entry).

    A network entry follows `[limits]` in the keys in which it has the same value. Exempt clients are judged
    by no limit; what a client does while a schedule sets a limit asks nothing of it. A rule that no protected
    client's count shows is left out.
    """
    rules = {str(it.network): it.limits for it in policy.networks}
    found = []
    for place, rule in enumerate(RULES):
        top: tuple[int, Client] | None = None
        for client, (seen, thought) in clients.items():
            if seen.exempt or not seen.asks[place] or not protected(seen, thought):
                continue
            if network is None:
                own = rules.get(seen.network)
                if own is not None and getattr(own, rule) != getattr(policy.limits, rule):
                    continue
            elif seen.network != network:
                continue
            if top is None or seen.asks[place] > top[0]:
                top = seen.asks[place], client
        if top is not None:
            found.append(Busiest(rule, top[1], top[0], with_headroom(top[0])))
    return found


def recommended_limits(policy: Policy, found: Sequence[Busiest]) -> Setting:
    """The policy's own setting with the limits that the busiest ask for."""
    return msgspec.structs.replace(setting_of(policy.limits), **{it.rule: it.limit for it in found})


def levels_around(policy: Policy, asked: Setting) -> list[Setting]:
    """Settings worth looking at: those asked for and those of now, tighter, looser and between."""
    now = setting_of(policy.limits)
    levels: dict[str, list[float]] = {}
    for rule in RULES:
        wanted, current = getattr(asked, rule), getattr(now, rule)
        between = max(1, round((wanted * current) ** 0.5))
        levels[rule] = [max(1, wanted // 2), wanted, current]
        if rule == "connections_per_minute":
            levels[rule] += [between, max(wanted, current) * 2]
    levels["cool_down_s"] = [now.cool_down_s, 600]
    levels["cool_down_growth"] = [now.cool_down_growth, 2.0]
    return grid(**levels)


def pick(settings: Sequence[Setting], found: Sequence[Weighed], asked: Setting) -> int:
    """Of the settings with the limits asked for, the mildest cool-down that nearly refuses abusive clients
    what the harshest does; among those that hurt the fewest protected clients."""
    same = [n for n, it in enumerate(settings) if all(getattr(it, r) == getattr(asked, r) for r in RULES)]
    fewest = min(found[n].clients["protected"] for n in same)
    same = [n for n in same if found[n].clients["protected"] == fewest]
    most = max(found[n].refused["abusive"] for n in same)
    enough = [n for n in same if found[n].refused["abusive"] >= _NEAR * most]
    return min(enough, key=lambda n: (settings[n].cool_down_s, settings[n].cool_down_growth))


def sender_networks(policy: Policy, clients: Clients) -> list[Network]:
    """/24 (/48 in IPv6) from which at least 100 messages came and that no entry of the policy covers yet, the
    biggest first, 20 at most."""
    messages: dict[Network, int] = defaultdict(int)
    for seen, thought in clients.values():
        if seen.messages and not seen.network and not seen.exempt and protected(seen, thought):
            messages[_around(seen.address)] += seen.messages
    big = [it for it in messages.items() if it[1] >= _BIG_MESSAGES]
    return [network for network, _ in sorted(big, key=lambda it: -it[1])[:_BIG_NETWORKS]]


def _around(address: Address) -> Network:
    ip = ip_address(address)
    return ip_network(f"{ip}/{_SENDERS_IPV4 if ip.version == 4 else _SENDERS_IPV6}", strict=False)


def per_network(policy: Policy, clients: Clients) -> tuple[Policy, dict[str, list[Busiest]]]:
    """The policy with an entry of its own for each big sender's network, and the busiest of each entry.

    `[limits]` can then be set by those that have no entry.
    """
    new = tuple(
        NetworkRule(network=network, name=_name(network, clients), limits=policy.limits)
        for network in sender_networks(policy, clients)
    )
    for rule in new:
        for seen, _ in clients.values():
            if not seen.network and ip_address(seen.address) in rule.network:
                seen.network = str(rule.network)
    wider = msgspec.structs.replace(policy, networks=(*policy.networks, *new))
    found = {}
    for rule in wider.networks:
        of = busiest(wider, clients, network=str(rule.network))
        if of:
            found[str(rule.network)] = of
    return wider, found


def with_networks(policy: Policy, found: Mapping[str, Sequence[Busiest]]) -> Policy:
    """The policy with what the busiest ask for in its network entries."""

    def asked(rule: NetworkRule) -> Limits:
        return msgspec.structs.replace(
            rule.limits, **{it.rule: it.limit for it in found.get(str(rule.network), ())}
        )

    networks = tuple(msgspec.structs.replace(it, limits=asked(it)) for it in policy.networks)
    return msgspec.structs.replace(policy, networks=networks)


def _name(network: Network, clients: Clients) -> str:
    """The domain that most of its senders' verified names share; the network's own address else."""
    names: dict[str, int] = defaultdict(int)
    for seen, _ in clients.values():
        if seen.ptr and ip_address(seen.address) in network:
            names[".".join(seen.ptr.rsplit(".", 2)[-2:])] += seen.messages
    return max(names, key=lambda name: names[name])[:64] if names else str(network)

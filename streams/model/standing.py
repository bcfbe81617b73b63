"""Which entries of a policy apply to an address: the most specific prefix wins."""

from ipaddress import IPv4Network, IPv6Address
from typing import Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from streams.model.client import Address, Network
from streams.model.modules import Zone
from streams.model.policy import Block, Exemption, Limits, Module, NetworkRule, Policy
from streams.model.schedule import Calendar, Schedule

T = TypeVar("T")

_MEMO_ENTRIES: Final = 200_000
"""Addresses whose standing is remembered; beyond that the memo starts anew (bounded memory)."""


class PrefixMap(Generic[T]):
    """Longest-prefix match: one dictionary per prefix length in use, looked up from the longest."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[int, dict[int, T]]] = {4: {}, 6: {}}

    def __bool__(self) -> bool:
        return any(self._by_length.values())

    def add(self, network: Network, value: T) -> None:
        """Later entries replace earlier ones of the same prefix."""
        family = 4 if isinstance(network, IPv4Network) else 6
        lengths = self._by_length[family]
        lengths.setdefault(network.prefixlen, {})[int(network.network_address)] = value
        self._by_length[family] = dict(sorted(lengths.items(), reverse=True))

    def matches(self, address: Address) -> list[T]:
        """Every entry that contains the address, most specific first."""
        if ":" in address:
            number, bits, lengths = int(IPv6Address(address)), 128, self._by_length[6]
        else:  # canonical already: four times faster than ipaddress, which a flood of new clients notices
            a, b, c, d = address.split(".")
            number, bits, lengths = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d), 32, self._by_length[4]
        found = []
        for length, entries in lengths.items():
            entry = entries.get(number >> (bits - length) << (bits - length))
            if entry is not None:
                found.append(entry)
        return found


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of one address, resolved once."""

    limits: Limits
    network: str = ""
    """CIDR of the network rule that set the limits; empty for `[limits]`."""
    exemptions: tuple[Exemption, ...] = ()
    blocks: tuple[Block, ...] = ()
    """Entries of `[[blocks]]` that hold the address, most specific first; see `blocked`."""
    internal: bool = False

    def blocked(self, at: int) -> Block | None:
        """The administrator's entry that refuses the address at this instant, the most specific of them."""
        return next((it for it in self.blocks if it.expires is None or at < it.expires), None)

    def exempt(self, module: Module, at: int) -> bool:
        """Whether this module leaves the address alone at this instant; at `expires` it no longer does."""
        return any(
            entry.module == module and (entry.expires is None or at < entry.expires)
            for entry in self.exemptions
        )


def scheduled(policy: Policy, active: tuple[Schedule, ...]) -> Policy:
    """The policy with the limits of these schedules, later ones over earlier ones, and without schedules.

    A schedule that names no networks changes `[limits]`, and networks where they follow it (their value of
    that key is the same).
    """
    plain, limits, networks = policy.limits, policy.limits, list(policy.networks)
    for schedule in active:
        changed = dict(schedule.overrides)
        if not schedule.networks:
            limits = replace(limits, **changed)
        for place, rule in enumerate(networks):
            if schedule.networks:
                own = changed if rule.network in schedule.networks else {}
            else:
                follows = policy.networks[place].limits
                own = {k: v for k, v in changed.items() if getattr(follows, k) == getattr(plain, k)}
            networks[place] = replace(rule, limits=replace(rule.limits, **own))
    return replace(policy, limits=limits, networks=tuple(networks), schedules=())


class PolicyIndex:
    """A policy made ready for look-ups; the value it stands for never changes.

    The memo inside only saves work: the same address always has the same standing.
    """

    def __init__(self, policy: Policy, *, version: str = "") -> None:
        self.policy: Final = policy
        self.version: Final = version or policy.version
        self._networks: PrefixMap[NetworkRule] = PrefixMap()
        self._exemptions: PrefixMap[tuple[Exemption, ...]] = PrefixMap()
        self._blocks: PrefixMap[Block] = PrefixMap()
        self._default = Standing(limits=policy.limits)
        for rule in policy.networks:
            self._networks.add(rule.network, rule)
        grouped: dict[Network, tuple[Exemption, ...]] = {}
        for exemption in policy.exemptions:
            grouped[exemption.network] = (*grouped.get(exemption.network, ()), exemption)
        for network, entries in grouped.items():
            self._exemptions.add(network, entries)
        for block in policy.blocks:
            self._blocks.add(block.network, block)
        self._memo: dict[Address, Standing] = {}
        self._suspended: dict[str, int] = {}
        for entry in policy.suspensions:
            self._suspended[entry.module] = max(entry.until, self._suspended.get(entry.module, 0))
        self.suspends: Final = bool(policy.suspensions)
        self.has_schedules: Final = bool(policy.schedules)
        self._calendar: Final = Calendar(policy.schedules)
        self._scheduled: dict[tuple[Schedule, ...], PolicyIndex] = {}
        self.zones: Final[dict[str, Zone]] = {zone.domain: zone for zone in policy.zones if zone.enabled}

    def suspended(self, module: Module, at: int) -> bool:
        """Whether this module judges nobody at this instant."""
        return at < self._suspended.get(module, 0)

    def at(self, at: int) -> "PolicyIndex":
        """This policy with the limits that its schedules set at this instant; itself where they set none."""
        active = self._calendar.active(at)
        if not active:
            return self
        found = self._scheduled.get(active)
        if found is None:
            found = self._scheduled[active] = PolicyIndex(
                scheduled(self.policy, active), version=self.version
            )
        return found

    def standing(self, address: Address) -> Standing:
        """What applies to this address."""
        known = self._memo.get(address)
        if known is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            known = self._memo[address] = self._resolve(address)
        return known

    def _resolve(self, address: Address) -> Standing:
        networks = self._networks.matches(address)
        exemptions = tuple(entry for group in self._exemptions.matches(address) for entry in group)
        blocks = self._blocks.matches(address)
        if not (networks or exemptions or blocks):
            return self._default
        rule = networks[0] if networks else None
        return Standing(
            limits=rule.limits if rule else self.policy.limits,
            network=str(rule.network) if rule else "",
            exemptions=exemptions,
            blocks=tuple(blocks),
            internal=rule is not None and rule.internal,
        )

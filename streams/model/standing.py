"""Which entries of a policy apply to an address: the most specific prefix wins."""

from ipaddress import IPv4Network, IPv6Address
from typing import Final, Generic, TypeVar

import msgspec

from streams.model.client import Address, Network
from streams.model.policy import Block, Exemption, Limits, Module, Policy

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
    block: Block | None = None

    def exempt(self, module: Module, at: int) -> bool:
        """Whether this module leaves the address alone at this instant; at `expires` it no longer does."""
        return any(
            entry.module == module and (entry.expires is None or at < entry.expires)
            for entry in self.exemptions
        )


class PolicyIndex:
    """A policy made ready for look-ups; the value it stands for never changes.

    The memo inside only saves work: the same address always has the same standing.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy: Final = policy
        self.version: Final = policy.version
        self._networks: PrefixMap[tuple[str, Limits]] = PrefixMap()
        self._exemptions: PrefixMap[tuple[Exemption, ...]] = PrefixMap()
        self._blocks: PrefixMap[Block] = PrefixMap()
        self._default = Standing(limits=policy.limits)
        for rule in policy.networks:
            self._networks.add(rule.network, (str(rule.network), rule.limits))
        grouped: dict[Network, tuple[Exemption, ...]] = {}
        for exemption in policy.exemptions:
            grouped[exemption.network] = (*grouped.get(exemption.network, ()), exemption)
        for network, entries in grouped.items():
            self._exemptions.add(network, entries)
        for block in policy.blocks:
            self._blocks.add(block.network, block)
        self._memo: dict[Address, Standing] = {}

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
        network, limits = networks[0] if networks else ("", self.policy.limits)
        return Standing(
            limits=limits, network=network, exemptions=exemptions, block=blocks[0] if blocks else None
        )

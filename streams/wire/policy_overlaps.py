"""What of entries for addresses has no effect, or a wider one than it seems: one line each, for people.

One network holds another, so of two entries one can make the other needless, or stronger than it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from streams.model.client import Address, Network
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.policy import MODULES, Block, Exemption, Module, NetworkRule, Policy
from streams.model.standing import PrefixMap
from streams.wire.policy_values import network_text as shown

SOON_S: Final = 7 * 86_400
"""An entry that expires within a week is said."""
_WIDE: Final = {4: 8, 6: 19}
"""Version of IP → leading bits: an exemption or a block with fewer is said to be wide."""

T = TypeVar("T", NetworkRule, Exemption, Block)


def _holding(entries: PrefixMap[T], network: Network) -> list[T]:
    """Those that are wider than this network and hold it, the most specific first."""
    found = entries.matches(Address(str(network.network_address)))
    return [entry for entry in found if entry.network.prefixlen < network.prefixlen]


def _mapped(entries: Iterable[T]) -> PrefixMap[T]:
    found: PrefixMap[T] = PrefixMap()
    for entry in entries:
        found.add(entry.network, entry)
    return found


def of_networks(policy: Policy) -> Iterator[str]:
    """Of limits for a network."""
    yield from doubles("networks", (shown(rule.network) for rule in policy.networks))
    rules = _mapped(policy.networks)
    for rule in policy.networks:
        wider = _holding(rules, rule.network)
        limits, internal = (wider[0].limits, wider[0].internal) if wider else (policy.limits, False)
        if (rule.limits, rule.internal) == (limits, internal):
            same = f"[[networks]] {shown(wider[0].network)}, which holds it" if wider else "[limits]"
            yield f"[[networks]] {shown(rule.network)} changes nothing: its limits are those of {same}"


def of_exemptions(policy: Policy, at: int, off: Mapping[Module, str]) -> Iterator[str]:
    """Of exemptions, as they are at this instant. `off`: of a module that judges nobody why it does not."""
    by_module = {module: [it for it in policy.exemptions if it.module == module] for module in MODULES}
    blocks = _mapped(policy.blocks)
    for module, entries in by_module.items():
        yield from doubles("exemptions", (f"{module} {shown(it.network)}" for it in entries))
        if entries and off[module]:
            yield f"[[exemptions]] from {module} ({len(entries)}) let nobody off: {off[module]}"
        mapped = _mapped(entries)
        for entry in entries:
            name = f"[[exemptions]] {module} {shown(entry.network)}"
            yield from _time_left(name, entry.expires, at)
            yield from _wide(name, entry.network, "lets alone")
            for wider in _holding(mapped, entry.network):
                if _outlasts(wider, entry, at):
                    yield f"{name} adds nothing: {shown(wider.network)} is exempt from {module} already"
                    break
            for block in blocks.matches(Address(str(entry.network.network_address))):
                if block.network.prefixlen <= entry.network.prefixlen and _stands(block, at):
                    yield (
                        f"{name} lies inside [[blocks]] {shown(block.network)}: it is refused all the same, "
                        "an exemption is from one module and a block is from everything"
                    )
                    break


def of_blocks(policy: Policy, at: int) -> Iterator[str]:
    """Of the block list, as it is at this instant, and of partners that it refuses."""
    yield from doubles("blocks", (shown(block.network) for block in policy.blocks))
    blocks, exempt = _mapped(policy.blocks), dict[Module, PrefixMap[Exemption]]()
    for module in MODULES:
        exempt[module] = _mapped(it for it in policy.exemptions if it.module == module)
    for block in policy.blocks:
        name = f"[[blocks]] {shown(block.network)}"
        yield from _time_left(name, block.expires, at)
        yield from _wide(name, block.network, "refuses", ", exempt or not")
        for wider in _holding(blocks, block.network):
            if _outlasts(wider, block, at):
                yield f"{name} adds nothing but its note: {shown(wider.network)} is blocked already"
                break
        let_off = [module for module in MODULES if _holding(exempt[module], block.network)]
        if let_off and _stands(block, at):
            exempt_from = ", ".join(let_off)
            yield f"{name} refuses what is exempt from {exempt_from}: no exemption lifts a block"
    for partner in policy.partners:
        for block in blocks.matches(partner.address):
            if _stands(block, at):
                yield f"[[partners]] {partner.address} is refused by [[blocks]] {shown(block.network)}"
                break


def doubles(name: str, keys: Iterable[str]) -> Iterator[str]:
    """Of entries of one table that have the same key."""
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"[[{name}]] {key} stands {count} times; the last one counts"


def _time_left(entry: str, expires: Instant | None, at: int) -> Iterator[str]:
    if expires is not None and expires <= at:
        yield f"{entry} expired {minute(expires)}: it can be removed"
    elif expires is not None and expires <= at + SOON_S * MICROSECONDS:
        yield f"{entry} expires soon, {minute(expires)}"


def minute(at: int) -> str:
    """`2026-12-31 18:00 UTC`"""
    return f"{rfc3339(at)[:16].replace('T', ' ')} UTC"


def _outlasts(wider: Exemption | Block, entry: Exemption | Block, at: int) -> bool:
    """Whether the wider entry counts for as long as the other one."""
    if wider.expires is None:
        return True
    return wider.expires > at and entry.expires is not None and wider.expires >= entry.expires


def _wide(name: str, network: Network, does: str, also: str = "") -> Iterator[str]:
    if not network.prefixlen:
        yield f"{name} {does} everybody who comes over IPv{network.version}{also}"
    elif network.prefixlen < _WIDE[network.version]:
        bits = network.max_prefixlen - network.prefixlen
        many = f"{network.num_addresses:,}" if network.version == 4 else f"2^{bits}"
        yield f"{name} is wide: it {does} {many} addresses{also}"


def _stands(block: Block, at: int) -> bool:
    return block.expires is None or at < block.expires

"""What in a policy has no effect, or another one than it seems to have: one line each, for people."""

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from streams.model.client import Address, Network
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.modules import VIOLATIONS
from streams.model.policy import MODULES, Block, Exemption, Module, NetworkRule, Policy
from streams.model.schedule import Schedule
from streams.model.standing import PrefixMap
from streams.wire.policy_document import rows_of
from streams.wire.policy_values import network_text as shown
from streams.wire.policy_words import escaped, named

_MODULE: Final = re.compile(rf"\[\[exemptions\]\] (?:from )?({'|'.join(MODULES)})\b")
_SAME: Final = "\0"
"""Stands for the module while notes are compared."""
SOON_S: Final = 7 * 86_400
"""An entry that expires within a week is said."""
_WIDE: Final = {4: 8, 6: 19}
"""Version of IP → leading bits: an exemption or a block with fewer is said to be wide."""
_CONTAINS: Final = {"zen.spamhaus.org": ("sbl", "xbl", "pbl", "sbl-xbl")}
"""Zone → zones of the same domain that it holds (https://www.spamhaus.org/blocklists/zen-blocklist/)."""


def doubled(text: str, *, file: str = "policy.toml") -> list[str]:
    """Entries that stand twice in a file that reads well."""
    counted = Counter(row.key for row in rows_of(text, file=file))
    return [f"{named(key, {})} stands twice; the last one counts" for key, n in counted.items() if n > 1]


def remarks(policy: Policy, at: int) -> list[str]:
    """All that is to be said at this instant. Time goes with the number of entries."""
    return [
        *_of_networks(policy),
        *_of_exemptions(policy, at),
        *_of_blocks(policy, at),
        *_of_zones(policy),
        *_of_suspensions(policy, at),
        *_of_schedules(policy),
        *_of_shadow(policy),
    ]


def folded(notes: Iterable[str]) -> list[str]:
    """The same with those about one exemption in several modules as one note, in the place of the first."""
    found: dict[str, list[str]] = {}
    for note in notes:
        about = _MODULE.match(note)
        alike = re.sub(rf"\b{about[1]}\b", _SAME, note) if about else note
        found.setdefault(alike, []).extend([about[1]] if about else [])
    return [note.replace(_SAME, ", ".join(modules)) for note, modules in found.items()]


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


def _doubles(name: str, keys: Iterable[str]) -> Iterator[str]:
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"[[{name}]] {key} stands {count} times; the last one counts"


def _of_networks(policy: Policy) -> Iterator[str]:
    yield from _doubles("networks", (shown(rule.network) for rule in policy.networks))
    rules = _mapped(policy.networks)
    for rule in policy.networks:
        wider = _holding(rules, rule.network)
        limits, internal = (wider[0].limits, wider[0].internal) if wider else (policy.limits, False)
        if (rule.limits, rule.internal) == (limits, internal):
            same = f"[[networks]] {shown(wider[0].network)}, which holds it" if wider else "[limits]"
            yield f"[[networks]] {shown(rule.network)} changes nothing: its limits are those of {same}"


def _time_left(entry: str, expires: Instant | None, at: int) -> Iterator[str]:
    if expires is not None and expires <= at:
        yield f"{entry} expired {_time(expires)}: it can be removed"
    elif expires is not None and expires <= at + SOON_S * MICROSECONDS:
        yield f"{entry} expires soon, {_time(expires)}"


def _time(at: int) -> str:
    return f"{rfc3339(at)[:16].replace('T', ' ')} UTC"


def _outlasts(wider: Exemption | Block, entry: Exemption | Block, at: int) -> bool:
    """Whether the wider entry counts for as long as the other one."""
    if wider.expires is None:
        return True
    return wider.expires > at and entry.expires is not None and wider.expires >= entry.expires


def _of_exemptions(policy: Policy, at: int) -> Iterator[str]:
    off = {
        "dnsbl": _no_reputation(policy),
        "greylist": _no_greylist(policy),
        "protocol": _no_protocol(policy),
    }
    by_module = {module: [it for it in policy.exemptions if it.module == module] for module in MODULES}
    blocks = _mapped(policy.blocks)
    for module, entries in by_module.items():
        yield from _doubles("exemptions", (f"{module} {shown(it.network)}" for it in entries))
        if entries and off.get(module):
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


def _wide(name: str, network: Network, does: str, also: str = "") -> Iterator[str]:
    if not network.prefixlen:
        yield f"{name} {does} everybody who comes over IPv{network.version}{also}"
    elif network.prefixlen < _WIDE[network.version]:
        bits = network.max_prefixlen - network.prefixlen
        many = f"{network.num_addresses:,}" if network.version == 4 else f"2^{bits}"
        yield f"{name} is wide: it {does} {many} addresses{also}"


def _stands(block: Block, at: int) -> bool:
    return block.expires is None or at < block.expires


def _of_blocks(policy: Policy, at: int) -> Iterator[str]:
    yield from _doubles("blocks", (shown(block.network) for block in policy.blocks))
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


def _of_zones(policy: Policy) -> Iterator[str]:
    yield from _doubles("zones", (zone.domain for zone in policy.zones))
    asked = {zone.domain for zone in policy.zones if zone.enabled}
    for whole, parts in _CONTAINS.items():
        for part in parts:
            if whole in asked and f"{part}.{whole.partition('.')[2]}" in asked:
                yield f"[[zones]] {part}.{whole.partition('.')[2]} counts twice: {whole} holds it"
    if policy.partners and not asked:
        yield f"[[partners]] ({len(policy.partners)}) are never looked up: {_no_reputation(policy)}"
    most = 0
    for zone in policy.zones:
        weights = [weight for _, weight in zone.codes] or [zone.weight]
        most += sum(weights) if zone.enabled else 0
        if zone.enabled and not any(weights):
            yield f"[[zones]] {zone.domain} never counts: its weight is 0"
    if asked and 0 < most < policy.reputation.threshold:
        threshold = policy.reputation.threshold
        yield f"[reputation] threshold = {threshold} is never reached: all zones together weigh {most}"


def _of_suspensions(policy: Policy, at: int) -> Iterator[str]:
    yield from _doubles("suspensions", (entry.module for entry in policy.suspensions))
    for entry in policy.suspensions:
        left_s = (entry.until - at) // MICROSECONDS
        if left_s < 0 or entry.until == at:
            yield f"[[suspensions]] {entry.module} ended {_time(entry.until)}: it can be removed"
        else:
            yield (
                f"[[suspensions]] {entry.module} is suspended until {_time(entry.until)}, "
                f"{-(-left_s // 60)} minutes left: until then it refuses nobody"
            )


def _of_schedules(policy: Policy) -> Iterator[str]:
    known = {rule.network for rule in policy.networks}
    yield from _doubles("schedules", (schedule.name for schedule in policy.schedules))
    for schedule in policy.schedules:
        name = f"[[schedules]] {escaped(schedule.name)}"
        if not _ever(schedule):
            yield f"{name} is never in force: none of its months has such a day"
        for network in schedule.networks:
            if network not in known:
                yield f"{name} names {shown(network)}, which is no [[networks]] entry"


def _ever(schedule: Schedule) -> bool:
    """Whether any day of the calendar fits; every date falls on every weekday some year."""
    for month in schedule.months or range(1, 13):
        for length in {monthrange(2023, month)[1], monthrange(2024, month)[1]}:
            for day in range(1, length + 1):
                if not schedule.days or day in schedule.days or day - length - 1 in schedule.days:
                    return True
    return False


def _of_shadow(policy: Policy) -> Iterator[str]:
    off = {
        "reputation": _no_reputation(policy),
        "greylist": _no_greylist(policy),
        "no_retry": _no_greylist(policy),
        "protocol": _no_protocol(policy),
        **{
            it: "" if getattr(policy.protocol, it) else f"[protocol] {it} = false"
            for it in VIOLATIONS.values()
        },
    }
    for rule in policy.shadow:
        if off.get(rule):
            yield f"[shadow] {rule} has no effect: {off[rule]}"


def _no_reputation(policy: Policy) -> str:
    """Why no DNSBL is asked; empty where one is."""
    if any(zone.enabled for zone in policy.zones):
        return ""
    return "every one of [[zones]] is switched off" if policy.zones else "there are no [[zones]]"


def _no_greylist(policy: Policy) -> str:
    return "" if policy.greylist.enabled else "[greylist] enabled = false"


def _no_protocol(policy: Policy) -> str:
    on = any(getattr(policy.protocol, name) for name in VIOLATIONS.values())
    return "" if on else "every violation of [protocol] is switched off"

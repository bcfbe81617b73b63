"""What in a policy has no effect, or another one than it seems to have: one line each, for people."""

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from streams.model.instant import MICROSECONDS
from streams.model.modules import VIOLATIONS
from streams.model.policy import MODULES, Module, Policy
from streams.model.schedule import Schedule
from streams.wire.policy_document import rows_of
from streams.wire.policy_overlaps import doubles, minute, of_blocks, of_exemptions, of_networks
from streams.wire.policy_values import network_text as shown
from streams.wire.policy_words import escaped, named

_MODULE: Final = re.compile(rf"\[\[exemptions\]\] (?:from )?({'|'.join(MODULES)})\b")
_SAME: Final = "\0"
"""Stands for the module while notes are compared."""
_CONTAINS: Final = {"zen.spamhaus.org": ("sbl", "xbl", "pbl", "sbl-xbl")}
"""Zone → zones of the same domain that it holds (https://www.spamhaus.org/blocklists/zen-blocklist/)."""


def doubled(text: str, *, file: str = "policy.toml") -> list[str]:
    """Entries that stand twice in a file that reads well."""
    counted = Counter(row.key for row in rows_of(text, file=file))
    return [f"{named(key, {})} stands twice; the last one counts" for key, n in counted.items() if n > 1]


def remarks(policy: Policy, at: int) -> list[str]:
    """All that is to be said at this instant. Time goes with the number of entries."""
    return [
        *of_networks(policy),
        *of_exemptions(policy, at, _off(policy)),
        *of_blocks(policy, at),
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


def _of_zones(policy: Policy) -> Iterator[str]:
    yield from doubles("zones", (zone.domain for zone in policy.zones))
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
    yield from doubles("suspensions", (entry.module for entry in policy.suspensions))
    for entry in policy.suspensions:
        left_s = (entry.until - at) // MICROSECONDS
        if left_s < 0 or entry.until == at:
            yield f"[[suspensions]] {entry.module} ended {minute(entry.until)}: it can be removed"
        else:
            yield (
                f"[[suspensions]] {entry.module} is suspended until {minute(entry.until)}, "
                f"{-(-left_s // 60)} minutes left: until then it refuses nobody"
            )


def _of_schedules(policy: Policy) -> Iterator[str]:
    known = {rule.network for rule in policy.networks}
    yield from doubles("schedules", (schedule.name for schedule in policy.schedules))
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
    modules = _off(policy)
    off = {
        "reputation": modules["dnsbl"],
        "greylist": modules["greylist"],
        "no_retry": modules["greylist"],
        "protocol": modules["protocol"],
        **{
            it: "" if getattr(policy.protocol, it) else f"[protocol] {it} = false"
            for it in VIOLATIONS.values()
        },
    }
    for rule in policy.shadow:
        if off.get(rule):
            yield f"[shadow] {rule} has no effect: {off[rule]}"


def _off(policy: Policy) -> dict[Module, str]:
    """Module → why it judges nobody; empty where it does judge."""
    return {
        "rate": "",
        "dnsbl": _no_reputation(policy),
        "greylist": _no_greylist(policy),
        "protocol": _no_protocol(policy),
    }


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

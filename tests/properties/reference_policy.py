"""What a policy says of one event, looked up by going through all of it each time."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from streams.model.event import Event
from streams.model.modules import VIOLATIONS
from streams.model.policy import Block, Limits, NetworkRule, Policy
from streams.model.schedule import Schedule

MODULES = {"rate": "rate", "reputation": "dnsbl", "greylist": "greylist", "protocol": "protocol"}
SETTINGS = {"dnsbl": "reputation", "greylist": "greylist", "protocol": "protocol"}


def network_of(policy: Policy, event: Event) -> NetworkRule | None:
    matching = [rule for rule in policy.networks if ip_address(event.address) in rule.network]
    return max(matching, key=lambda rule: rule.network.prefixlen) if matching else None


def limits_of(policy: Policy, event: Event) -> tuple[str, Limits]:
    """The network entry that sets the limits, and the limits of this minute."""
    rule = network_of(policy, event)
    standing = rule.limits if rule else policy.limits
    now = standing
    for schedule in policy.schedules:
        if not in_force(schedule, event.at):
            continue
        for key, value in schedule.overrides:
            if schedule.networks:
                changes = rule is not None and rule.network in schedule.networks
            else:
                changes = getattr(standing, key) == getattr(policy.limits, key)
            if changes:
                now = replace(now, **{key: value})
    return (str(rule.network) if rule else ""), now


def in_force(schedule: Schedule, at: int) -> bool:
    """Whether it is in force on the day that the clock on the wall shows, or since the day before."""
    wall = datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(ZoneInfo(schedule.timezone))
    clock = f"{wall:%H:%M}"
    begins, ends = (f"{m // 60:02d}:{m % 60:02d}" for m in (schedule.from_minute, schedule.to_minute))
    if begins < ends:
        return begins <= clock < ends and is_day(schedule, wall.date())
    if clock >= begins:
        return is_day(schedule, wall.date())
    return clock < ends and is_day(schedule, wall.date() - timedelta(days=1))


def is_day(schedule: Schedule, day: date) -> bool:
    length = monthrange(day.year, day.month)[1]
    named = {it if it > 0 else length + 1 + it for it in schedule.days}
    return (
        day.month in (schedule.months or range(13))
        and day.day in (named or range(32))
        and day.weekday() in (schedule.weekdays or range(7))
    )


def block_entry(policy: Policy, event: Event) -> Block | None:
    """The administrator's entry that refuses the address when the event happens."""
    matching = [
        entry
        for entry in policy.blocks
        if ip_address(event.address) in entry.network and (entry.expires is None or event.at < entry.expires)
    ]
    return max(matching, key=lambda entry: entry.network.prefixlen) if matching else None


def let_off(policy: Policy, module: str, event: Event) -> bool:
    """Exempt, or nobody is judged by this module now."""
    exempt = any(
        it.module == module
        and ip_address(event.address) in it.network
        and (it.expires is None or event.at < it.expires)
        for it in policy.exemptions
    )
    return exempt or any(it.module == module and event.at < it.until for it in policy.suspensions)


def judged(policy: Policy, module: str, event: Event) -> bool:
    """Whether dnsbl, greylist or protocol judges this address now."""
    rule = network_of(policy, event)
    if rule is not None and rule.internal and not getattr(policy, SETTINGS[module]).internal:
        return False
    if block_entry(policy, event) is not None or let_off(policy, module, event):
        return False
    if module == "dnsbl":
        return any(zone.enabled for zone in policy.zones)
    if module == "greylist":
        return policy.greylist.enabled
    name = VIOLATIONS.get(event.violation)
    return name is not None and bool(getattr(policy.protocol, name))


def shadowed(policy: Policy, trigger: str, rule: str) -> bool:
    return trigger in policy.shadow or rule in policy.shadow

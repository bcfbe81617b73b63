"""A setting: the five numbers of `[limits]` that tuning turns, and the policy that has them."""

from collections.abc import Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Final

import msgspec

from streams.model.policy import Limits, NetworkRule, Policy
from streams.model.schedule import Schedule
from streams.model.standing import scheduled

RULES: Final = ("concurrent_connections", "connections_per_minute", "requests_per_minute")
"""The limits proper, in order of precedence."""

Own = Mapping[str, Mapping[str, int]]
"""Network entry → rule → the value that it has of its own, whatever `[limits]` have."""
_NONE: Final[Own] = MappingProxyType({})


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a sweep. Units stand in the names."""

    concurrent_connections: int
    connections_per_minute: int
    requests_per_minute: int
    cool_down_s: int
    cool_down_growth: float

    def under(self, policy: Policy, own: Own = _NONE) -> Policy:
        """The policy with this setting in `[limits]`, and in networks where they follow `[limits]`: their
        value of that key is the same in `policy`, and `own` names none. Schedules go on overriding."""
        overrides = tuple(msgspec.structs.asdict(self).items())
        turned = scheduled(policy, (Schedule(name="setting", overrides=overrides),))
        networks = tuple(_with_own(it, own) for it in turned.networks)
        return msgspec.structs.replace(turned, networks=networks, schedules=policy.schedules)

    @property
    def words(self) -> str:
        """`10 open, 30 connections and 20 requests a minute, cool-down 60 s`."""
        growth = f" × {self.cool_down_growth:g} each time" if self.cool_down_growth > 1 else ""
        return (
            f"{self.concurrent_connections} open, {self.connections_per_minute} connections and "
            f"{self.requests_per_minute} requests a minute, cool-down {self.cool_down_s} s{growth}"
        )


def _with_own(rule: NetworkRule, own: Own) -> NetworkRule:
    values = own.get(str(rule.network))
    if not values:
        return rule
    return msgspec.structs.replace(rule, limits=msgspec.structs.replace(rule.limits, **values))


def setting_of(limits: Limits) -> Setting:
    """The setting that these limits have."""
    return Setting(**{name: getattr(limits, name) for name in Setting.__struct_fields__})


def goes_together(policy: Policy) -> bool:
    """Whether a policy like this may be put in force: a cool-down that grows does not begin above its cap."""
    every = [policy.limits, *(it.limits for it in policy.networks)]
    for schedule in policy.schedules:
        named = [it.limits for it in policy.networks if it.network in schedule.networks]
        over = named if schedule.networks else [policy.limits]
        every += [msgspec.structs.replace(it, **dict(schedule.overrides)) for it in over]
    return all(it.cool_down_growth == 1 or it.cool_down_s <= it.cool_down_max_s for it in every)


def grid(**levels: Sequence[float]) -> list[Setting]:
    """Every combination of the levels, keyed by the fields of `Setting`."""
    names = Setting.__struct_fields__
    found = product(*(sorted(set(levels[name])) for name in names))
    return [msgspec.convert(dict(zip(names, values, strict=True)), Setting) for values in found]


def refusing(policy: Policy) -> Policy:
    """The policy with its limits in force: neither in shadow nor suspended."""
    return msgspec.structs.replace(
        policy,
        shadow=tuple(it for it in policy.shadow if it not in ("rate", *RULES)),
        suspensions=tuple(it for it in policy.suspensions if it.module != "rate"),
    )


def with_schedules_marked(policy: Policy) -> Policy:
    """The policy with -1 wherever a schedule sets a limit: so it can be seen whether one does."""

    def marked(it: Schedule) -> Schedule:
        return msgspec.structs.replace(
            it, overrides=tuple((key, -1 if key in RULES else value) for key, value in it.overrides)
        )

    return msgspec.structs.replace(policy, schedules=tuple(marked(it) for it in policy.schedules))


def unlimited(policy: Policy) -> Policy:
    """The policy without any limit: what counts show where nobody is ever blocked by one."""
    never = dict.fromkeys(RULES, 1 << 40) | {"warn_at": 0.0}
    return msgspec.structs.replace(
        _without_warnings(policy, set(RULES)),
        limits=msgspec.structs.replace(policy.limits, **never),
        networks=tuple(
            msgspec.structs.replace(it, limits=msgspec.structs.replace(it.limits, **never))
            for it in policy.networks
        ),
    )


def quiet(policy: Policy) -> Policy:
    """The policy without warnings, which no decision depends on."""
    return _without_warnings(policy, set())


def _without_warnings(policy: Policy, dropped: set[str]) -> Policy:
    dropped = dropped | {"warn_at"}

    def silent(limits: Limits) -> Limits:
        return msgspec.structs.replace(limits, warn_at=0.0)

    def network(rule: NetworkRule) -> NetworkRule:
        return msgspec.structs.replace(rule, limits=silent(rule.limits))

    def schedule(it: Schedule) -> Schedule:
        kept = tuple((key, value) for key, value in it.overrides if key not in dropped)
        return msgspec.structs.replace(it, overrides=kept)

    return msgspec.structs.replace(
        policy,
        limits=silent(policy.limits),
        networks=tuple(network(it) for it in policy.networks),
        schedules=tuple(schedule(it) for it in policy.schedules),
    )


def same_but_for_limits(one: Policy, other: Policy) -> bool:
    """Whether the policies differ in nothing but the keys of `Setting`, in `[limits]` and in networks."""
    return _levelled(one) == _levelled(other)


def _levelled(policy: Policy) -> Policy:
    level = msgspec.structs.asdict(setting_of(Limits()))

    def plain(limits: Limits) -> Limits:
        return msgspec.structs.replace(limits, **level)

    return msgspec.structs.replace(
        policy,
        limits=plain(policy.limits),
        networks=tuple(msgspec.structs.replace(it, limits=plain(it.limits)) for it in policy.networks),
    )

"""Which limits to have: a fifth above the busiest legitimate client of those to whom `[limits]` apply."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nlargest
from ipaddress import ip_address
from typing import Final, NamedTuple

import msgspec

from streams.model.client import Client, Network
from streams.model.policy import Policy
from streams.replay.legitimacy import Legitimacy
from streams.replay.observed import Observed
from streams.replay.setting import RULES, Setting, grid, setting_of
from streams.replay.weighing import Weighed

HEADROOM_PERCENT: Final = 20
SEVERAL: Final = 3
"""A client that reaches so many times the count of the next busiest sets a limit alone."""
_NEAR: Final = 0.95
"""A shorter cool-down that refuses abusive clients this share of what the longest does is preferred."""

Clients = Mapping[Client, tuple[Observed, Legitimacy]]
Count = tuple[int, Client]


class Busiest(msgspec.Struct, frozen=True):
    """The legitimate client whose count of one rule was highest, and what that asks of the limit."""

    rule: str
    client: Client
    peak: int
    limit: int
    next_client: Client | None = None
    """The legitimate client whose count was highest but for that one; none where nobody else's is known."""
    next_peak: int = 0

    @property
    def alone(self) -> bool:
        """Whether no other legitimate client comes near: one wrong verdict would set the limit."""
        return self.peak >= SEVERAL * self.next_peak

    @property
    def without(self) -> int:
        """The limit that the others ask for; 0 where there are none."""
        return with_headroom(self.next_peak) if self.next_peak else 0


def with_headroom(peak: int) -> int:
    """A fifth above the peak, rounded up, at least one above it."""
    return max(peak + 1, -(-peak * (100 + HEADROOM_PERCENT) // 100))


def busiest_of(rule: str, counts: Iterable[Count]) -> Busiest | None:
    """Whose count is highest, and who is next; of equal ones the first. `None` where all are 0."""
    highest: dict[Client, int] = {}
    for count, client in counts:
        if count > highest.get(client, 0):
            highest[client] = count
    top = nlargest(2, highest.items(), key=lambda it: it[1])
    if not top:
        return None
    (client, peak), following = top[0], top[1] if len(top) > 1 else (None, 0)
    return Busiest(rule, client, peak, with_headroom(peak), *following)


class Asking(NamedTuple):
    """What a legitimate client asks for of `[limits]` or of a network entry."""

    client: Client
    network: str
    """The network entry; empty for `[limits]`."""
    counts: Sequence[int]
    """The highest of `RULES` that these must allow: not while it is exempt, nor while a schedule sets one."""
    scheduled: Sequence[int]
    """Its highest at any time, unless it is always exempt."""


def asking(clients: Clients, new: Sequence[Network] = ()) -> list[Asking]:
    """Those who may ask for a limit: the legitimate. Who delivered mail and is not legitimate by the evidence
    may not, or one message would set the limits of everybody.

    `new`: entries that the policy has not got, for addresses for which it has none.
    """
    found = []
    for client, (seen, thought) in clients.items():
        if thought.verdict != "legitimate" or seen.exempt:
            continue
        address = ip_address(seen.address) if new else None
        home = next((str(it) for it in new if address in it), "")
        found += [Asking(client, network or home, asked, seen.peaks) for network, asked in seen.entries()]
    return found


def of_limits(policy: Policy, askers: Sequence[Asking], own: Mapping[str, Collection[str]]) -> list[Busiest]:
    """Of each rule the busiest of those to whom `[limits]` apply; a rule that none of their counts shows is
    left out. A network entry follows `[limits]` where it has the same value and `own` does not name the
    rule."""
    found = []
    for place, rule in enumerate(RULES):
        apart = apart_from_limits(policy, rule) | {name for name, rules in own.items() if rule in rules}
        top = busiest_of(rule, ((it.counts[place], it.client) for it in askers if it.network not in apart))
        if top is not None:
            found.append(top)
    return found


def apart_from_limits(policy: Policy, rule: str) -> set[str]:
    """Network entries with a value of their own for this rule."""
    general = getattr(policy.limits, rule)
    return {str(it.network) for it in policy.networks if getattr(it.limits, rule) != general}


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
    what the harshest does; among those that hurt the fewest legitimate clients, then the fewest doubtful."""

    def hurts(number: int) -> tuple[int, int]:
        return found[number].clients["legitimate"], found[number].clients["doubtful"]

    same = [n for n, it in enumerate(settings) if all(getattr(it, r) == getattr(asked, r) for r in RULES)]
    fewest = min(hurts(n) for n in same)
    same = [n for n in same if hurts(n) == fewest]
    most = max(found[n].refused["abusive"] for n in same)
    enough = [n for n in same if found[n].refused["abusive"] >= _NEAR * most]
    return min(enough, key=lambda n: (settings[n].cool_down_s, settings[n].cool_down_growth))

"""Tuning: a history is looked at, settings are weighed on it, one is recommended."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.model.client import Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.replay.covered import Covered
from streams.replay.entries import per_network
from streams.replay.legitimacy import Legitimacy, legitimacy
from streams.replay.observed import Observed
from streams.replay.pareto import front, point_of
from streams.replay.peaks import observe
from streams.replay.recommend import Busiest, asking, levels_around, of_limits, pick, recommended_limits
from streams.replay.setting import RULES, Setting, goes_together, refusing, setting_of
from streams.replay.weighing import Side, Weighed, weigh

History = Callable[[], Iterable[Event]]
"""The history from its beginning, as often as it is asked for."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found."""

    settings: Sequence[Setting]
    policies: Sequence[Policy]
    """What was weighed as each of the settings: that of now without the entries that are only recommended."""
    weighed: Sequence[Weighed]
    front: Sequence[int]
    now: int
    """The number of the setting that holds."""
    recommended: int
    busiest: Sequence[Busiest]
    networks: dict[str, list[Busiest]]
    """Of `--per-network`: entry → what its busiest ask for, of the rules that are its own."""
    before: Policy
    after: Policy
    clients: dict[Client, tuple[Observed, Legitimacy]]
    sides: dict[Client, Side]
    covered: Covered
    """How much time the history shows."""
    new_networks: tuple[str, ...] = field(default=())

    @property
    def silent(self) -> bool:
        """Whether limits are in shadow, or suspended during the history, that were weighed as if they were in
        force."""
        suspended = any(it.module == "rate" and it.until > self.first for it in self.before.suspensions)
        return suspended or refusing(self.before).shadow != self.before.shadow

    @property
    def first(self) -> Instant:
        """When the history begins."""
        return self.covered.first

    @property
    def last(self) -> Instant:
        """When it ends."""
        return self.covered.last

    @property
    def span_s(self) -> float:
        """How much time the history shows, in seconds: pauses of everybody that are longer than a day are not
        in it."""
        return self.covered.us / MICROSECONDS

    @property
    def lone(self) -> list[Busiest]:
        """Who raises a limit for everybody, though the next busiest, if there is one, reached a third of that
        or less."""
        now = self.before.limits
        return [it for it in self.busiest if it.alone and it.limit > getattr(now, it.rule)]

    def beaten(self, number: int) -> bool:
        """Whether another setting stops more abusive clients and hurts no more, or hurts fewer and stops no
        fewer."""
        hurt, stopped = point_of(self.weighed[number])
        others = {point_of(self.weighed[it]) for it in self.front} - {(hurt, stopped)}
        return any(it[0] <= hurt and it[1] >= stopped for it in others)

    def peaks(self) -> list[tuple[Client, Observed, Legitimacy]]:
        """Every client, the busiest first."""
        of = [(client, *it) for client, it in self.clients.items()]
        return sorted(of, key=lambda it: (-max(it[1].peaks), -it[1].connects, it[0]))


def tune(
    policy: Policy, history: History, *, settings: Sequence[Setting] = (), each_network: bool = False
) -> Tuned:
    """Two passes: one that looks at every client, one that weighs all settings (those given, or some around
    what the busiest legitimate clients ask for; always the one that holds, and the limits asked for with each
    of the cool-downs and growths). Limits in shadow are weighed as if they refused."""
    before, policy = policy, refusing(policy)
    covered = Covered()
    seen = observe(policy, covered.by(history()))
    clients = {client: (it, legitimacy(it)) for client, it in seen.items()}
    sides: dict[Client, Side] = {client: side_of(*it) for client, it in clients.items()}
    if each_network:
        wide, networks, found, new = per_network(policy, clients)
    else:
        wide, networks, found, new = policy, {}, of_limits(policy, asking(clients), {}), ()
    own = {name: {rule: it.limit for rule, it in of.items()} for name, of in networks.items()}
    asked, current = recommended_limits(policy, found), setting_of(policy.limits)
    levels = settings or [it for it in levels_around(policy, asked) if goes_together(it.under(wide, own))]
    wanted = list(dict.fromkeys(_with_cool_down(asked, it) for it in levels))
    wanted = [it for it in wanted if goes_together(it.under(wide, own))] or [asked]
    tried = list(dict.fromkeys([*levels, *wanted]))
    policies = [it.under(wide, own) for it in tried]
    now = next((n for n, it in enumerate(policies) if it == wide), len(policies))
    if now == len(policies):  # also where a setting of these numbers is tried, with entries of their own
        tried.append(current)
        policies.append(wide)
    weighed = weigh(policies, history(), sides)
    policies[now] = policy  # the new entries follow `[limits]` there: it decides the same without them
    places = [tried.index(it) for it in wanted]
    chosen = places[pick(wanted, [weighed[it] for it in places], asked)]
    kept = {"shadow": before.shadow, "suspensions": before.suspensions}
    return Tuned(
        settings=tried,
        policies=policies,
        weighed=weighed,
        front=front(weighed),
        now=now,
        recommended=chosen,
        busiest=found,
        networks={name: list(of.values()) for name, of in networks.items()},
        before=before,
        after=msgspec.structs.replace(policies[chosen], **kept),
        clients=clients,
        sides=sides,
        covered=covered,
        new_networks=new,
    )


def _with_cool_down(asked: Setting, level: Setting) -> Setting:
    return msgspec.structs.replace(level, **{rule: getattr(asked, rule) for rule in RULES})


def side_of(seen: Observed, thought: Legitimacy) -> Side:
    """Which column of the answer the client counts in."""
    if thought.verdict != "legitimate" and seen.messages:
        return "doubtful"
    return thought.verdict


def points(tuned: Tuned) -> list[tuple[int, int]]:
    """Where each setting lies in the chart."""
    return [point_of(it) for it in tuned.weighed]

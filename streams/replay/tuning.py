"""Tuning: a history is looked at, settings are weighed on it, one is recommended."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.model.client import Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.replay.legitimacy import Legitimacy, legitimacy, protected
from streams.replay.observed import Observed, observe
from streams.replay.pareto import front, point_of
from streams.replay.recommend import (
    Busiest,
    busiest,
    levels_around,
    per_network,
    pick,
    recommended_limits,
    with_networks,
)
from streams.replay.setting import RULES, Setting, refusing, setting_of
from streams.replay.weighing import Side, Weighed, weigh

History = Callable[[], Iterable[Event]]
"""The history from its beginning, as often as it is asked for."""

LONG_ENOUGH_S = 28 * 86_400
"""A month has its month-end: what a shorter history shows may not be the busiest."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found."""

    settings: Sequence[Setting]
    weighed: Sequence[Weighed]
    front: Sequence[int]
    now: int
    """The number of the setting that holds."""
    recommended: int
    busiest: Sequence[Busiest]
    networks: dict[str, list[Busiest]]
    """Of `--per-network`: entry → what its busiest ask for; else empty."""
    before: Policy
    after: Policy
    clients: dict[Client, tuple[Observed, Legitimacy]]
    sides: dict[Client, Side]
    first: Instant
    last: Instant
    new_networks: tuple[str, ...] = field(default=())

    @property
    def silent(self) -> bool:
        """Whether limits are in shadow, or suspended, that were weighed as if they were in force."""
        return refusing(self.before) != self.before

    @property
    def span_s(self) -> float:
        """How long the history is, in seconds."""
        return (self.last - self.first) / MICROSECONDS

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
    seen = observe(policy, history())
    clients = {client: (it, legitimacy(it)) for client, it in seen.items()}
    sides: dict[Client, Side] = {client: _side(*it) for client, it in clients.items()}
    networks: dict[str, list[Busiest]] = {}
    wide = policy
    if each_network:
        wide, networks = per_network(policy, clients)
        wide = with_networks(wide, networks)
    found = busiest(wide, clients)
    asked, current = recommended_limits(policy, found), setting_of(policy.limits)
    levels = settings or levels_around(policy, asked)
    wanted = list(dict.fromkeys(_with_cool_down(asked, it) for it in levels))
    tried = list(dict.fromkeys([*levels, current, *wanted]))
    policies = [it.under(wide) for it in tried]
    if each_network and wide != policy:
        # the limits of now without the entries that are only recommended: weighed apart, it is another policy
        weighed = weigh(policies, history(), sides)
        weighed[tried.index(current)] = weigh([policy], history(), sides)[0]
    else:
        weighed = weigh(policies, history(), sides)
    places = [tried.index(it) for it in wanted]
    chosen = places[pick(wanted, [weighed[it] for it in places], asked)]
    times = [at for it in seen.values() for at in (it.first, it.last)]
    return Tuned(
        settings=tried,
        weighed=weighed,
        front=front(weighed),
        now=tried.index(current),
        recommended=chosen,
        busiest=found,
        networks=networks,
        before=before,
        after=msgspec.structs.replace(
            tried[chosen].under(wide), shadow=before.shadow, suspensions=before.suspensions
        ),
        clients=clients,
        sides=sides,
        first=Instant(min(times, default=0)),
        last=Instant(max(times, default=0)),
        new_networks=tuple(str(it.network) for it in wide.networks[len(policy.networks) :]),
    )


def _with_cool_down(asked: Setting, level: Setting) -> Setting:
    return msgspec.structs.replace(level, **{rule: getattr(asked, rule) for rule in RULES})


def _side(seen: Observed, thought: Legitimacy) -> Side:
    if protected(seen, thought):
        return "protected"
    return "abusive" if thought.verdict == "abusive" else "unclear"


def points(tuned: Tuned) -> list[tuple[int, int]]:
    """Where each setting lies in the chart."""
    return [point_of(it) for it in tuned.weighed]


def as_json(tuned: Tuned) -> dict[str, object]:
    """Everything, for a program to read."""

    def row(number: int) -> dict[str, object]:
        found = tuned.weighed[number]
        return {
            **msgspec.structs.asdict(tuned.settings[number]),
            "front": number in tuned.front,
            "blocks": found.blocks,
            "clients": found.clients,
            "connections": found.connections,
            "requests": found.requests,
            "hurt": found.hurt,
        }

    return {
        "span_s": round(tuned.span_s),
        "clients": {
            side: sum(it == side for it in tuned.sides.values()) for side in set(tuned.sides.values())
        },
        "now": row(tuned.now),
        "recommended": row(tuned.recommended),
        "busiest": [msgspec.structs.asdict(it) for it in tuned.busiest],
        "networks": {name: [msgspec.structs.asdict(it) for it in of] for name, of in tuned.networks.items()},
        "settings": [row(number) for number in range(len(tuned.settings))],
        "legitimacy": {
            client: {"verdict": thought.verdict, "score": thought.score, "reasons": thought.reasons}
            for client, (_, thought) in tuned.clients.items()
        },
    }

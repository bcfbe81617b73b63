"""What each of many settings would have done to whom: clients stopped and hurt, attempts refused."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from streams.model.client import Client
from streams.model.event import Event
from streams.model.policy import Policy
from streams.replay.branches import Members, numbers
from streams.replay.sweep import Sweep

Side = Literal["legitimate", "doubtful", "unclear", "abusive"]
"""Doubtful: it delivered mail, and yet the evidence does not make it legitimate."""
SIDES: Final[tuple[Side, ...]] = ("legitimate", "doubtful", "unclear", "abusive")
_NAMED: Final = 20
"""Clients of a side that are named for each setting."""
_MASKS: Final = 20_000


class Weighed(msgspec.Struct, kw_only=True):
    """What one setting did over the history, by side."""

    clients: dict[Side, int]
    """Clients that a limit blocked at least once."""
    connections: dict[Side, int]
    """Connections that its blocks refused."""
    requests: dict[Side, int]
    """Transactions that its blocks refused."""
    blocks: int = 0
    hurt: list[Client]
    """The legitimate clients among the blocked, at most 20 of them, in order of their first block."""
    doubtful: list[Client]
    """The doubtful ones likewise."""

    @property
    def refused(self) -> dict[Side, int]:
        """Connections and transactions together."""
        return {side: self.connections[side] + self.requests[side] for side in SIDES}

    def named(self, side: Side) -> list[Client] | None:
        """Where the blocked of this side are named; `None` where they are only counted."""
        return {"legitimate": self.hurt, "doubtful": self.doubtful}.get(side)


def weigh(policies: Sequence[Policy], events: Iterable[Event], sides: Mapping[Client, Side]) -> list[Weighed]:
    """One pass; exact for each of the policies, which differ in their limits alone. Memory: that of active
    clients, and a number for each client that was ever blocked."""
    sweep = Sweep(policies)
    found = [
        Weighed(
            clients=dict.fromkeys(SIDES, 0),
            connections=dict.fromkeys(SIDES, 0),
            requests=dict.fromkeys(SIDES, 0),
            hurt=[],
            doubtful=[],
        )
        for _ in policies
    ]
    blocked: dict[Client, Members] = {}
    refused: Counter[tuple[str, Side, Members]] = Counter()
    for event in events:
        for members, decision in sweep.step(event):
            if decision.trigger != "rate" or decision.action != "block" or decision.shadow:
                continue
            known = blocked.get(event.client, 0)
            blocked[event.client] = known | members
            side = sides.get(event.client, "unclear")
            for number in numbers(members):
                it = found[number]
                it.blocks += 1
                if not known >> number & 1:
                    it.clients[side] += 1
                    named = it.named(side)
                    if named is not None and len(named) < _NAMED:
                        named.append(event.client)
        if sweep.refused:
            refused[event.kind, sides.get(event.client, "unclear"), sweep.refused] += 1
            if len(refused) >= _MASKS:
                _spread(refused, found)
    _spread(refused, found)
    return found


def _spread(refused: Counter[tuple[str, Side, Members]], found: Sequence[Weighed]) -> None:
    """Counts by sets of settings to each setting's own."""
    for (kind, side, members), count in refused.items():
        for number in numbers(members):
            it = found[number]
            to = it.requests if kind == "mail" else it.connections
            to[side] += count
    refused.clear()

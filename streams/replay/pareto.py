"""The settings of which no other is better: it stops more abusive clients or hurts fewer legitimate ones."""

from collections.abc import Sequence

from streams.replay.weighing import Weighed

Point = tuple[int, int]
"""Legitimate clients hurt, abusive clients stopped; who delivered and is not legitimate counts in neither."""


def point_of(found: Weighed) -> Point:
    """Where the setting lies in the chart."""
    return found.clients["legitimate"], found.clients["abusive"]


def front(found: Sequence[Weighed]) -> list[int]:
    """The settings that no other beats in both, in order of clients hurt; of those that lie at one point the
    one that refuses least to legitimate clients, then to doubtful ones, then most to abusive ones, then the
    first."""
    best: dict[Point, int] = {}
    for number, it in enumerate(found):
        known = best.get(point_of(it))
        if known is None or _rank(it) < _rank(found[known]):
            best[point_of(it)] = number
    left, most = list[int](), -1
    for (_, stopped), number in sorted(best.items(), key=lambda it: (it[0][0], -it[0][1])):
        if stopped > most:
            most = stopped
            left.append(number)
    return left


def _rank(found: Weighed) -> tuple[int, int, int]:
    refused = found.refused
    return refused["legitimate"], refused["doubtful"], -refused["abusive"]

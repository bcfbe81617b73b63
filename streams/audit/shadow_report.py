"""What a candidate policy would have refused beside what was refused: client by client. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from streams.model.client import Client
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant

Where = Literal["candidate", "live", "both"]


class Block(NamedTuple):
    """A refusal within the period: from `at` on, `until` itself left out, in microseconds."""

    at: int
    until: int
    trigger: str
    rule: str


Span = tuple[int, int]


class Side(msgspec.Struct, kw_only=True):
    """What one of the two policies does to a client within the period."""

    blocks: int = 0
    alone: int = 0
    """Blocks during none of which the other policy refuses the client."""
    refused_s: int = 0
    alone_s: int = 0
    """Seconds in which it refuses the client and the other policy does not."""
    first: Instant | None = None
    last: Instant | None = None
    by: list[str] = []
    """`rate: connections_per_minute`, in order of first appearance."""
    spans: list[tuple[Instant, Instant]] = []
    """When that is."""
    messages: int | None = None
    """Messages that the client delivered in `alone_s`; None where that is not known."""


class Difference(msgspec.Struct, kw_only=True):
    """A client that the two do not treat alike."""

    client: Client
    where: Where
    """Who refuses it; both: not at the same times."""
    candidate: Side
    live: Side
    name: str = ""
    """As DNS has it, so far as it is stored."""
    messages: int | None = None
    """Messages that it delivered within the period; None where that is not known."""

    @property
    def legitimate(self) -> bool:
        """Whether it is known to deliver mail."""
        return bool(self.messages)


class Total(msgspec.Struct, kw_only=True):
    """Blocks of one trigger."""

    candidate: int = 0
    live: int = 0
    same: int = 0
    """Blocks of the candidate that overlap one of the same client and trigger."""


class Compared(msgspec.Struct, kw_only=True):
    """The outcome."""

    start: Instant
    end: Instant
    refused_candidate: int
    refused_live: int
    refused_both: int
    left_out: int
    """Clients that a block from before the candidate refused at first: up to its end they are left out."""
    triggers: dict[str, Total]
    differences: list[Difference]
    """Those known to deliver first, then by how long it makes a difference."""


def blocks_of(decisions: Iterable[Decision], start: int, end: int) -> dict[Client, list[Block]]:
    """What these decisions, in their log's order, refuse within the period, cut to it."""
    found: dict[Client, list[Block]] = {}
    for it in decisions:
        if it.shadow or it.action not in ("block", "release"):
            continue
        of = found.setdefault(it.client, [])
        if it.action == "release":
            of[:] = [
                block._replace(until=min(block.until, it.at)) if block.trigger == it.trigger else block
                for block in of
            ]
        else:
            of.append(Block(it.at, end if it.until is None else it.until, it.trigger, it.rule))
    for client, of in list(found.items()):
        cut = [it._replace(at=max(it.at, start), until=min(it.until, end)) for it in of]
        found[client] = sorted(it for it in cut if it.at < it.until)
        if not found[client]:
            del found[client]
    return found


def compare(
    candidate: Iterable[Decision],
    live: Iterable[Decision],
    before: Iterable[Decision],
    start: Instant,
    end: Instant,
) -> Compared:
    """`before` are decisions from before the candidate began: it cannot know whom they refuse."""
    live = list(live)
    unknown = blocks_of([*before, *(it for it in live if it.action == "release")], start, end)
    sides = [_known(blocks_of(it, start, end), unknown) for it in (candidate, live)]
    triggers: dict[str, Total] = {}
    differences = []
    for client in sorted(sides[0].keys() | sides[1].keys()):
        mine, theirs = (side.get(client, []) for side in sides)
        _count(triggers, mine, theirs)
        one, other = _side(mine, theirs), _side(theirs, mine)
        if one.alone_s or other.alone_s or one.alone or other.alone:
            where: Where = "both" if mine and theirs else "candidate" if mine else "live"
            differences.append(Difference(client=client, where=where, candidate=one, live=other))
    return Compared(
        start=start,
        end=end,
        refused_candidate=len(sides[0]),
        refused_live=len(sides[1]),
        refused_both=len(sides[0].keys() & sides[1].keys()),
        left_out=len(unknown),
        triggers=dict(sorted(triggers.items())),
        differences=in_order(differences),
    )


def in_order(differences: Iterable[Difference]) -> list[Difference]:
    """Those known to deliver first: whom the candidate would cost most messages, then who delivers most."""
    return sorted(
        differences,
        key=lambda it: (
            not it.legitimate,
            -(it.candidate.messages or 0),
            -(it.messages or 0),
            -max(it.candidate.alone_s, it.live.alone_s),
            it.client,
        ),
    )


def with_evidence(found: Compared, delivered: Mapping[Client, tuple[str, Sequence[int]]]) -> Compared:
    """`delivered`: client → its name and the times of its messages within the period, in microseconds."""
    told = []
    for it in found.differences:
        name, times = delivered.get(it.client, ("", ()))
        sides = [
            msgspec.structs.replace(
                side, messages=sum(at <= t < until for at, until in side.spans for t in times)
            )
            for side in (it.candidate, it.live)
        ]
        told.append(
            msgspec.structs.replace(it, name=name, messages=len(times), candidate=sides[0], live=sides[1])
        )
    return msgspec.structs.replace(found, differences=in_order(told))


def union(blocks: Iterable[Block | Span]) -> list[Span]:
    """When any of them refuses, in order, without overlaps."""
    spans: list[Span] = []
    for at, until, *_ in sorted(blocks):
        if spans and at <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], until))
        else:
            spans.append((at, until))
    return spans


def without(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """What is in `spans` and not in `others`; both in order and without overlaps."""
    left: list[Span] = []
    for start, until in spans:
        at = start
        for other_at, other_until in others:
            if other_until <= at or other_at >= until:
                continue
            if other_at > at:
                left.append((at, other_at))
            at = max(at, other_until)
        if at < until:
            left.append((at, until))
    return left


def _known(
    blocks: dict[Client, list[Block]], unknown: Mapping[Client, list[Block]]
) -> dict[Client, list[Block]]:
    """Blocks that do not begin while one from before the candidate stands."""
    found = {}
    for client, of in blocks.items():
        blind = unknown.get(client, ())
        if kept := [it for it in of if not any(b.at <= it.at < b.until for b in blind)]:
            found[client] = kept
    return found


def _side(mine: Sequence[Block], theirs: Sequence[Block]) -> Side:
    whole, others = union(mine), union(theirs)
    alone = without(whole, others)
    return Side(
        blocks=len(mine),
        alone=sum(without([(it.at, it.until)], others) == [(it.at, it.until)] for it in mine),
        refused_s=_seconds(whole),
        alone_s=_seconds(alone),
        first=Instant(mine[0].at) if mine else None,
        last=Instant(mine[-1].at) if mine else None,
        by=list(dict.fromkeys(f"{it.trigger}: {it.rule}" for it in mine)),
        spans=[(Instant(at), Instant(until)) for at, until in alone],
    )


def _seconds(spans: Iterable[Span]) -> int:
    return round(sum(until - at for at, until in spans) / MICROSECONDS)


def _count(triggers: dict[str, Total], mine: Sequence[Block], theirs: Sequence[Block]) -> None:
    for it in mine:
        total = triggers.setdefault(it.trigger, Total())
        total.candidate += 1
        total.same += any(
            it.trigger == other.trigger and it.at < other.until and other.at < it.until for other in theirs
        )
    for it in theirs:
        triggers.setdefault(it.trigger, Total()).live += 1

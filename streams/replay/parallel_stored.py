"""A stored period replayed by several processes: ClickHouse gives each its share of the clients.

What they decide comes back with the place of its event in the order of the whole, by which it is merged.
"""

import gc
import heapq
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from operator import attrgetter
from typing import Final

from streams.engine.step import Outcome
from streams.errors import GoawayError
from streams.model.event import Event
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.child import Child
from streams.replay.clickhouse_source import Columns, StoredPeriod
from streams.replay.counts import ReadCounts
from streams.replay.dealing import Place
from streams.replay.order import Batch, Batches
from streams.replay.parallel import Found, packed, place_of, unpacked
from streams.replay.run import decide

_SAY_EACH: Final = 16
"""Batches after which a child says how far it is, whether or not anything was decided."""


def replay_stored(
    policy: Policy, stored: StoredPeriod, counts: ReadCounts, *, jobs: int
) -> Iterator[list[Outcome]]:
    """What `decide` yields for this period, event by event."""
    with ExitStack() as opened:
        children = [
            opened.enter_context(closing(Child(_decide, policy, stored, share, jobs)))
            for share in range(jobs)
        ]
        yield from _merged(children, stored, counts)


def _merged(children: list[Child], stored: StoredPeriod, counts: ReadCounts) -> Iterator[list[Outcome]]:
    done = [0] * len(children)

    def decided(number: int) -> Iterator[Found]:
        while (given := children[number].answer()) is not None:
            found, done[number], stored.extent.total = given
            stored.extent.done = sum(done)
            yield from found

    for _, outcomes in heapq.merge(*map(decided, range(len(children))), key=place_of):
        yield unpacked(outcomes)
    counts.read += stored.extent.done
    counts.events += stored.extent.done


def _decide(pipe: Connection, policy: Policy, stored: StoredPeriod, share: int, shares: int) -> None:
    gc.disable()
    latest: list[tuple[Batch[Event], Columns]] = []

    def batches() -> Batches:
        for placed in stored.placed(share=share, shares=shares):
            latest[:] = [placed]
            yield placed[0]

    waiting: list[Found] = []
    try:
        for number, found in decide(PolicyIndex(policy), batches()):
            for event, outcomes in found:
                waiting.append((_place(event, *latest[0]), packed(outcomes)))
            if waiting or number % _SAY_EACH == 0:
                pipe.send((waiting, stored.extent.done, stored.extent.total))
                waiting = []
        pipe.send(([], stored.extent.done, stored.extent.total))
        pipe.send(None)
    except GoawayError as error:
        pipe.send(error)


def _place(event: Event, batch: Batch[Event], columns: Columns) -> Place:
    place = bisect_left(batch.items, event.at, key=attrgetter("at"))
    while batch.items[place] is not event:
        place += 1
    return event.at, *(column[place] for column in columns)

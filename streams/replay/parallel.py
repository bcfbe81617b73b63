"""JSON lines replayed by several processes, each with its share of the clients: the same output, sooner.

A client's decisions depend on its own events and on how far the history has come. This process reads the
blocks and hands each to one of the others, which deals it out to all of them (`dealing.py`). What they decide
comes back, block by block, with its place in the order of the whole.
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from multiprocessing.connection import Connection
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from streams.engine.step import Outcome
from streams.errors import GoawayError
from streams.model.decision import Decision
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.child import Child
from streams.replay.counts import ReadCounts
from streams.replay.dealing import Hand, Place, Placed
from streams.replay.exchange import Exchange, Told
from streams.replay.expected import ANYTHING, Expected
from streams.replay.json_lines import blocks
from streams.replay.order import Batches
from streams.replay.run import decide
from streams.wire.frames import decode_decision, decode_warning, encode

Found = tuple[Place, list[tuple[bool, bytes]]]
"""Outcomes as they are on the wire, each with whether it is a decision: the same object comes of it again."""


def replay_lines(
    policy: Policy,
    chunks: Iterable[bytes],
    counts: ReadCounts,
    *,
    jobs: int,
    expected: Expected = ANYTHING,
) -> Iterator[list[Outcome]]:
    """What `decide` yields for these JSON lines, event by event."""
    with ExitStack() as opened:
        exchange = opened.enter_context(closing(Exchange(jobs)))
        children = [
            opened.enter_context(
                closing(Child(_decide_lines, policy, expected, exchange, share, keep=exchange.descriptors))
            )
            for share in range(jobs)
        ]
        answers = opened.enter_context(closing(_Answers(children)))
        yield from _shared(answers, exchange, chunks, counts)


class _Answers:
    """What the processes say."""

    def __init__(self, children: list[Child]) -> None:
        self._said: dict[Child, deque[Any]] = {child: deque() for child in children}
        self._waiting = DefaultSelector()
        for child in children:
            self._waiting.register(child.pipe, EVENT_READ, child)

    def next(self) -> list[Any]:
        """The next that each of them says; all are heard, for one may wait for another that has ended.
        Raises as `Child.answer`."""
        while not all(self._said.values()):
            for ready, _ in self._waiting.select():
                self._said[ready.data].append(ready.data.answer())
        return [said.popleft() for said in self._said.values()]

    def close(self) -> None:
        """Wait no more."""
        self._waiting.close()


def _shared(
    answers: _Answers, exchange: Exchange, chunks: Iterable[bytes], counts: ReadCounts
) -> Iterator[list[Outcome]]:
    number = -1
    for number, content in enumerate(blocks(chunks)):
        if number >= exchange.ahead:
            yield from _in_order(answers.next())
        exchange.tell(number % exchange.processes, exchange.lay(number, 0, content))
    for share in range(exchange.processes):
        exchange.tell(share, Told(-1, number + 1, 0))
    for _ in range(min(number + 1, exchange.ahead) + 1):
        yield from _in_order(answers.next())
    for counted in answers.next():
        counts.add(counted)


def _in_order(found: list[list[Found]]) -> Iterator[list[Outcome]]:
    """What all of them decided about one block, in the order of its events."""
    for _, outcomes in sorted(chain.from_iterable(found), key=place_of):
        yield unpacked(outcomes)


def place_of(found: Found) -> Place:
    """By which they are merged."""
    return found[0]


def packed(outcomes: list[Outcome]) -> list[tuple[bool, bytes]]:
    """As they are sent."""
    return [(isinstance(it, Decision), encode(it)) for it in outcomes]


def unpacked(outcomes: list[tuple[bool, bytes]]) -> list[Outcome]:
    """As they were."""
    return [decode_decision(it) if decision else decode_warning(it) for decision, it in outcomes]


def _decide_lines(
    pipe: Connection, policy: Policy, expected: Expected, exchange: Exchange, share: int
) -> None:
    gc.disable()
    counts, found = ReadCounts(), list[Found]()
    placed = Placed(Hand(exchange, share, pipe.fileno(), counts, expected).parts(), counts, expected)

    def batches() -> Batches:
        nonlocal found
        for block in placed.blocks():
            yield from block
            pipe.send(found)
            found = []

    try:
        for _, decided in decide(PolicyIndex(policy), batches()):
            found += [(placed.place(event), packed(outcomes)) for event, outcomes in decided]
        pipe.send(counts)
    except GoawayError as error:
        pipe.send(error)
    pipe.recv()  # others may still have something to tell; this ends with the other side

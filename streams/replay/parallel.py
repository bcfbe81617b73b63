"""JSON lines replayed by several processes, each with its share of the clients: the same output, sooner.

A client's decisions depend on its own events and on how far the history has come. So the parent cuts the
history into blocks and gives each child its clients' lines of every block, with the latest time that any line
names; so each child orders, releases and forgets just as one process alone would. What they decide comes back
with its place in that order. A block is under way at most `_AHEAD` times, which bounds the memory.
"""

import gc
import os
import threading
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final
from zlib import crc32

from streams.engine.step import Outcome
from streams.errors import UnavailableError
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.counts import ReadCounts
from streams.replay.json_lines import blocks, events_of, when_who
from streams.replay.order import Batches, BlockOrder, event_order
from streams.replay.run import decide
from streams.wire.frames import decode_decision, decode_warning, encode

_AHEAD: Final = 4
_MOST_CLIENTS: Final = 2_000_000

Place = tuple[tuple[int, str], int, int]
"""Order, block and line of an event: where it stands among all of its batch."""
Found = tuple[Place, list[tuple[bool, bytes]]]
"""Outcomes as they are on the wire, each with whether it is a decision: the same object comes of it again."""


def replay_lines(
    policy: Policy, chunks: Iterable[bytes], counts: ReadCounts, *, jobs: int
) -> Iterator[list[Outcome]]:
    """What `decide` yields for these JSON lines, event by event."""
    children = [_Child(policy) for _ in range(jobs)]
    try:
        yield from _shared(children, chunks, counts)
    except (EOFError, OSError) as error:
        raise UnavailableError(
            "a process of the replay ended before its time", try_next="--jobs 1"
        ) from error
    finally:
        for child in children:
            child.end()


class _Child:
    """One process; its answers are read by a thread, so that neither waits for the other to read."""

    def __init__(self, policy: Policy) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, policy), daemon=True)
        self._process.start()
        theirs.close()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, what: object) -> None:
        self._pipe.send(what)

    def answer(self) -> Any:
        found = self._answers.get()
        if isinstance(found, Exception):
            raise found
        return found

    def end(self) -> None:
        self._process.terminate()
        self._process.join(5)
        self._pipe.close()

    def _read(self) -> None:
        try:
            while True:
                self._answers.put(self._pipe.recv())
        except (EOFError, OSError) as error:
            self._answers.put(error)


def _shared(children: list[_Child], chunks: Iterable[bytes], counts: ReadCounts) -> Iterator[list[Outcome]]:
    jobs = len(children)
    shares: dict[str, int] = {}
    under_way = 0
    for block in blocks(chunks):
        lines, clients, newest = when_who(block)
        parts: list[list[bytes]] = [[] for _ in children]
        numbers: list[list[int]] = [[] for _ in children]
        for number, (line, client) in enumerate(zip(lines, clients, strict=True)):
            share = shares.get(client)
            if share is None:
                if len(shares) > _MOST_CLIENTS:
                    shares.clear()
                share = shares[client] = crc32(client.encode("utf-8", "surrogatepass")) % jobs
            parts[share].append(line)
            numbers[share].append(number)
        for child, part, mine in zip(children, parts, numbers, strict=True):
            child.send((b"\n".join(part), mine, newest))
        under_way += 1
        if under_way > _AHEAD:
            yield from _answers(children)
            under_way -= 1
    for child in children:
        child.send(None)
    for _ in range(under_way + 1):
        yield from _answers(children)
    for child in children:
        counts.add(child.answer())


def _answers(children: list[_Child]) -> Iterator[list[Outcome]]:
    """What all children decided about one batch, in the order of its events."""
    found: list[Found] = []
    for child in children:
        found += child.answer()
    found.sort(key=lambda it: it[0])
    for _, outcomes in found:
        yield [decode_decision(it) if decision else decode_warning(it) for decision, it in outcomes]


class _Placed:
    """A child's blocks as batches; knows where each event stood whose stamp and id do not say it."""

    def __init__(self, pipe: Connection) -> None:
        self.counts = ReadCounts()
        self._pipe = pipe
        self._places: dict[int, tuple[int, int]] = {}

    def batches(self) -> Batches:
        order, block = BlockOrder(), 0
        while (given := self._pipe.recv()) is not None:
            content, numbers, newest = given
            before = self.counts.read
            events, _ = events_of(content, self.counts) if content else ([], 0)
            if self.counts.read - before == len(events) == len(numbers):
                named = zip(numbers, events, strict=True)
            else:
                named = zip(range(len(events)), events, strict=True)
            self._places |= {id(event): (block, n) for n, event in named if not event.at % 1000}
            batch = order.add(events, newest)
            yield batch
            if self._places:
                for event in batch.items:
                    self._places.pop(id(event), None)
            block += 1
        yield order.rest()

    def place(self, event: Event) -> Place:
        return event_order(event), *self._places.get(id(event), (0, 0))


def _packed(outcome: Outcome) -> tuple[bool, bytes]:
    return isinstance(outcome, Decision), encode(outcome)


def _work(pipe: Connection, policy: Policy) -> None:
    gc.disable()
    placed = _Placed(pipe)
    try:
        for _, found in decide(PolicyIndex(policy), placed.batches()):
            pipe.send([(placed.place(event), list(map(_packed, outcomes))) for event, outcomes in found])
        pipe.send(placed.counts)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        os._exit(1)

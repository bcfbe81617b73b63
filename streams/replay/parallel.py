"""JSON lines replayed by several processes, each with its share of the clients: the same output, sooner.

A client's decisions depend on its own events and on how far the history has come. So the parent cuts the
history into blocks and gives each child its clients' lines of every block, with the latest time that any line
names; so each child orders, releases and forgets just as one process alone would. What they decide comes back
with its place in that order. A block is under way at most `_AHEAD` times, which bounds the memory.
"""

import gc
import os
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final
from zlib import crc32

from streams.engine.step import Outcome
from streams.errors import UnavailableError
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.counts import ReadCounts
from streams.replay.json_lines import blocks, events_of, when_who
from streams.replay.order import Batches, BlockOrder, event_order
from streams.replay.run import decide

_AHEAD: Final = 4
_MOST_CLIENTS: Final = 2_000_000

Place = tuple[tuple[int, str], int, int]
"""Order, block and line of an event: where it stands among all of its batch."""
Found = tuple[Place, list[Outcome]]


def replay_lines(
    policy: Policy, chunks: Iterable[bytes], counts: ReadCounts, *, jobs: int
) -> Iterator[list[Outcome]]:
    """What `decide` yields for these JSON lines, event by event."""
    context = get_context("spawn")
    pipes: list[Connection] = []
    children: list[Any] = []
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            child = context.Process(target=_child, args=(theirs, policy), daemon=True)
            child.start()
            theirs.close()
            pipes.append(ours)
            children.append(child)
        yield from _shared(pipes, chunks, counts)
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise UnavailableError(
            "a process of the replay ended before its time", try_next="--jobs 1"
        ) from error
    finally:
        for pipe in pipes:
            pipe.close()
        for child in children:
            child.terminate()
            child.join(5)


def _shared(pipes: list[Connection], chunks: Iterable[bytes], counts: ReadCounts) -> Iterator[list[Outcome]]:
    jobs = len(pipes)
    shares: dict[str, int] = {}
    under_way = 0
    for block in blocks(chunks):
        lines, clients, newest = when_who(block)
        parts: list[list[bytes]] = [[] for _ in pipes]
        numbers: list[list[int]] = [[] for _ in pipes]
        for number, (line, client) in enumerate(zip(lines, clients, strict=True)):
            share = shares.get(client)
            if share is None:
                if len(shares) > _MOST_CLIENTS:
                    shares.clear()
                share = shares[client] = crc32(client.encode("utf-8", "surrogatepass")) % jobs
            parts[share].append(line)
            numbers[share].append(number)
        for pipe, part, mine in zip(pipes, parts, numbers, strict=True):
            pipe.send((b"\n".join(part), mine, newest))
        under_way += 1
        if under_way > _AHEAD:
            yield from _answers(pipes)
            under_way -= 1
    for pipe in pipes:
        pipe.send(None)
    for _ in range(under_way + 1):
        yield from _answers(pipes)
    for pipe in pipes:
        counts.add(pipe.recv())


def _answers(pipes: list[Connection]) -> Iterator[list[Outcome]]:
    """What all children decided about one batch, in the order of its events."""
    found: list[Found] = []
    for pipe in pipes:
        found += pipe.recv()
    found.sort(key=lambda it: it[0])
    for _, outcomes in found:
        yield outcomes


class _Placed:
    """A child's blocks as batches; knows where each event that it handed out stood."""

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
                for number, event in zip(numbers, events, strict=True):
                    self._places[id(event)] = block, number
            else:
                self._places.update({id(event): (block, n) for n, event in enumerate(events)})
            batch = order.add(events, newest)
            yield batch
            for event in batch.items:
                del self._places[id(event)]
            block += 1
        yield order.rest()

    def place(self, event: Event) -> Place:
        return event_order(event), *self._places[id(event)]


def _child(pipe: Connection, policy: Policy) -> None:
    gc.disable()
    placed = _Placed(pipe)
    try:
        for _, found in decide(PolicyIndex(policy), placed.batches()):
            pipe.send([(placed.place(event), outcomes) for event, outcomes in found])
        pipe.send(placed.counts)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        os._exit(1)

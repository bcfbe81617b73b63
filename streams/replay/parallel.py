"""JSON lines replayed by several processes, each with its share of the clients: the same output, sooner.

A client's decisions depend on its own events and on how far the history has come. So the parent reads whose
each line is and when it happened, and gives each child its clients' lines of every block with the times of
the whole block; so each child orders, releases and forgets just as one process alone would. What they decide
comes back with its place in that order. A block is under way at most `_AHEAD` times, which bounds the memory.
"""

import gc
import threading
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import compress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

from streams.engine.step import Outcome
from streams.errors import GoawayError, UnavailableError
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.child import Child
from streams.replay.counts import ReadCounts
from streams.replay.expected import ANYTHING, Expected
from streams.replay.json_lines import (
    NOT_READ,
    WHEN,
    WHEN_WHO,
    blocks,
    events_and_lines,
    in_time,
    lines_of,
    looked_at,
)
from streams.replay.order import Batches, Block, BlockOrder, event_order, put_in_order
from streams.replay.run import decide
from streams.wire.frames import decode_decision, decode_warning, encode

_AHEAD: Final = 4
_MOST_JOBS: Final = 64
_IS: Final = [bytes(it == share for it in range(256)) for share in range(_MOST_JOBS)]
"""Of each child which of all it is, as a table for `bytes.translate`."""

Place = tuple[Any, ...]
"""Where an event stands in the whole history, or among those that are answered together with it."""
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
    children = [Child(_decide_lines, policy, expected) for _ in range(jobs)]
    yield from ended(children, _shared(children, chunks, counts, expected))


def ended(children: list[Child], decided: Iterator[list[Outcome]]) -> Iterator[list[Outcome]]:
    """The same; then the processes are ended. `UnavailableError` where one ended before its time."""
    try:
        yield from decided
    except (EOFError, OSError) as error:
        raise UnavailableError(
            "a process of the replay ended before its time", try_next="--jobs 1"
        ) from error
    finally:
        for child in children:
            child.end()


class _Answers:
    """A child's answers, read by a thread, so that neither waits for the other to read."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._given: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Any:
        found = self._given.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _read(self) -> None:
        try:
            while True:
                self._given.put(self._pipe.recv())
        except (EOFError, OSError) as error:
            self._given.put(error)


class _Part(NamedTuple):
    """A child's lines of a block."""

    content: bytes
    numbers: bytes
    """Of each line its number in the block, as an array of `I`; empty where times tell lines apart."""
    ats: bytes | None
    """Of each line its time, as an array of `q`; None where not all are known."""
    times: bytes
    """As of the whole block's `Stamps`, as an array of `q`; so are these three."""
    first: int
    reached: int
    strict: bool


def _shared(
    children: list[Child], chunks: Iterable[bytes], counts: ReadCounts, expected: Expected
) -> Iterator[list[Outcome]]:
    answers = [_Answers(child.pipe) for child in children]
    under_way = 0
    for content in blocks(chunks):
        parts = parts_of(content, len(children), counts, expected)
        for child, part in zip(children, parts, strict=True):
            child.pipe.send(part)
        under_way += 1
        if under_way > _AHEAD:
            yield from _answered(answers)
            under_way -= 1
    for child in children:
        child.pipe.send(None)
    for _ in range(under_way + 1):
        yield from _answered(answers)
    for it in answers:
        counts.add(it.next())


def parts_of(content: bytes, jobs: int, counts: ReadCounts, expected: Expected) -> Iterator[_Part]:
    """Each child's part of a block; what is set aside of it is counted."""
    content, found, stamps = in_time(content, WHEN_WHO, counts, expected)
    if found is None:
        _, stamps = looked_at(content, WHEN)
    lines = lines_of(content)
    times = array("q", stamps.times).tobytes()
    clients = map(_client, lines) if found is None else [it.client for it in found]
    whose = bytes([hash(client) % jobs for client in clients])
    for share in range(jobs):
        mine = whose.translate(_IS[share])
        yield _Part(
            b"\n".join((*compress(lines, mine), b"")),
            b"" if stamps.strict else array("I", compress(range(len(lines)), mine)).tobytes(),
            None if stamps.ats is None else array("q", compress(stamps.ats, mine)).tobytes(),
            times,
            stamps.first,
            stamps.reached,
            stamps.strict,
        )


def _client(line: bytes) -> str:
    """Empty where the line names none, or is none."""
    try:
        return WHEN_WHO.decode(line).client
    except NOT_READ:
        return ""


def _answered(answers: list[_Answers]) -> Iterator[list[Outcome]]:
    """What all children decided about one block, in the order of its events."""
    found: list[Found] = []
    for it in answers:
        given = it.next()
        if isinstance(given, GoawayError):
            raise given
        found += given
    found.sort(key=place_of)
    for _, outcomes in found:
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


class Placed:
    """A child's blocks as batches; knows where each event stood whose stamp and id do not say it."""

    def __init__(self, pipe: Connection, expected: Expected) -> None:
        self.counts = ReadCounts()
        self._expected = expected
        self.found: list[Found] = []
        """What was decided about the block that is under way."""
        self._pipe = pipe
        self._places: dict[int, tuple[int, int]] = {}

    def batches(self) -> Batches:
        order, number = BlockOrder(), 0
        part: _Part | None
        while (part := self._pipe.recv()) is not None:
            times = array("q", part.times)
            make = partial(self._events, part, number)
            yield from self._gone_through(order.add(Block(times, part.first, part.reached, make)))
            number += 1
        yield from self._gone_through(order.rest())

    def place(self, event: Event) -> Place:
        return event_order(event), *self._places.get(id(event), (0, 0))

    def _events(self, part: _Part, number: int) -> list[Event]:
        ats = None if part.ats is None else array("q", part.ats)
        events, lines = events_and_lines(part.content, ats, self.counts, self._expected)
        numbers = array("I", part.numbers)
        self._places |= {
            id(event): (number, numbers[line] if numbers else line)
            for event, line in zip(events, lines, strict=True)
            if not event.at % 1000
        }
        return events if part.strict else put_in_order(events)

    def _gone_through(self, batches: Batches) -> Batches:
        for batch in batches:
            yield batch
            if self._places:
                for event in batch.items:
                    self._places.pop(id(event), None)
        self._pipe.send(self.found)
        self.found = []


def _decide_lines(pipe: Connection, policy: Policy, expected: Expected) -> None:
    gc.disable()
    placed = Placed(pipe, expected)
    try:
        for _, found in decide(PolicyIndex(policy), placed.batches()):
            placed.found += [(placed.place(event), packed(outcomes)) for event, outcomes in found]
        pipe.send(placed.counts)
    except GoawayError as error:
        pipe.send(error)
        while pipe.recv() is not None:
            pass  # until it is heard, more is sent

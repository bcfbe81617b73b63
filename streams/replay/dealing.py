"""A block of JSON lines dealt out by client, to processes each of which judges its own.

Every process deals some of the blocks, so none of them waits for the one that would deal all. Whose a line is
depends on its client alone. With its lines, each gets the times of the whole block: so each orders, releases
and forgets just as one process alone would.
"""

from array import array
from collections.abc import Iterator
from functools import partial
from itertools import compress
from typing import Any, Final, NamedTuple

import msgspec

from streams.model.event import Event
from streams.replay.counts import ReadCounts
from streams.replay.exchange import Exchange, Told
from streams.replay.expected import Expected
from streams.replay.json_lines import (
    NOT_READ,
    WHEN,
    WHEN_WHO,
    events_and_lines,
    in_time,
    lines_of,
    looked_at,
)
from streams.replay.order import Batches, Block, BlockOrder, event_order, put_in_order

MOST_JOBS: Final = 64
_IS: Final = [bytes(it == share for it in range(256)) for share in range(MOST_JOBS)]
"""Of each process which of all it is, as a table for `bytes.translate`."""

Place = tuple[Any, ...]
"""Where an event stands in the whole history, or among those that are answered together with it."""


class Part(NamedTuple):
    """A process's lines of a block."""

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


_PART: Final = msgspec.msgpack.Decoder(Part)


def parts(content: bytes, jobs: int, counts: ReadCounts, expected: Expected) -> Iterator[Part]:
    """Each process's part of a block; what is set aside of it is counted.

    Whose a client is says its hash, which is the same in processes of one hash seed (`Child`).
    """
    content, found, stamps = in_time(content, WHEN_WHO, counts, expected)
    if found is None:
        _, stamps = looked_at(content, WHEN)
    lines = lines_of(content)
    times = array("q", stamps.times).tobytes()
    clients = map(_client, lines) if found is None else [it.client for it in found]
    whose = bytes([hash(client) % jobs for client in clients])
    for share in range(jobs):
        mine = whose.translate(_IS[share])
        yield Part(
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


class Hand:
    """What one of the processes is dealt, block by block; meanwhile it deals out its own share of them."""

    def __init__(
        self, exchange: Exchange, share: int, reader: int, counts: ReadCounts, expected: Expected
    ) -> None:
        """`reader`: as of `Exchange.heard`."""
        self._exchange = exchange
        self._reader = reader
        self._share = share
        self._counts = counts
        self._expected = expected
        self._parts: dict[int, Part] = {}
        """Those that are here already, by the number of their block."""

    def parts(self) -> Iterator[Part]:
        """Its part of each block, in their order."""
        number, blocks = 0, -1
        while number != blocks:
            # also where there is enough to do: others wait for what is to be dealt
            needed = number not in self._parts
            for told in self._exchange.heard(self._share, wait=needed, reader=self._reader):
                if told.block < 0:
                    blocks = told.first
                elif told.block % self._exchange.processes == self._share:
                    self._deal(told)
                else:
                    self._parts[told.block] = _PART.decode(self._exchange.content(told))
            if number in self._parts:
                yield self._parts.pop(number)
                number += 1

    def _deal(self, block: Told) -> None:
        content = self._exchange.content(block)
        end = block.first + block.size
        for share, part in enumerate(parts(content, self._exchange.processes, self._counts, self._expected)):
            if share == self._share:
                self._parts[block.block] = part
                continue
            told = self._exchange.lay(block.block, end, msgspec.msgpack.encode(part))
            self._exchange.tell(share, told)
            end = told.first + told.size


class Placed:
    """Parts as batches; knows where each event stood whose stamp and id do not say it."""

    def __init__(self, parts: Iterator[Part], counts: ReadCounts, expected: Expected) -> None:
        self._parts = parts
        self._counts = counts
        self._expected = expected
        self._places: dict[int, tuple[int, int]] = {}

    def blocks(self) -> Iterator[Batches]:
        """Of each part, and then of what is left, the batches that can be judged now; each is to be gone
        through before the next."""
        order = BlockOrder()
        for number, part in enumerate(self._parts):
            times = array("q", part.times)
            make = partial(self._events, part, number)
            yield self._noted(order.add(Block(times, part.first, part.reached, make)))
        yield self._noted(order.rest())

    def place(self, event: Event) -> Place:
        """Of an event of the batch that is under way."""
        return event_order(event), *self._places.get(id(event), (0, 0))

    def _events(self, part: Part, number: int) -> list[Event]:
        ats = None if part.ats is None else array("q", part.ats)
        events, lines = events_and_lines(part.content, ats, self._counts, self._expected)
        numbers = array("I", part.numbers)
        self._places |= {
            id(event): (number, numbers[line] if numbers else line)
            for event, line in zip(events, lines, strict=True)
            if not event.at % 1000
        }
        return events if part.strict else put_in_order(events)

    def _noted(self, batches: Batches) -> Batches:
        for batch in batches:
            yield batch
            if self._places:
                for event in batch.items:
                    self._places.pop(id(event), None)

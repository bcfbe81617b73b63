"""JSON lines in blocks → events, fast: a block at once, and line by line only where one cannot be read.

A block's times are read first, and its events when it is their turn (`order.Block`). The fast way accepts no
line that `decode_event` does not, and leaves to that what it has doubts about.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import le, lt
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import ClientPrefixes, parse_address
from streams.model.event import Event
from streams.model.instant import parse_instant
from streams.replay.counts import ReadCounts
from streams.replay.expected import ANYTHING, FUTURE, Expected, check_client
from streams.replay.order import Block, put_in_order, reached
from streams.wire.frames import decode_event
from streams.wire.instants import microseconds
from streams.wire.postfix import Ignored, Unreadable

_MOST_KNOWN: Final = 200_000
_LONGEST_LINE: Final = 1 << 20
NOT_READ: Final = (msgspec.MsgspecError, ValueError, RecursionError)

# an event whose instant is text at first and is then set: the wire codec's own way costs twice the rest
_TEXTUAL: Final[Any] = msgspec.defstruct(
    "_TextualEvent", [("at", str)], bases=(Event,), frozen=False, gc=False, kw_only=True
)
_EVENTS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_TEXTUAL)


class When(msgspec.Struct, gc=False):
    """What a line says of its time."""

    at: str


class WhenWho(When, gc=False):
    """And of whose it is."""

    client: str


WHEN: Final = msgspec.json.Decoder(When)
WHEN_WHO: Final = msgspec.json.Decoder(WhenWho)

W = TypeVar("W", bound=When)


_Known = dict[str, tuple[str, str]]
"""Canonical addresses with their clients, each one text however often it is read."""
_known: Final[dict[ClientPrefixes | None, _Known]] = {}
"""By the prefixes that say who the client is; without them it is taken for the address."""


class Stamps(NamedTuple):
    """The times of a block."""

    ats: Sequence[int] | None
    """Of each line; None where not every line has one."""
    times: Sequence[int]
    """These three as of `Block`."""
    first: int
    reached: int
    strict: bool
    """Whether each is after the one before."""


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a chunk brings; only the last may lack its line end.

    Of a line that is longer than any event is, the beginning is given, which is no event.
    """
    held, size = list[bytes](), 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join((*held, memoryview(chunk)[:cut]))
            held, size = [], 0
        if size < _LONGEST_LINE:
            held.append(chunk[cut:])
            size += len(chunk) - cut
    if size:
        yield b"".join(held)


def block_of_lines(content: bytes, counts: ReadCounts, expected: Expected = ANYTHING) -> Block:
    """The block's events, to be made when it is their turn; lines that are no events are counted then.

    Making them raises `PolicyError` where a client is not as `expected.prefixes` have it.
    """
    content, _, stamps = in_time(content, WHEN, counts, expected)
    make = partial(events_of, content, stamps, counts, expected)
    return Block(stamps.times, stamps.first, stamps.reached, make)


def in_time(
    content: bytes, decoder: "msgspec.json.Decoder[W]", counts: ReadCounts, expected: Expected
) -> tuple[bytes, list[W] | None, Stamps]:
    """The block without the lines that are stamped later than expected, which are counted; and what
    `looked_at` says of it."""
    found, stamps = looked_at(content, decoder)
    if not stamps.times or stamps.times[-1] <= expected.latest:
        return content, found, stamps
    lines = lines_of(content)
    kept = [line for line in lines if _when(line) <= expected.latest]
    counts.took(FUTURE, len(lines) - len(kept))
    content = b"\n".join((*kept, b""))
    return content, *looked_at(content, decoder)


def _when(line: bytes) -> int:
    """0 where the line has no time."""
    try:
        return int(parse_instant(WHEN.decode(line).at))
    except NOT_READ:
        return 0


def looked_at(content: bytes, decoder: "msgspec.json.Decoder[W]") -> tuple[list[W] | None, Stamps]:
    """What `decoder` finds in each line, and their times; None where it does not in every one."""
    try:
        found: list[W] = decoder.decode_lines(content)
        if len(found) == content.count(b"\n") + (not content.endswith(b"\n")):
            return found, _stamps(microseconds([it.at for it in found]))
    except NOT_READ:
        pass
    stamps = _stamps([at for line in lines_of(content) if (at := _when(line))])
    return None, stamps._replace(ats=None, first=0, strict=False)


def _stamps(ats: Sequence[int]) -> Stamps:
    if not ats:
        return Stamps(ats, ats, 0, 0, strict=True)
    if all(map(lt, ats, islice(ats, 1, None))):
        return Stamps(ats, ats, ats[0], reached(ats, ats), strict=True)
    if all(map(le, ats, islice(ats, 1, None))):
        return Stamps(ats, ats, ats[0], reached(ats, ats), strict=False)
    times = sorted(ats)
    return Stamps(ats, times, 0, reached(ats, times), strict=False)


def events_of(content: bytes, stamps: Stamps, counts: ReadCounts, expected: Expected) -> list[Event]:
    """The events of a block, put in order."""
    events, _ = events_and_lines(content, stamps.ats, counts, expected)
    return events if stamps.strict else put_in_order(events)


def events_and_lines(
    content: bytes, ats: Sequence[int] | None, counts: ReadCounts, expected: Expected
) -> tuple[list[Event], Sequence[int]]:
    """The events of lines whose times are `ats`, and the number of the line of each, from 0; `PolicyError`
    where a client is not as expected.

    Their `at` is a plain `int`, which the engine calculates with and is faster to make than an `Instant`;
    who encodes such an event gives it an `Instant` first (`pump.Shift.of`).
    """
    known = _known.setdefault(expected.prefixes, {})
    if ats is None:
        return _one_by_one(content, counts, known, expected)
    try:
        events = _EVENTS.decode_lines(content)
        try:
            _fill(events, ats, known, others=expected.prefixes is None)
        except KeyError:
            _learn(events, known, expected)
            _fill(events, ats, known, others=True)
    except NOT_READ:
        return _one_by_one(content, counts, known, expected)
    counts.read += len(events)
    counts.events += len(events)
    return events, range(len(events))


def _fill(events: list[Any], ats: Sequence[int], known: _Known, *, others: bool) -> None:
    """Times, addresses and clients; the same text for the same one is found faster in the engine's tables.

    `KeyError` where an address is not known, or, unless `others` are right too, has another client.
    """
    for event, at in zip(events, ats, strict=True):
        event.at = at
        event.address, client = known[event.address]
        if event.client == client:
            event.client = client
        elif not others:
            raise KeyError(client)


def _one_by_one(
    content: bytes, counts: ReadCounts, known: _Known, expected: Expected
) -> tuple[list[Event], list[int]]:
    events, numbers = list[Event](), list[int]()
    for number, line in enumerate(lines_of(content)):
        if not line or line.isspace():
            counts.took(Ignored("empty"))
            continue
        try:
            event = decode_event(line)
        except InvalidValueError as error:
            counts.took(Unreadable(error.what[:80]))
            continue
        _learn([event], known, expected)
        counts.took([event])
        events.append(event)
        numbers.append(number)
    return events, numbers


def lines_of(content: bytes) -> list[bytes]:
    """Lines without their ends; the last may lack it."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _learn(events: list[Any], known: _Known, expected: Expected) -> None:
    """`ValueError` where an address is not in canonical form, `PolicyError` where it has another client."""
    prefixes = expected.prefixes
    if len(known) > _MOST_KNOWN:
        known.clear()
    for address, client in {(it.address, it.client): None for it in events}:
        if address not in known:
            if parse_address(address) != address:
                raise ValueError(address)
            known[address] = address, address
            if prefixes is not None and (right := prefixes.client_of(address)) != address:
                known[address] = address, right
        if prefixes is not None and client != known[address][1]:
            for it in events:
                if (it.address, it.client) == (address, client):
                    check_client(it, expected)

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
from streams.model.client import parse_address
from streams.model.event import Event
from streams.model.instant import parse_instant
from streams.replay.counts import ReadCounts
from streams.replay.order import Block, put_in_order
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


_addresses: Final[dict[str, str]] = {}
"""Canonical addresses, each one text however often it is read."""


class Stamps(NamedTuple):
    """The times of a block."""

    ats: Sequence[int] | None
    """Of each line; None where not every line has one."""
    first: int
    """As of `Block`."""
    newest: int
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


def block_of_lines(content: bytes, counts: ReadCounts) -> Block:
    """The block's events, to be made when it is their turn; lines that are no events are counted then."""
    _, stamps = looked_at(content, WHEN)
    return Block(stamps.first, stamps.newest, partial(events_of, content, stamps, counts))


def looked_at(content: bytes, decoder: "msgspec.json.Decoder[W]") -> tuple[list[W] | None, Stamps]:
    """What `decoder` finds in each line, and their times; None where it does not in every one."""
    try:
        found: list[W] = decoder.decode_lines(content)
        if len(found) == content.count(b"\n") + (not content.endswith(b"\n")):
            return found, _stamps(microseconds([it.at for it in found]))
    except NOT_READ:
        pass
    newest = 0
    for line in lines_of(content):
        try:
            newest = max(newest, parse_instant(WHEN.decode(line).at))
        except NOT_READ:
            continue
    return None, Stamps(None, 0, newest, strict=False)


def _stamps(ats: Sequence[int]) -> Stamps:
    if not ats:
        return Stamps(ats, 0, 0, strict=True)
    if all(map(lt, ats, islice(ats, 1, None))):
        return Stamps(ats, ats[0], ats[-1], strict=True)
    in_order = all(map(le, ats, islice(ats, 1, None)))
    return Stamps(ats, ats[0] if in_order else 0, max(ats), strict=False)


def events_of(content: bytes, stamps: Stamps, counts: ReadCounts) -> list[Event]:
    """The events of a block, put in order."""
    events, _ = events_and_lines(content, stamps.ats, counts)
    return events if stamps.strict else put_in_order(events)


def events_and_lines(
    content: bytes, ats: Sequence[int] | None, counts: ReadCounts
) -> tuple[list[Event], Sequence[int]]:
    """The events of lines whose times are `ats`, and the number of the line of each, from 0.

    Their `at` is a plain `int`, which the engine calculates with and is faster to make than an `Instant`;
    who encodes such an event gives it an `Instant` first (`pump.Shift.of`).
    """
    if ats is None:
        return _one_by_one(content, counts)
    try:
        events = _EVENTS.decode_lines(content)
        try:
            _fill(events, ats)
        except KeyError:
            _learn_addresses({event.address for event in events})
            _fill(events, ats)
    except NOT_READ:
        return _one_by_one(content, counts)
    counts.read += len(events)
    counts.events += len(events)
    return events, range(len(events))


def _fill(events: list[Any], ats: Sequence[int]) -> None:
    """Times and addresses; the same text for the same address is found faster in the engine's tables."""
    known = _addresses
    for event, at in zip(events, ats, strict=True):
        event.at = at
        event.address = address = known[event.address]
        if event.client == address:
            event.client = address


def _one_by_one(content: bytes, counts: ReadCounts) -> tuple[list[Event], list[int]]:
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


def _learn_addresses(addresses: set[str]) -> None:
    """`ValueError` where one is not in canonical form."""
    if len(_addresses) > _MOST_KNOWN:
        _addresses.clear()
    for address in addresses:
        if parse_address(address) != address:
            raise ValueError(address)
        _addresses.setdefault(address, address)

"""JSON lines in blocks → events, fast: a block at once, and line by line only where one cannot be read.

The fast way accepts no line that `decode_event` does not, and leaves to that what it has doubts about.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import parse_address
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.replay.counts import ReadCounts
from streams.wire.frames import decode_event
from streams.wire.postfix import Ignored, Unreadable

_MOST_KNOWN: Final = 200_000
_LONGEST_LINE: Final = 1 << 20

# an event whose instant is text at first and is then set: the wire codec's own way costs twice the rest
_TEXTUAL: Final[Any] = msgspec.defstruct(
    "_TextualEvent", [("at", str)], bases=(Event,), frozen=False, gc=False, kw_only=True
)
_EVENTS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_TEXTUAL)
_seconds: Final[dict[str, int]] = {}
_addresses: Final[set[str]] = set()


class _WhenWho(msgspec.Struct, gc=False):
    at: str
    client: str


_WHEN_WHO: Final = msgspec.json.Decoder(_WhenWho)


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a chunk brings; only the last may lack its line end.

    Of a line that is longer than any event is, the beginning is given, which is no event.
    """
    held, size = list[bytes](), 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join((*held, chunk[:cut]))
            held, size = [], 0
        if size < _LONGEST_LINE:
            held.append(chunk[cut:])
            size += len(chunk) - cut
    if size:
        yield b"".join(held)


def events_of(block: bytes, counts: ReadCounts) -> tuple[list[Event], int]:
    """The events of a block in their order, and the latest time that any of its lines names.

    Lines that are no events are counted.
    """
    try:
        events = _EVENTS.decode_lines(block)
        ats = microseconds([event.at for event in events])
        _check({event.address for event in events})
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _one_by_one(block, counts)
    for event, at in zip(events, ats, strict=True):
        event.at = at
    counts.read += len(events)
    counts.events += len(events)
    return events, max(ats, default=0)


def when_who(block: bytes) -> tuple[Sequence[bytes], list[str], int]:
    """The lines of a block, the client of each, and the latest time that any names.

    Lines without a time and a client come with an empty client.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        found = _WHEN_WHO.decode_lines(block)
        if len(found) == len(lines):
            newest = max(microseconds([it.at for it in found]), default=0)
            return lines, [it.client for it in found], newest
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    clients, newest = [], 0
    for line in lines:
        try:
            it = _WHEN_WHO.decode(line)
            newest = max(newest, parse_instant(it.at))
            clients.append(it.client)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            clients.append("")
    return lines, clients, newest


def microseconds(texts: Sequence[str]) -> list[Instant]:
    """Instants of these texts, each as `parse_instant` reads it; `ValueError` where one is none."""
    tails = [text[20:] for text in texts]
    together = "".join(tails)
    if (
        len(together) == 7 * len(texts)
        and together.isascii()
        and together.count("Z") == len(texts)
        and together.replace("Z", "").isdigit()
    ):
        for _ in range(2):
            try:
                return [
                    Instant(_seconds[text[:20]] + int(tail[:6]))
                    for text, tail in zip(texts, tails, strict=True)
                ]
            except KeyError:
                _learn(texts)
    return [Instant(parse_instant(text)) for text in texts]


def _learn(texts: Sequence[str]) -> None:
    if len(_seconds) > _MOST_KNOWN:
        _seconds.clear()
    for second in {text[:20] for text in texts}:
        if second[19:] == ".":
            _seconds[second] = int(parse_instant(f"{second}000000Z"))


def _check(addresses: set[str]) -> None:
    """`ValueError` where one is not in canonical form."""
    unknown = addresses - _addresses
    if not unknown:
        return
    if len(_addresses) > _MOST_KNOWN:
        _addresses.clear()
    for address in unknown:
        if parse_address(address) != address:
            raise ValueError(address)
    _addresses.update(unknown)


def _one_by_one(block: bytes, counts: ReadCounts) -> tuple[list[Event], int]:
    found: list[Event] = []
    lines, _, newest = when_who(block)
    for line in lines:
        if not line or line.isspace():
            counts.took(Ignored("empty"))
            continue
        try:
            event = decode_event(line)
        except InvalidValueError as error:
            counts.took(Unreadable(error.what[:80]))
            continue
        counts.took([event])
        found.append(event)
    return found, newest

"""Where a history comes from: log files, compressed or not, standard input, events as JSON lines."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import IO, Any, Final

from streams.errors import InvalidValueError, UnavailableError
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.model.instant import Instant
from streams.replay.order import TimeOrder
from streams.wire.frames import decode_event
from streams.wire.lines import LineReader, RawLine
from streams.wire.postfix import Ignored, LogParser, Unreadable

_CHUNK: Final = 1 << 18
_MAGIC: Final[tuple[tuple[bytes, Any], ...]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)


@dataclass(slots=True)
class ReadCounts:
    """What became of the lines."""

    read: int = 0
    events: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    """Lines ignored on purpose, by reason."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Lines that could not be read, by reason."""

    def took(self, result: object, lines: int = 1) -> None:
        """Count one line's result."""
        self.read += lines
        if isinstance(result, Ignored):
            self.ignored[result.reason] = self.ignored.get(result.reason, 0) + lines
        elif isinstance(result, Unreadable):
            self.unreadable[result.reason] = self.unreadable.get(result.reason, 0) + lines
        elif isinstance(result, list):
            self.events += len(result)


TOO_LONG: Final = Unreadable("longer than a log line can be")


def chunks(file: Path) -> Iterator[bytes]:
    """The file's content, decompressed where it is gzip, bzip2 or xz; `-` is standard input."""
    try:
        with _opened(file) as opened:
            while chunk := opened.read1(_CHUNK) if hasattr(opened, "read1") else opened.read(_CHUNK):
                yield chunk
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnavailableError(f"{file}: cannot be read ({reason})", try_next=f"ls -l {file}") from error


def _opened(file: Path) -> AbstractContextManager[IO[bytes]]:
    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    with file.open("rb") as plain:
        start = plain.read(6)
    for magic, opener in _MAGIC:
        if start.startswith(magic):
            found: AbstractContextManager[IO[bytes]] = opener(file, "rb")
            return found
    return file.open("rb")


def raw_lines(parts: Iterable[bytes]) -> Iterator[RawLine]:
    """Lines with their offsets, in bounded memory."""
    reader = LineReader()
    for part in parts:
        yield from reader.feed(part)
    yield from reader.finish()


class LogSource:
    """Events of one log, in the order of its lines (`in_order`) or of its stamps (`in_time`)."""

    def __init__(
        self, *, zone: tzinfo, reference: Instant, prefixes: ClientPrefixes, counts: ReadCounts
    ) -> None:
        self._parser = LogParser(prefixes=prefixes, zone=zone, reference=reference)
        self._counts = counts

    def in_order(self, lines: Iterable[RawLine]) -> Iterator[list[Event] | Unreadable | Ignored]:
        """Each line's result, counted."""
        counts, parser = self._counts, self._parser
        for line in lines:
            result = TOO_LONG if line.too_long else parser.read(line.content, line.position)
            counts.took(result)
            yield result

    def in_time(self, lines: Iterable[RawLine]) -> Iterator[Event]:
        """Events in the order of their stamps, so that a log whose lines lie a little out of order, or
        several logs merged into one, decide the same as one in order."""
        counts, parser = self._counts, self._parser
        order: TimeOrder[tuple[Any, RawLine]] = TimeOrder()
        for line in lines:
            if line.too_long or not line.content or line.content.isspace():
                counts.took(TOO_LONG if line.too_long else parser.read(line.content, line.position))
                continue
            header = parser.header(line.content)
            if isinstance(header, Unreadable):
                counts.took(header)
                continue
            order.add(header.at, line.content, (header, line))
            for ready_header, ready in order.ready():
                yield from self._events(ready_header, ready)
        for ready_header, ready in order.rest():
            yield from self._events(ready_header, ready)

    def _events(self, header: Any, line: RawLine) -> list[Event]:
        result = self._parser.read_header(header, line.content, line.position)
        self._counts.took(result)
        return result if isinstance(result, list) else []


def json_events(lines: Iterable[RawLine], counts: ReadCounts) -> Iterator[Event]:
    """Events from JSON lines, such as `goaway parse` prints, in the order of their time."""
    order: TimeOrder[Event] = TimeOrder()
    for line in lines:
        if not line.content or line.content.isspace():
            counts.took(Ignored("empty"))
            continue
        try:
            event = decode_event(line.content)
        except InvalidValueError as error:
            counts.took(Unreadable(error.what[:80]))
            continue
        counts.took([event])
        order.add(event.at, event.id.encode(), event)
        yield from order.ready()
    yield from order.rest()


def events_in_time(
    file: Path, *, zone: tzinfo, reference: Instant, prefixes: ClientPrefixes, counts: ReadCounts
) -> Iterator[Event]:
    """The events of a log or of JSON lines, whichever the first line shows it to be, in order of time."""
    lines = raw_lines(chunks(file))
    first = next(lines, None)
    if first is None:
        return iter(())

    def again() -> Iterator[RawLine]:
        yield first
        yield from lines

    if first.content.lstrip().startswith(b"{") and b'"kind"' in first.content:
        return json_events(again(), counts)
    source = LogSource(zone=zone, reference=reference, prefixes=prefixes, counts=counts)
    return source.in_time(again())

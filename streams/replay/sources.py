"""Where a history comes from: log files, compressed or not, standard input, events as JSON lines.

Many files are one history: merged by time, whatever the order in which they are named. Logs are merged line
by line before they are parsed, so a session that goes on behind a rotation is one session.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from streams.errors import InvalidValueError
from streams.model.client import ClientPrefixes
from streams.model.event import FUTURE_US, Event
from streams.model.instant import Instant
from streams.replay.counts import ReadCounts
from streams.replay.expected import FUTURE, Expected
from streams.replay.extent import Extent
from streams.replay.files import CHUNK, chunks, even
from streams.replay.json_lines import block_of_lines, blocks
from streams.replay.order import (
    LATENESS_US,
    Batch,
    Batches,
    BlockOrder,
    Source,
    TimeOrder,
    event_order,
    merged,
)
from streams.wire.frames import decode_event
from streams.wire.lines import LineReader, RawLine
from streams.wire.postfix import Ignored, LogParser, Unreadable

__all__ = ["LogSource", "ReadCounts", "chunks", "events_in_time", "history", "raw_lines"]

TOO_LONG: Final = Unreadable("longer than a log line can be")

_LINES_AT_ONCE: Final = 2048
_LOOK_AT_LINES: Final = 100
"""Lines at the beginning of a file that are looked at to see what it is and when it begins."""

Read = tuple[Any, RawLine]
"""A line with its header."""


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
        self._latest = reference + FUTURE_US

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
        for header, line in self.read(lines):
            yield from self.events(header, line)

    def read(self, lines: Iterable[RawLine]) -> Iterator[Read]:
        """Lines that have a stamp, not after an hour from now, in the order of their stamps; the others are
        counted."""
        counts, parser = self._counts, self._parser
        order: TimeOrder[Read] = TimeOrder()
        for line in lines:
            if line.too_long or not line.content or line.content.isspace():
                counts.took(TOO_LONG if line.too_long else parser.read(line.content, line.position))
                continue
            header = parser.header(line.content)
            if isinstance(header, Unreadable) or header.at > self._latest:
                counts.took(header if isinstance(header, Unreadable) else FUTURE)
                continue
            order.add(header.at, line.content, (header, line))
            yield from order.ready()
        yield from order.rest()

    def events(self, header: Any, line: RawLine) -> list[Event]:
        """The events of a line, counted."""
        result = self._parser.read_header(header, line.content, line.position)
        self._counts.took(result)
        return result if isinstance(result, list) else []


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file of which the beginning was read."""

    parts: Iterator[bytes]
    json: bool
    begins: int
    first: bytes
    """Its first line, to tell files apart whatever their names."""


def history(
    files: Sequence[Path],
    *,
    zone: tzinfo,
    reference: Instant,
    prefixes: ClientPrefixes,
    counts: ReadCounts,
    extent: Extent | None = None,
    check_clients: bool = True,
) -> Batches:
    """The events of logs and of JSON lines, whichever each file shows itself to be, in order of time.

    A file that is named twice counts once. `reference` is now. `check_clients`: `PolicyError` where a JSON
    event's client is not what `prefixes` make of its address.
    """
    names = {str(file) if str(file) == "-" else str(file.resolve()): file for file in files}
    opened = [_opened(file, zone, reference, extent) for file in names.values()]
    opened.sort(key=lambda it: (it.begins, it.first))
    logs = [it for it in opened if not it.json]
    expected = Expected(reference + FUTURE_US, prefixes if check_clients else None)
    sources = [Source(it.begins, _json_batches(it.parts, counts, expected)) for it in opened if it.json]
    if logs:

        def source() -> LogSource:
            return LogSource(zone=zone, reference=reference, prefixes=prefixes, counts=counts)

        sources.append(Source(logs[0].begins, _log_batches(logs, source)))
    return sources[0].batches if len(sources) == 1 else merged(sources, event_order)


def only_json(file: Path, extent: Extent | None = None) -> Iterator[bytes] | None:
    """The file's content in chunks where it is JSON lines, else None; not for standard input."""
    with_start = _opened(file, UTC, Instant(0), extent)
    return with_start.parts if with_start.json else None


def _opened(file: Path, zone: tzinfo, reference: Instant, extent: Extent | None) -> _Opened:
    parts = chunks(file, extent)
    start = next(parts, b"")
    while start.count(b"\n") < _LOOK_AT_LINES and len(start) < CHUNK and (more := next(parts, b"")):
        start += more
    lines = [it for it in start.split(b"\n", _LOOK_AT_LINES)[:_LOOK_AT_LINES] if it and not it.isspace()]
    # any one line may be damaged, or its clock be wrong
    of_events = [it for it in lines if it.lstrip().startswith(b"{") and b'"kind"' in it]
    of_logs = [it for it in lines if it not in of_events and _when(it, False, zone, reference)]
    json = len(of_events) > len(of_logs)
    stamps = [_when(it, json, zone, reference) for it in (of_events if json else of_logs)]
    begins = min(filter(None, stamps), default=0)
    whole = chain([start], parts)
    first = lines[0] if lines else b""
    return _Opened(even(whole) if json else whole, json, max(0, begins - LATENESS_US), first)


def _when(line: bytes, json: bool, zone: tzinfo, reference: Instant) -> int:
    if json:
        try:
            return decode_event(line).at
        except InvalidValueError:
            return 0
    header = LogParser(zone=zone, reference=reference).header(line)
    return 0 if isinstance(header, Unreadable) else header.at


def _json_batches(parts: Iterable[bytes], counts: ReadCounts, expected: Expected) -> Batches:
    order = BlockOrder()
    for block in blocks(parts):
        yield from order.add(block_of_lines(block, counts, expected))
    yield from order.rest()


def _log_batches(logs: Sequence[_Opened], source: Any) -> Batches:
    """One parser for all, since sessions go on from file to file; a calendar for each, since years do not."""
    sources = [Source(it.begins, _line_batches(source().read(raw_lines(it.parts)))) for it in logs]
    lines = sources[0].batches if len(sources) == 1 else merged(sources, _line_order)
    reading: LogSource = source()
    for batch in lines:
        yield Batch([event for it in batch.items for event in reading.events(*it)], batch.upto)


def _line_order(read: Read) -> tuple[int, bytes]:
    at = read[0].at
    return at, read[1].content if at % 1000 else b""


def _line_batches(lines: Iterator[Read]) -> Iterator[Batch[Read]]:
    while some := list(islice(lines, _LINES_AT_ONCE)):
        yield Batch(some, max(some[0][0].at, some[-1][0].at))


def events_in_time(
    file: Path, *, zone: tzinfo, reference: Instant, prefixes: ClientPrefixes, counts: ReadCounts
) -> Iterator[Event]:
    """The events of a log or of JSON lines, whichever it shows itself to be, in order of time."""
    batches = history([file], zone=zone, reference=reference, prefixes=prefixes, counts=counts)
    return (event for batch in batches for event in batch.items)

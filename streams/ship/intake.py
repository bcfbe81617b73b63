"""Lines of one source → frames and dead letters, each line counted once."""

from collections.abc import Callable
from typing import Final, Protocol

from streams.model.deadletter import DeadLetter, dead_letter
from streams.model.instant import MICROSECONDS
from streams.ship.counts import ShipCounts
from streams.ship.framing import FrameBuilder
from streams.wire.lines import MAX_LINE_BYTES, LineReader, RawLine
from streams.wire.postfix import Ignored, LogParser, Result, Unreadable

MAX_AHEAD_S: Final = 3600
"""A line stamped further ahead of this machine's clock is a dead letter: one host with a wrong clock
must not move event time, and with it everybody's windows, into the future."""

_AHEAD: Final = Unreadable(f"stamped more than {MAX_AHEAD_S} s ahead of the clock here")


class Letters(Protocol):
    """Where dead letters go."""

    def __call__(self, letter: DeadLetter, /) -> None: ...


class Intake:
    """Fed with the bytes of one source, from `start` on."""

    def __init__(
        self,
        *,
        label: str,
        start: int,
        parser: LogParser,
        frames: FrameBuilder,
        letters: Letters,
        counts: ShipCounts,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        """`label` is the path that dead letters name. With a `wall_clock` (seconds since the epoch),
        lines stamped more than `MAX_AHEAD_S` ahead of it are dead letters."""
        self.parser = parser
        self.frames = frames
        self.offset = start
        """Where the next byte is expected."""
        self._label = label
        self._lines = LineReader(MAX_LINE_BYTES, start=start)
        self._letters = letters
        self._counts = counts
        self._wall_clock = wall_clock

    @property
    def position(self) -> int:
        """Where the first line begins that was not taken in yet."""
        return self._lines.position

    def feed(self, chunk: bytes, now: float) -> None:
        """Take in the next bytes; whole lines among them become events or dead letters."""
        self.offset += len(chunk)
        self._counts.bytes += len(chunk)
        self._take(self._lines.feed(chunk), now)

    def finish(self, now: float) -> None:
        """The source ends here: its last line counts, though it lacks its end."""
        self._take(self._lines.finish(), now)

    def _take(self, lines: list[RawLine], now: float) -> None:
        latest = None
        if self._wall_clock is not None:
            latest = int((self._wall_clock() + MAX_AHEAD_S) * MICROSECONDS)
        for line in lines:
            self._line(line, now, latest)

    def _line(self, line: RawLine, now: float, latest: int | None) -> None:
        counts, position = self._counts, line.position
        counts.read += 1
        if line.too_long:
            self._unreadable(position, f"longer than {MAX_LINE_BYTES} bytes", line.content)
            return
        read = self._read(line.content, position, latest)
        if isinstance(read, Ignored):
            counts.ignored[read.reason] += 1
        elif isinstance(read, Unreadable):
            self._unreadable(position, read.reason, line.content)
        else:
            counts.events += len(read)
            counts.last_event_at = read[-1].at
            self.frames.add(read, now)

    def _read(self, content: bytes, position: int, latest: int | None) -> Result:
        if latest is None or not content or content.isspace():
            return self.parser.read(content, position)
        header = self.parser.header(content)
        if isinstance(header, Unreadable):
            return header
        # asked before the parser remembers anything of it
        return _AHEAD if header.at > latest else self.parser.read_header(header, content, position)

    def _unreadable(self, position: int, reason: str, content: bytes) -> None:
        self._counts.unreadable += 1
        self._letters(dead_letter(self._label, position, reason, content))

"""A byte stream cut into lines, each with its offset, in bounded memory."""

from typing import Final, NamedTuple

MAX_LINE_BYTES: Final = 65_536


class RawLine(NamedTuple):
    """One line without its line end (`\\n` or `\\r\\n`)."""

    position: int
    """Byte offset of the line's first byte in the stream."""
    content: bytes
    too_long: bool
    """The line was longer than the limit: `content` is its beginning, the rest was skipped."""


class LineReader:
    """Fed with chunks of any size; yields whole lines.

    At most `max_bytes` of an unfinished line are held, however long it becomes.
    """

    def __init__(self, max_bytes: int = MAX_LINE_BYTES, *, start: int = 0) -> None:
        self._max = max_bytes
        self._start = start
        self._held = b""
        self._length = 0

    @property
    def position(self) -> int:
        """Offset of the first byte that no yielded line covers: where to resume reading."""
        return self._start

    def feed(self, chunk: bytes) -> list[RawLine]:
        """The lines that this chunk completes."""
        pieces = chunk.split(b"\n")
        last = pieces.pop()
        lines: list[RawLine] = []
        if pieces:
            self._hold(pieces[0])
            lines.append(self._end(terminator=1))
            start, longest = self._start, self._max
            for piece in pieces[1:]:
                length = len(piece)
                if length > longest:
                    lines.append(RawLine(start, piece[:longest], True))
                else:
                    lines.append(RawLine(start, piece.removesuffix(b"\r"), False))
                start += length + 1
            self._start = start
        self._hold(last)
        return lines

    def finish(self) -> list[RawLine]:
        """The unterminated last line, if there is one; the reader then stands behind it."""
        return [self._end(terminator=0)] if self._length else []

    def _hold(self, piece: bytes) -> None:
        self._length += len(piece)
        room = self._max - len(self._held)
        if room > 0 and piece:
            self._held += piece[:room]

    def _end(self, terminator: int) -> RawLine:
        too_long = self._length > self._max
        content = self._held if too_long else self._held.removesuffix(b"\r")
        line = RawLine(self._start, content, too_long)
        self._start += self._length + terminator
        self._held, self._length = b"", 0
        return line

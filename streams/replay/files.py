"""Files, compressed or not, and standard input: their bytes, and how far they are read."""

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Final

from streams.errors import UnavailableError
from streams.replay.extent import Extent

CHUNK: Final = 1 << 17
_MAGIC: Final[tuple[tuple[bytes, Any], ...]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)
_LOOK_AT: Final = max(len(magic) for magic, _ in _MAGIC)


def chunks(file: Path, extent: Extent | None = None) -> Iterator[bytes]:
    """The content, decompressed where it is gzip, bzip2 or xz, of a pipe too; `-` is standard input.

    `UnavailableError` where it cannot be read to its end.
    """
    try:
        with _raw(file) as raw:
            opened, before = _decompressed(raw), 0
            # a file gives whole pieces, what waits for somebody else what there is
            whole = opened is raw and raw.seekable()
            read = opened.read1 if hasattr(opened, "read1") and not whole else opened.read
            while chunk := read(CHUNK):
                if extent is not None:
                    now = raw.tell() if raw.seekable() else before + len(chunk)
                    extent.done += now - before
                    before = now
                yield chunk
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnavailableError(f"{file}: cannot be read ({reason})", try_next=f"ls -l {file}") from error


def even(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same content in pieces of `CHUNK` bytes, however a file, an archive or a pipe gave it: where things
    come late, what is decided depends on where it was cut."""
    held = bytearray()
    for part in parts:
        if not held and len(part) == CHUNK:
            yield part
            continue
        held += part
        while len(held) >= CHUNK:
            yield bytes(held[:CHUNK])
            del held[:CHUNK]
    if held:
        yield bytes(held)


def first_lines(file: Path, count: int) -> list[bytes]:
    """At most so many lines that are not empty, of what `chunks` gives, without their ends. A last line that
    has none counts where it is the only one: more of it may be written."""
    *whole, rest = next(even(chunks(file)), b"").split(b"\n")
    found = [line for it in whole if (line := it.rstrip(b"\r"))][:count]
    return found or [it for it in (rest.rstrip(b"\r"),) if it]


def is_file(file: Path) -> bool:
    """Whether it can be read again: not `-`, a pipe or a device. What is not there, or out of reach, counts
    as a file, so that opening it says so."""
    try:
        return str(file) != "-" and (file.is_file() or file.is_dir() or not file.exists())
    except OSError:
        return True


def size_of(files: list[Path]) -> int | None:
    """Bytes on disk of all of them; None where that cannot be known."""
    try:
        return sum(it.stat().st_size for it in files) if all(map(is_file, files)) else None
    except OSError as error:
        raise UnavailableError(
            f"{error.filename}: cannot be read ({error.strerror})", try_next=f"ls -l {error.filename}"
        ) from error


def _raw(file: Path) -> AbstractContextManager[IO[bytes]]:
    # standard input stays open: whether it is a terminal may be asked later
    return nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")


class _Begun:
    """A stream whose first bytes were read already, for those who cannot go back to them."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start = start
        self._rest: Any = rest

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end."""
        start, self._start = self._start[:size], self._start[size:]
        rest: bytes = self._rest.read1(size - len(start)) if len(start) < size else b""
        return start + rest


def _decompressed(raw: IO[bytes]) -> Any:
    begun = _Begun(start := raw.read(_LOOK_AT), raw)
    opener = next((it for magic, it in _MAGIC if start.startswith(magic)), None)
    return begun if opener is None else opener(begun, "rb")

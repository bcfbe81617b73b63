"""Files, compressed or not, and standard input: their bytes, and how far they are read."""

import bz2
import gzip
import lzma
import sys
from collections.abc import Iterator
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


def chunks(file: Path, extent: Extent | None = None) -> Iterator[bytes]:
    """The file's content, decompressed where it is gzip, bzip2 or xz; `-` is standard input."""
    try:
        with _raw(file) as raw:
            opened, before = _decompressed(raw, file), 0
            read = opened.read1 if hasattr(opened, "read1") else opened.read
            while chunk := read(CHUNK):
                if extent is not None:
                    now = raw.tell() if raw.seekable() else before + len(chunk)
                    extent.done += now - before
                    before = now
                yield chunk
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnavailableError(f"{file}: cannot be read ({reason})", try_next=f"ls -l {file}") from error


def size_of(files: list[Path]) -> int | None:
    """Bytes on disk of all of them; None where that cannot be known."""
    try:
        return None if any(str(file) == "-" for file in files) else sum(it.stat().st_size for it in files)
    except OSError as error:
        raise UnavailableError(
            f"{error.filename}: cannot be read ({error.strerror})", try_next=f"ls -l {error.filename}"
        ) from error


def _raw(file: Path) -> IO[bytes]:
    return sys.stdin.buffer if str(file) == "-" else file.open("rb")


def _decompressed(raw: IO[bytes], file: Path) -> Any:
    if str(file) == "-" or not raw.seekable():
        return raw
    start = raw.read(6)
    raw.seek(0)
    opener = next((it for magic, it in _MAGIC if start.startswith(magic)), None)
    return raw if opener is None else opener(raw, "rb")

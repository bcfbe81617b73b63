"""What makes a log file the one we read before: the beginning of its content, not its name or inode."""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from streams.model.decision import derived_id

HEAD_BYTES: Final = 1024
"""The first line, or as much of it, is what a file is recognised by."""

_OPENERS: Final[dict[str, Callable[[IO[bytes]], object]]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}

UNREADABLE_CONTENT: Final = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading a compressed file can raise."""


class Head(NamedTuple):
    """The beginning of a file: its digest, and how many bytes were digested."""

    fingerprint: str
    length: int


def head_of(beginning: bytes) -> Head | None:
    """The head of a file that starts with these bytes; None as long as its first line is incomplete."""
    line_end = beginning.find(b"\n", 0, HEAD_BYTES)
    if line_end >= 0:
        length = line_end + 1
    elif len(beginning) >= HEAD_BYTES:
        length = HEAD_BYTES
    else:
        return None
    return Head(fingerprint_of(beginning[:length]), length)


def fingerprint_of(content: bytes) -> str:
    """16 hexadecimal digits."""
    return blake2b(content, digest_size=8).hexdigest()


def same_head(descriptor: int, head: Head) -> bool:
    """Whether the open file still begins as it did."""
    return fingerprint_of(os.pread(descriptor, head.length, 0)) == head.fingerprint


def is_compressed(path: Path) -> bool:
    """By its name: `.gz`, `.xz`, `.bz2`."""
    return path.suffix in _OPENERS


def content_of(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """The file's content, decompressed where its name says so."""
    opener = _OPENERS.get(path.suffix)
    return cast(IO[bytes], opener(raw)) if opener else raw


def head_at(path: Path) -> Head | None:
    """The head of the file's content; None where there is none yet or it cannot be read."""
    try:
        with path.open("rb") as raw, content_of(path, raw) as content:
            return head_of(content.read(HEAD_BYTES))
    except UNREADABLE_CONTENT:
        return None


def source_of(path: str, fingerprint: str, generation: int = 0) -> str:
    """The source id of a file's content under the path it was followed as.

    It depends on nothing of the machine, so a file that was renamed, compressed, or shipped whole with
    `--once` after it was followed keeps its source. `generation` tells apart contents of one path that
    begin with the very same line.
    """
    return derived_id("log", path, fingerprint, *([str(generation)] if generation else []))

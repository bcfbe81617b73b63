"""One open log file, plain or compressed: read on, see whether it is still itself."""

import os
from pathlib import Path
from typing import IO, Final

from streams.ship.identity import (
    HEAD_BYTES,
    UNREADABLE_CONTENT,
    Head,
    content_of,
    head_of,
    is_compressed,
    same_head,
)

CHUNK: Final = 128 * 1024


class LogFile:
    """An open file whose first line is known; `offset` counts bytes of its content."""

    def __init__(self, path: Path, raw: IO[bytes], head: Head, offset: int) -> None:
        status = os.fstat(raw.fileno())
        self.path = path
        self.head = head
        self.device = status.st_dev
        self.inode = status.st_ino
        self.offset = offset
        self.compressed = is_compressed(path)
        self._raw = raw
        if self.compressed:
            self._content = content_of(path, raw)
            self._content.seek(offset)

    @classmethod
    def open(cls, path: Path, offset: int = 0) -> "LogFile | None":
        """The file at `path`; None where there is none, or its first line is not complete yet, or a
        compressed file's content ends before `offset`.

        Raises `OSError` for a file that is there and cannot be read.
        """
        try:
            raw = path.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        try:
            if is_compressed(path):
                head = head_of(content_of(path, raw).read(HEAD_BYTES))
                raw.seek(0)
            else:
                head = head_of(os.pread(raw.fileno(), HEAD_BYTES, 0))
            if head is not None:
                opened = cls(path, raw, head, offset)
                if not opened.compressed or opened._content.tell() == offset:
                    return opened
        except UNREADABLE_CONTENT as error:
            raw.close()
            raise OSError(f"{path}: {error}") from error
        raw.close()
        return None

    def read(self) -> bytes:
        """The next bytes, at most `CHUNK`; nothing at the end of what there is now."""
        if self.compressed:
            chunk = self._content.read(CHUNK)
        else:
            chunk = os.pread(self._raw.fileno(), CHUNK, self.offset)
        self.offset += len(chunk)
        return chunk

    def still_itself(self) -> bool:
        """Whether what was read is the file's content still: it is not shorter, nor begins differently.

        Asked after a read and answered yes, the bytes read belong to what was read before.
        """
        return self.compressed or (self.size >= self.offset and same_head(self._raw.fileno(), self.head))

    @property
    def size(self) -> int:
        """Bytes in the file now (of a compressed one: compressed)."""
        return os.fstat(self._raw.fileno()).st_size

    @property
    def modified_ns(self) -> int:
        """When it was last written to."""
        return os.fstat(self._raw.fileno()).st_mtime_ns

    @property
    def behind(self) -> int:
        """Bytes not read yet; 0 for a compressed file, which does not tell."""
        return 0 if self.compressed else max(0, self.size - self.offset)

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()

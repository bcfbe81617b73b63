"""Whole files, from the first line to the last, then done: `goaway ship --once`."""

import sys
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import IO, Final, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from streams.errors import UnavailableError
from streams.model.client import ClientPrefixes
from streams.model.instant import Instant
from streams.ship.counts import ShipCounts
from streams.ship.framing import Frame, FrameBuilder
from streams.ship.identity import UNREADABLE_CONTENT, content_of, fingerprint_of, head_of, source_of
from streams.ship.intake import Intake
from streams.ship.producer import Outbox
from streams.wire.postfix import LogParser

CHUNK: Final = 128 * 1024
LINGER_S: Final = 0.25
"""Nobody waits for these events: frames may fill."""

LogName = Path | Literal["-"]


class Meter:
    """A progress bar over the files' bytes (compressed ones as they lie on disk), with lines a second."""

    def __init__(self, files: Sequence[LogName], *, shown: bool) -> None:
        known = [file.stat().st_size for file in files if isinstance(file, Path) and file.exists()]
        self._total = sum(known) if len(known) == len(files) else None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task: TaskID = self._progress.add_task("shipping", total=self._total, pace="")
        self._before = 0
        self._started = time.monotonic()

    def __enter__(self) -> "Meter":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def at(self, file: str, bytes_read: int, lines: int) -> None:
        """So far in this file, and lines of all."""
        pace = lines / max(1e-3, time.monotonic() - self._started)
        self._progress.update(
            self._task,
            completed=self._before + bytes_read,
            description=file[-40:],
            pace=f"{pace:,.0f} lines/s",
        )

    def end_of(self, bytes_read: int) -> None:
        """The file is done."""
        self._before += bytes_read


class WholeFiles:
    """Ships files one after the other; each has a parser of its own."""

    def __init__(
        self,
        outbox: Outbox,
        counts: ShipCounts,
        *,
        partitions: int,
        zone: tzinfo,
        prefixes: ClientPrefixes,
        meter: Meter,
        room: Callable[[], None],
    ) -> None:
        """`room` returns when the outbox takes more, or raises."""
        self._outbox = outbox
        self._counts = counts
        self._partitions = partitions
        self._zone = zone
        self._prefixes = prefixes
        self._meter = meter
        self._room = room

    def ship(self, name: LogName) -> None:
        """Read one file to its end; `UnavailableError` names a file that cannot be read."""
        try:
            if name == "-":
                self._read("stdin", sys.stdin.buffer, sys.stdin.buffer, time.time(), whole_head=True)
                return
            with name.open("rb") as raw, content_of(name, raw) as content:
                self._read(str(name.absolute()), raw, content, name.stat().st_mtime, whole_head=False)
        except UNREADABLE_CONTENT as error:
            raise UnavailableError(
                f"{name} cannot be read ({getattr(error, 'strerror', None) or error})",
                try_next=f"ls -l {name}",
            ) from error

    def _read(
        self, label: str, raw: IO[bytes], content: IO[bytes], modified: float, *, whole_head: bool
    ) -> None:
        first = content.read(CHUNK)
        head = head_of(first)
        # a stream has no name of its own, so more of it than a line must tell it from another
        fingerprint = head.fingerprint if head and not whole_head else fingerprint_of(first)
        source = source_of(label, fingerprint)
        intake = Intake(
            label=label,
            start=0,
            parser=LogParser(
                prefixes=self._prefixes,
                zone=self._zone,
                reference=Instant(int(modified * 1e6)),
                source=source,
            ),
            frames=FrameBuilder(source, self._partitions, self._send, linger_s=LINGER_S),
            letters=self._outbox.send_letter,
            counts=self._counts,
        )
        read = getattr(content, "read1", content.read)  # a pipe's bytes as they come
        chunk = first
        while chunk:
            now = time.monotonic()
            intake.feed(chunk, now)
            intake.frames.flush_waiting(now)
            self._room()
            self._meter.at(label, _told(raw, intake), self._counts.read)
            chunk = read(CHUNK)
        intake.finish(time.monotonic())
        intake.frames.flush()
        self._meter.end_of(_told(raw, intake))

    def _send(self, frame: Frame) -> None:
        self._counts.frames += 1
        self._outbox.send_frame(frame)


def _told(raw: IO[bytes], intake: Intake) -> int:
    """Bytes read of the file as it lies on disk."""
    return raw.tell() if raw.seekable() else intake.offset

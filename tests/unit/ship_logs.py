"""A log that is written, rotated and truncated for real, and a shipper's reader run over it by hand."""

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streams.model.deadletter import DeadLetter
from streams.model.event import Event
from streams.model.instant import Instant, instant_of
from streams.ship.counts import ShipCounts
from streams.ship.follow import FollowedLog
from streams.ship.framing import Frame
from streams.ship.position import Place, load_place, save_place
from streams.wire.frames import decode_frame
from streams.wire.postfix import LogParser

PARTITIONS = 3
_START = datetime(2023, 3, 14, tzinfo=UTC)


def parser(source: str, reference: Instant) -> LogParser:
    """As the shipper makes it."""
    return LogParser(zone=UTC, reference=reference, source=source)


def log_line(number: int) -> bytes:
    """The nth line of a log, unlike every other; most are connects, some are ignored on purpose."""
    stamp = (_START + timedelta(microseconds=number * 1700)).isoformat(timespec="microseconds")
    pid, host = 1000 + number % 7, 1 + number % 23
    if number % 5 == 4:
        return f"{stamp} mx postfix/anvil[900]: statistics: max cache size {number} at Mar 14\n".encode()
    return f"{stamp} mx postfix/smtpd[{pid}]: connect from unknown[192.0.2.{host}]\n".encode()


def expected(lines: Sequence[bytes]) -> list[str]:
    """The ids of an uninterrupted read of one file that was never rotated."""
    reader = parser("", instant_of(_START + timedelta(days=1)))
    ids: list[str] = []
    for line in lines:
        read = reader.read(line.rstrip(b"\n"))
        if isinstance(read, list):
            ids += [event.id for event in read]
    return ids


_KEPT = 199
"""Rotated files; more than a shipper that is killed again and again ever falls behind by."""


class WrittenLog:
    """A log file and its rotated siblings, with modification times that tell their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        """Every line ever written, whole or begun."""
        self.line: Callable[[int], bytes] = log_line
        self._rest = b""
        self._clock_ns = 1_700_000_000 * 10**9

    def write(self, count: int, *, cut: int = 0) -> None:
        """Append lines; of the last one, leave `cut` bytes to the next write."""
        lines = [self.line(len(self.lines) + i) for i in range(count)]
        self.lines += lines
        content = self._rest + b"".join(lines)
        keep = len(content) - min(cut, len(content))
        self._append(content[:keep])
        self._rest = content[keep:]

    def complete(self) -> None:
        """Write what a cut left over."""
        if self._rest:
            self._append(self._rest)
            self._rest = b""

    def _append(self, content: bytes) -> None:
        with self.path.open("ab") as log:
            log.write(content)
        self._touch(self.path)

    def _touch(self, path: Path) -> None:
        self._clock_ns += 10**9
        os.utime(path, ns=(self._clock_ns, self._clock_ns))

    def _shift(self) -> Path:
        for number in range(_KEPT, 0, -1):
            for suffix in ("", ".gz"):
                old = self.path.with_name(f"{self.path.name}.{number}{suffix}")
                if old.exists():
                    old.rename(self.path.with_name(f"{self.path.name}.{number + 1}{suffix}"))
        return self.path.with_name(f"{self.path.name}.1")

    def rotate(self, *, create: bool = False) -> None:
        """Rename, as logrotate does without `copytruncate`."""
        if not self.path.exists():
            return
        self.complete()
        self.path.rename(self._shift())
        if create:
            self.path.touch()
            self._touch(self.path)

    def copy_and_truncate(self) -> None:
        """logrotate's `copytruncate`."""
        if not self.path.exists() or not self.path.stat().st_size:
            return
        self.complete()
        copy = self._shift()
        shutil.copyfile(self.path, copy)
        self._touch(copy)
        os.truncate(self.path, 0)
        self._touch(self.path)

    def compress(self, number: int = 1) -> None:
        """gzip a rotated file, keeping its time, as gzip does."""
        import gzip

        old = self.path.with_name(f"{self.path.name}.{number}")
        if not old.exists():
            return
        status = old.stat()
        new = old.with_name(f"{old.name}.gz")
        new.write_bytes(gzip.compress(old.read_bytes()))
        os.utime(new, ns=(status.st_mtime_ns, status.st_mtime_ns))
        old.unlink()


class Reading:
    """A shipper's reader whose frames are acknowledged at once; it can be killed and started again."""

    def __init__(self, path: Path, state: Path) -> None:
        self.path = path
        self.state = state
        self.frames: list[list[Frame]] = []
        """One list for each life."""
        self.letters: list[DeadLetter] = []
        self.counts = ShipCounts()
        self.now = 0.0
        self.log: FollowedLog
        self.start()

    def start(self, make_parser: Callable[[str, Instant], LogParser] = parser) -> None:
        """From the saved place."""
        self.frames.append([])
        self.log = FollowedLog(
            self.path,
            load_place(self.state, self.path),
            make_parser=make_parser,
            partitions=PARTITIONS,
            emit=self.frames[-1].append,
            letters=self.letters.append,
            counts=self.counts,
        )

    def kill(self) -> None:
        """What was not saved is forgotten."""
        self.log.close()
        self.start()

    def save(self) -> Place | None:
        """As after an acknowledgement."""
        place = self.log.place()
        if place is not None:
            save_place(self.state, place)
        return place

    def steps(self, count: int) -> None:
        """Some steps, a little time between them; the first place is saved at once."""
        for _ in range(count):
            before = self.log.offset
            self.log.step(self.now)
            self.now += 0.06
            if before < 0 <= self.log.offset:
                self.save()

    def to_the_end(self) -> None:
        """Until nothing moves for longer than a renamed file is waited for."""
        still = 0
        while still < 20:
            before = (self.counts.bytes, self.log.offset)
            self.steps(1)
            still = still + 1 if (self.counts.bytes, self.log.offset) == before else 0

    def events(self) -> list[Event]:
        """All events of all lives, in the order they were emitted."""
        return [e for life in self.frames for frame in life for e in decode_frame(frame.value)]

    def ids(self) -> set[str]:
        """Their ids."""
        return {event.id for event in self.events()}


def positions_grow(frames: Sequence[Frame]) -> None:
    """Within a partition a source's positions grow from frame to frame, and never fall inside one."""
    last: dict[tuple[str, int], int] = {}
    for frame in frames:
        positions = [event.position for event in decode_frame(frame.value)]
        assert positions == sorted(positions)
        assert positions[0] > last.get((frame.source, frame.partition), -1)
        last[frame.source, frame.partition] = positions[-1]

"""One followed path: through growth, rotation, truncation and restart, no line left out.

    waiting ──file with a first line──▶ reading ──end, and another file has the path──▶ waiting
                                           └──content replaced in place──▶ a copy of it, or waiting

A file is known by the beginning of its content (`identity`), so renaming, copying and compressing it
do not hide it.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from streams.model.instant import Instant
from streams.ship.counts import ShipCounts
from streams.ship.framing import Frame, FrameBuilder
from streams.ship.identity import UNREADABLE_CONTENT
from streams.ship.intake import Intake, Letters
from streams.ship.logfile import LogFile
from streams.ship.position import Place
from streams.ship.rotation import next_after
from streams.ship.succession import beginning, ended, moved, passed_over, rest_of
from streams.wire.postfix import LogParser

SETTLE_S: Final = 0.25
"""A renamed file is read this long beyond the first line of its successor: its last writer may lag."""

LOOK_EVERY_S: Final = 0.1
"""How often a file at its end, or one that is not there, is looked for by name."""

ParserMaker = Callable[[str, Instant], LogParser]
"""A parser for (source, reference): the reference is an instant at or after the file's first line."""

_log = logging.getLogger(__name__)


class FollowedLog:
    """Reads one path from its saved place on; `step` does a little and returns."""

    def __init__(
        self,
        path: Path,
        place: Place | None,
        *,
        make_parser: ParserMaker,
        partitions: int,
        emit: Callable[[Frame], None],
        letters: Letters,
        counts: ShipCounts,
    ) -> None:
        """`path` is absolute. `place` is where reading stopped before; None reads from the beginning."""
        self.path = path
        self._place = place
        self._make_parser = make_parser
        self._partitions = partitions
        self._emit = emit
        self._letters = letters
        self._counts = counts
        self._file: LogFile | None = None
        self._intake: Intake | None = None
        self._next_look = 0.0
        self._other_since: float | None = None
        self._said: set[str] = set()

    def step(self, now: float) -> bool:
        """Read at most one chunk; whether there is more to read at once. `now` is monotonic."""
        if self._file is None or self._intake is None:
            return self._look_for_file(now)
        file, intake = self._file, self._intake
        try:
            chunk = file.read()
            itself = file.still_itself()
        except UNREADABLE_CONTENT as error:
            if file.compressed:
                _log.error(
                    "%s is damaged after byte %d (%s); its rest is lost", file.path, file.offset, error
                )
                self._end(now)
            else:
                self._say_once("read", f"{file.path} cannot be read on ({error}); trying again")
            return False
        if not itself:
            self._replaced(file, intake, now)
            return True
        if chunk:
            intake.feed(chunk, now)
            if file.behind or file.compressed:
                intake.frames.flush_waiting(now)
                return True
            intake.frames.flush()
            return False
        return self._at_end(file, now)

    def place(self) -> Place | None:
        """Where a restart would have to go on: all before it was emitted. None before the first line."""
        file, intake, place = self._file, self._intake, self._place
        if file is None or intake is None or place is None:
            return place
        intake.frames.flush()
        read = moved(place, intake, file.modified_ns)
        self._place = msgspec.structs.replace(read, device=file.device, inode=file.inode)
        return self._place

    @property
    def offset(self) -> int:
        """Bytes read of the file that is open; changes whenever something was read."""
        return self._file.offset if self._file else -1

    @property
    def behind(self) -> int:
        """Bytes of the open file that are not read yet."""
        return self._file.behind if self._file else 0

    def close(self) -> None:
        """Let go of the file; nothing is emitted."""
        if self._file is not None:
            self._file.close()
        self._file = self._intake = None

    # waiting

    def _look_for_file(self, now: float) -> bool:
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY_S
        place = self._place
        try:
            if place is None:
                return self._open_new(self.path, None)
            if not place.ended:
                return self._open_rest(place)
            return self._open_new(next_after(place) or self.path, place)
        except OSError as error:
            self._say_once("open", f"{self.path} cannot be opened ({error.strerror or error}); waiting")
            return False

    def _open_rest(self, place: Place) -> bool:
        file = rest_of(place, place.position)
        if file is None:
            _log.error(
                "%s: the file that was read up to byte %d is gone or was truncated, and no rotated copy "
                "is in %s; what was written to it after that byte is not shipped",
                self.path,
                place.position,
                self.path.parent,
            )
            self._place = ended(place)
            return True
        if file.path != self.path:
            _log.info("%s goes on in %s, from byte %d", self.path, file.path.name, place.position)
        self._begin(file, place)
        return True

    def _open_new(self, path: Path, before: Place | None) -> bool:
        file = LogFile.open(path)
        if file is None:
            if not path.exists():
                self._say_once("missing", f"{path} is not there; waiting for it")
            return False
        self._begin(file, beginning(self.path, file, before))
        return True

    def _begin(self, file: LogFile, place: Place) -> None:
        self._said.clear()
        self._file, self._place, self._other_since = file, place, None
        parser = self._make_parser(place.source, Instant(file.modified_ns // 1000))
        if place.parser:
            parser.restore(place.parser)
        self._intake = Intake(
            label=str(self.path),
            start=place.position,
            parser=parser,
            frames=FrameBuilder(place.source, self._partitions, self._emit),
            letters=self._letters,
            counts=self._counts,
            wall_clock=time.time,
        )

    # reading

    def _at_end(self, file: LogFile, now: float) -> bool:
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY_S
        try:
            status = self.path.stat()
        except OSError:
            return False  # renamed, its successor not made yet; its writer may still write
        if (status.st_dev, status.st_ino) == (file.device, file.inode) or (
            status.st_size == 0 and (self._place is None or not passed_over(self._place, file.modified_ns))
        ):
            self._other_since = None
            return False
        if self._other_since is None:
            self._other_since = now
        if now - self._other_since < SETTLE_S:
            return False
        if not file.compressed and file.behind:
            return True
        self._end(now)
        return True

    def _replaced(self, file: LogFile, intake: Intake, now: float) -> None:
        """Truncated, or written anew, in place: a rotated copy may hold what was not read yet."""
        intake.frames.flush()
        read, place = intake.offset, self._place
        file.close()
        self._file = None
        if place is None:
            return
        self._place = place = moved(place, intake, place.modified_ns)
        copy = rest_of(place, read, besides=self.path)
        if copy is not None:
            _log.info("%s was truncated; its rest is read from %s", self.path, copy.path.name)
            self._file = copy
            return
        _log.warning(
            "%s was truncated after byte %d; lines written to it since it was last read, if any, are lost",
            self.path,
            read,
        )
        self._end(now)

    def _end(self, now: float) -> None:
        """The file gives no more: its last line counts, and what comes after it is next."""
        file, intake, place = self._file, self._intake, self._place
        if intake is not None and place is not None:
            intake.finish(now)
            intake.frames.flush()
            self._place = ended(moved(place, intake, file.modified_ns if file else place.modified_ns))
        self.close()
        self._next_look = 0.0

    def _say_once(self, about: str, text: str) -> None:
        if about not in self._said:
            self._said.add(about)
            _log.warning("%s", text)

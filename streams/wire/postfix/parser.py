"""The entry: one line in, its events out."""

from collections.abc import Callable
from datetime import tzinfo
from functools import lru_cache
from typing import Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.model.instant import Instant
from streams.wire.lines import MAX_LINE_BYTES
from streams.wire.postfix.handover import EXPIRY, expired
from streams.wire.postfix.line import Line
from streams.wire.postfix.memory import Memory
from streams.wire.postfix.postscreen import read_postscreen
from streams.wire.postfix.queue import read_cleanup, read_dnsblog, read_qmgr
from streams.wire.postfix.result import (
    ANVIL,
    EMPTY,
    NO_CLIENT,
    OTHER_PROGRAM,
    SYSLOG_REPEATS,
    Ignored,
    Result,
)
from streams.wire.postfix.smtpd import read_smtpd
from streams.wire.syslog import Header, SyslogReader, Unreadable

Reader = Callable[[Line], list[Event] | Ignored]

_DAEMONS: Final[dict[str, Reader | Ignored]] = {
    "smtpd": read_smtpd,
    "postscreen": read_postscreen,
    "dnsblog": read_dnsblog,
    "qmgr": read_qmgr,
    "cleanup": read_cleanup,
    "anvil": ANVIL,
}
_TOO_LONG: Final = Unreadable(f"{MAX_LINE_BYTES} bytes or more in one line")


@lru_cache(maxsize=1024)
def _route(tag: str) -> tuple[Reader | Ignored, str, str]:
    """What reads the lines of a tag; its instance (`postfix`, `postfix-out`) and its service."""
    instance, slash, service = tag.partition("/")
    if not instance.startswith("postfix"):
        return OTHER_PROGRAM, "", ""
    if not slash:
        return NO_CLIENT, instance, ""
    return _DAEMONS.get(service.rpartition("/")[2], NO_CLIENT), instance, service


class LogParser:
    """Reads one log in its order. Nothing in a line can raise.

    `zone` and `reference` date stamps without offset or year (see `streams.wire.calendar`); `source` is
    written into every event.
    """

    def __init__(
        self,
        *,
        prefixes: ClientPrefixes | None = None,
        zone: tzinfo,
        reference: Instant,
        source: str = "",
    ) -> None:
        self.source: Final = source
        self._prefixes = prefixes or ClientPrefixes()
        self._syslog = SyslogReader(zone, reference)
        self._memory = Memory()
        self._line = Line(self._memory, self._prefixes, source)

    def read(self, line: bytes, position: int = 0) -> Result:
        """The events of a line that begins at this byte of its source, or why there are none."""
        if not line or line.isspace():
            return EMPTY
        header = self.header(line)
        if isinstance(header, Unreadable):
            return header
        return self.read_header(header, line, position)

    def header(self, line: bytes) -> Header | Unreadable:
        """The first half of `read`: when and by whom. Lines must come in the order of their source."""
        return self._syslog.read(line.rstrip(b"\r\n")) if len(line) < MAX_LINE_BYTES else _TOO_LONG

    def read_header(self, header: Header, line: bytes, position: int) -> Result:
        """The second half of `read`; between the two, lines may be put in the order of their time."""
        reader, instance, service = _route(header.tag)
        if isinstance(reader, Ignored):
            if reader is OTHER_PROGRAM and "message repeated " in header.text[:30]:
                return SYSLOG_REPEATS
            return reader
        this = self._line
        this.begin(header, line.rstrip(b"\r\n"), instance, service, position)
        handovers = self._memory.handovers
        if handovers and header.at - next(iter(handovers.values()))[0].at > EXPIRY:
            ended = expired(this)
            outcome = reader(this)
            return ended if isinstance(outcome, Ignored) else ended + outcome
        return reader(this)

    def snapshot(self) -> dict[str, object]:
        """What is remembered, ready for JSON."""
        self._memory.calendar = self._syslog.snapshot()
        state: dict[str, object] = msgspec.to_builtins(self._memory)
        return state

    def restore(self, state: dict[str, object]) -> None:
        """Go on exactly where `snapshot` was taken, or `InvalidValueError`."""
        try:
            memory = msgspec.convert(state, Memory)
            self._syslog.restore(memory.calendar)
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidValueError(
                f"not a saved state of the log parser: {error}", try_next="remove the state to read anew"
            ) from error
        self._memory = memory
        self._line = Line(memory, self._prefixes, self.source)

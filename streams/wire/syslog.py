"""What stands before the message of a log line: when, on which host, by which program.

Read are classic syslog lines (RFC 3164 and Postfix's own `maillog_file`), ISO 8601 stamps, RFC 5424
and journald's JSON, each with or without a `<PRI>`.
"""

from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.instant import MICROSECONDS, Instant, instant_of
from streams.wire.calendar import CalendarState, LocalCalendar

_MAX_NAME: Final = 255
_FIRST_YEAR: Final = 1971
_LAST_YEAR: Final = 9998
"""Years beyond are no time of a log line; these are within RFC 3339 and the epoch in every zone."""
_LATEST: Final = 253_370_764_800 * MICROSECONDS
"""The end of `_LAST_YEAR`."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """The readable head of a line; all texts are printable and on one line."""

    at: Instant
    precise: bool
    """Whether the stamp tells less than a second."""
    host: str
    tag: str
    """`postfix/smtpd`, without process id."""
    pid: str
    """Digits, or empty where none was logged."""
    text: str


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that can't be read, and why."""

    reason: str


_DIGITS: Final = frozenset("0123456789")
_FRACTION: Final = frozenset(".,")
_NO_STAMP: Final = Unreadable("no time stamp that is known")
_CUT_SHORT: Final = Unreadable("the line ends before its message")
_NOT_JOURNAL: Final = Unreadable("JSON, but not an entry of journald")


def printable(text: str) -> str:
    """The text with each character that is not printable replaced by `?`, as Postfix does itself."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)


@lru_cache(maxsize=4096)
def _program(tag: str) -> tuple[str, str] | None:
    """`postfix/smtpd[123]:` → its name and process id; None where it does not end as a tag does."""
    if not tag.endswith(":"):
        return None
    name, bracket, pid = tag[:-1].partition("[")
    if bracket and not (pid.endswith("]") and pid[:-1].isascii() and pid[:-1].isdigit()):
        return name[:_MAX_NAME], ""
    return name[:_MAX_NAME], pid[:-1][:_MAX_NAME]


class SyslogReader:
    """Reads heads in the order of the stream, which tells the year and the autumn hour (see `calendar`).

    `zone` is the time zone of stamps without one; `reference` is an instant at or after the first line
    (now, or the file's modification time).
    """

    def __init__(self, zone: tzinfo, reference: Instant) -> None:
        self._calendar = LocalCalendar(zone, reference)
        self._iso_key = ""
        self._iso_second = 0

    def snapshot(self) -> CalendarState:
        """What a reader must know to go on from here."""
        return self._calendar.state

    def restore(self, state: CalendarState) -> None:
        """Go on where `snapshot` was taken."""
        self._calendar.state = state

    def read(self, line: bytes) -> Header | Unreadable:
        """The head of one line. Bytes that are not UTF-8 appear as `\\xNN`."""
        if line[:1] == b"\0":
            line = line.lstrip(b"\0")  # a file truncated under its writer begins with a hole
        if line[:1] == b"{":
            return self._journal(line)
        if line[:1] == b"<":
            line = line.replace(
                b" \xef\xbb\xbf", b" ", 1
            )  # RFC 5424 lets a byte order mark begin the message
        text = printable(line.decode("utf-8", "backslashreplace"))
        if text[:1] == "<":
            priority, closed, after = text[1:].partition(">")
            if closed and len(priority) <= 3 and priority.isdigit():
                return self._rfc5424(after[2:]) if after[:2] == "1 " else self._plain(after)
        return self._plain(text)

    def _plain(self, text: str) -> Header | Unreadable:
        """`STAMP host tag[pid]: message`."""
        at: Instant | None
        if text[:1] in _DIGITS:
            parts = text.split(" ", 3)
            stamp = parts[0]
            at = self._iso(stamp)
            precise = stamp[19:20] in _FRACTION
        else:
            if text[15:16] != " ":
                return _NO_STAMP
            parts = ["", *text[16:].split(" ", 2)]
            at = self._calendar.classic(text[:15])
            precise = False
        if at is None:
            return _NO_STAMP
        if len(parts) < 3:
            return _CUT_SHORT
        host = parts[1]
        if len(host) > _MAX_NAME:
            host = host[:_MAX_NAME]
        program = _program(parts[2])
        if program is None:
            return Header(at, precise, host, "", "", " ".join(parts[2:]))
        message = parts[3] if len(parts) > 3 else ""
        if message[:1] == " ":
            message = message.lstrip(" ")
        return Header(at, precise, host, program[0], program[1], message)

    def _rfc5424(self, text: str) -> Header | Unreadable:
        """`STAMP HOST APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]` (RFC 5424, section 6)."""
        parts = text.split(" ", 5)
        if len(parts) < 6:
            return _CUT_SHORT
        stamp, host, tag, pid, _, rest = parts
        at = self._iso(stamp)
        if at is None:
            return _NO_STAMP
        message = _after_structured_data(rest)
        number = pid[:_MAX_NAME] if pid.isascii() and pid.isdigit() else ""
        return Header(at, stamp[19:20] in _FRACTION, host[:_MAX_NAME], tag[:_MAX_NAME], number, message)

    def _iso(self, stamp: str) -> Instant | None:
        """An ISO 8601 stamp; one without an offset is local time."""
        if len(stamp) == 32 and stamp[19] == ".":
            fraction, key = stamp[20:26], stamp[:19] + stamp[26:]
            if fraction.isdigit() and fraction.isascii():
                if key != self._iso_key:
                    second = _second_of(key)
                    if second is None:
                        return None
                    self._iso_key, self._iso_second = key, second
                return Instant(self._iso_second + int(fraction))
        try:
            moment = datetime.fromisoformat(stamp) if "T" in stamp else None
            if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
                return None
            return self._calendar.local(moment) if moment.tzinfo is None else instant_of(moment)
        except (ValueError, OverflowError):
            return None

    def _journal(self, line: bytes) -> Header | Unreadable:
        """One entry of `journalctl -o json`."""
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Unreadable("not valid JSON")
        stamp = entry.get("__REALTIME_TIMESTAMP")
        text = _journal_text(entry.get("MESSAGE"))
        if not (isinstance(stamp, str) and stamp.isascii() and stamp.isdigit() and len(stamp) <= 18):
            return _NOT_JOURNAL
        at = int(stamp)
        if text is None or at > _LATEST:
            return _NOT_JOURNAL
        pid = _journal_text(entry.get("SYSLOG_PID")) or _journal_text(entry.get("_PID")) or ""
        return Header(
            Instant(at),
            True,
            (_journal_text(entry.get("_HOSTNAME")) or "")[:_MAX_NAME],
            (_journal_text(entry.get("SYSLOG_IDENTIFIER")) or "")[:_MAX_NAME],
            pid[:_MAX_NAME] if pid.isascii() and pid.isdigit() else "",
            text,
        )


@lru_cache(maxsize=1024)
def _second_of(stamp: str) -> int | None:
    """Microseconds of `2023-03-14T00:00:31+01:00`, or None."""
    try:
        moment = datetime.fromisoformat(stamp)
        return instant_of(moment) if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None
    except (ValueError, OverflowError, InvalidValueError):
        return None


def _after_structured_data(text: str) -> str:
    """What follows `-` or `[id name="value"]…`; a `\\]` in a value does not end it."""
    if not text.startswith("["):
        return text.partition(" ")[2]
    quoted = escaped = False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = quoted
        elif character == '"':
            quoted = not quoted
        elif character == "]" and not quoted and text[index + 1 : index + 2] != "[":
            return text[index + 2 :]
    return ""


def _journal_text(value: object) -> str | None:
    """A field of journald: a string, or an array of bytes where it is not printable UTF-8."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        try:
            return printable(bytes(value).decode("utf-8", "backslashreplace"))
        except (ValueError, TypeError):
            return None
    return None

"""Times and spans as a person types them: `7d`, `90m`, `2026-12-31`, `2026-12-31T18:00:00+01:00`."""

import re
from typing import Final

from streams.errors import InvalidValueError, UsageError
from streams.model.instant import MICROSECONDS, Instant, parse_instant, rfc3339

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"(?:\d{1,6}[smhdw])+", re.ASCII | re.IGNORECASE)
_PART: Final = re.compile(r"(\d+)([smhdw])", re.ASCII | re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LONGEST_S: Final = 100 * 366 * 86_400


def span_s(text: str, *, flag: str) -> int:
    """Seconds of `10m`, `1h30m`, `7d`; at least one, at most a century. `UsageError` names the flag."""
    seconds = 0
    if _SPAN.fullmatch(text):
        seconds = sum(int(count) * _UNITS_S[unit.lower()] for count, unit in _PART.findall(text))
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(f"{flag}: {text[:64]!r} is not a span of time", try_next=f"{flag} 10m, 12h or 7d")
    return seconds


def moment(text: str, now: int, *, flag: str, past: bool = False) -> Instant:
    """The instant of an RFC 3339 time, a date (its beginning in UTC), or a span from now.

    With `past` a span lies before now, and the instant may too; without it an instant that is over is a
    `UsageError`, since what expires then would never count.
    """
    if _SPAN.fullmatch(text):
        seconds = span_s(text, flag=flag)
        return Instant(now - seconds * MICROSECONDS if past else now + seconds * MICROSECONDS)
    try:
        found = parse_instant(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    except InvalidValueError as error:
        raise UsageError(
            f"{flag}: {text[:64]!r} is no time",
            try_next=f"{flag} 2026-12-31T18:00:00Z, 2026-12-31 or 7d",
        ) from error
    if not past and found <= now:
        raise UsageError(f"{flag}: {rfc3339(found)} is over; it is {rfc3339(now)}", try_next=f"{flag} 7d")
    return found

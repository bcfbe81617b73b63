"""Event time: microseconds since 1970-01-01T00:00:00Z, exact, written as RFC 3339 in UTC."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from streams.errors import InvalidValueError

MICROSECONDS: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_US: Final = timedelta(microseconds=1)
_TEXT_LENGTH: Final = len("2023-03-13T23:00:31.185246Z")


class Instant(int):
    """A point in event time, in microseconds since the epoch.

    A type of its own so that the wire codecs know to write it as text; arithmetic yields plain `int`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Instant({rfc3339(self)})"


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    """Microseconds of the UTC second written as `2023-03-13T23:00:31`."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (moment - _EPOCH) // _ONE_US


def instant_of(moment: datetime) -> Instant:
    """The instant of an aware `datetime`."""
    if moment.tzinfo is None:
        raise InvalidValueError(
            f"{moment.isoformat()} has no time zone", try_next="add Z or an offset such as +01:00"
        )
    return Instant((moment - _EPOCH) // _ONE_US)


def parse_instant(text: str) -> Instant:
    """Read RFC 3339: any offset, any number of fractional digits (beyond six they are cut off)."""
    if (
        len(text) == _TEXT_LENGTH
        and text[-1] == "Z"
        and text[19] == "."
        and text[20:26].isdigit()
        and text.isascii()
    ):
        try:
            return Instant(_second(text[:19]) + int(text[20:26]))
        except ValueError:
            pass
    try:
        moment = datetime.fromisoformat(text)
        return instant_of(moment)
    except (ValueError, OverflowError) as error:
        raise InvalidValueError(
            f"{text[:64]!r} is not an RFC 3339 time", try_next="write it as 2026-01-31T23:59:59Z"
        ) from error


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.")


def rfc3339(at: int) -> str:
    """`2023-03-13T23:00:31.185246Z`: always UTC, always six digits, so that texts sort as times do."""
    second, fraction = divmod(at, MICROSECONDS)
    return f"{_second_text(second)}{fraction:06d}Z"


def as_datetime(at: int) -> datetime:
    """The aware UTC `datetime` of an instant."""
    return _EPOCH + timedelta(microseconds=at)

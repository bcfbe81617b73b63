"""Which time a question is about: `--last`, `--day`, `--from` and `--to`, in a zone; and which addresses."""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Final, TypeVar

import click

from streams.cli.options import now, zone_option
from streams.cli.policy_when import span_s
from streams.errors import InvalidValueError, UsageError
from streams.model.client import Network, parse_network
from streams.model.instant import MICROSECONDS, Instant, as_datetime, instant_of

F = TypeVar("F", bound=Callable[..., Any])

_MINUTE_US: Final = 60 * MICROSECONDS
_HOUR_US: Final = 60 * _MINUTE_US
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})", re.ASCII)


def period_options(function: F) -> F:
    """`--last`, `--day`, `--from`, `--to`, `--timezone`"""
    options = (
        click.option(
            "--last", default="", metavar="SPAN", help="The time up to now: 30m, 24h, 7d (the default)."
        ),
        click.option("--day", default="", metavar="DAY", help="One day: 2026-11-01."),
        click.option(
            "--from",
            "start",
            default="",
            metavar="TIME",
            help="From here on: 2026-11-01 or 2026-11-01T08:00.",
        ),
        click.option("--to", "end", default="", metavar="TIME", help="Up to here, itself left out."),
        zone_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def period(
    last: str, day: str, start: str, end: str, zone: tzinfo, *, default: str = "7d"
) -> tuple[Instant, Instant]:
    """First instant of the period, and the first that is not in it any more.

    `--last` begins at a whole minute, from two days on at a whole hour, so that what is counted by minute
    and hour can answer.
    """
    if sum(map(bool, (last, day, start or end))) > 1:
        raise UsageError("--last, --day and --from/--to exclude one another", try_next="--last 24h")
    if day:
        first = _midnight(day, zone, flag="--day")
        try:
            following = date.fromisoformat(day) + timedelta(days=1)
        except OverflowError as error:
            raise UsageError(f"--day: no day follows {day}", try_next="--day 2026-11-01") from error
        return first, _midnight(following.isoformat(), zone, flag="--day")
    at = now()
    until = moment_in(end, zone, flag="--to") if end else Instant(at - at % _MINUTE_US + _MINUTE_US)
    if start:
        begins = moment_in(start, zone, flag="--from")
    else:
        seconds = span_s(last or default, flag="--last")
        grain = _MINUTE_US if seconds < 2 * 86_400 else _HOUR_US
        before = until - seconds * MICROSECONDS
        begins = Instant(max(0, before - before % grain))
    if begins >= until:
        raise UsageError("the period ends before it begins", try_next="--from 2026-11-01 --to 2026-11-02")
    return begins, until


def moment_in(text: str, zone: tzinfo, *, flag: str) -> Instant:
    """A date (its midnight) or a time; one that names no offset is of this zone."""
    try:
        moment = datetime.fromisoformat(text)
        return instant_of(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    except (ValueError, OverflowError, InvalidValueError) as error:
        raise UsageError(f"{flag}: {text[:64]!r} is no time", try_next=f"{flag} 2026-11-01T08:00") from error


def _midnight(text: str, zone: tzinfo, *, flag: str) -> Instant:
    try:
        if not _DAY.fullmatch(text):
            raise ValueError("not YYYY-MM-DD")
        return instant_of(datetime.fromisoformat(text).replace(tzinfo=zone))
    except (ValueError, OverflowError, InvalidValueError) as error:
        raise UsageError(f"{flag}: {text[:64]!r} is no day", try_next=f"{flag} 2026-11-01") from error


def month_of(text: str) -> tuple[Instant, Instant]:
    """The bounds of `YYYY-MM` in UTC."""
    found = _MONTH.fullmatch(text)
    if found is None or not 1 <= int(found.group(2)) <= 12 or not 1970 <= int(found.group(1)) <= 2298:
        raise UsageError(f"--month: {text[:64]!r} is no month", try_next="--month 2026-11")
    year, month = int(found.group(1)), int(found.group(2))
    following = f"{year + month // 12:04d}-{month % 12 + 1:02d}-01T00:00:00+00:00"
    return (
        instant_of(datetime.fromisoformat(f"{year:04d}-{month:02d}-01T00:00:00+00:00")),
        instant_of(datetime.fromisoformat(following)),
    )


def local(at: int, zone: tzinfo, *, seconds: bool = True) -> str:
    """An instant as people of that zone write it: `2026-11-01 08:00:00`."""
    moment = as_datetime(at).astimezone(zone).replace(tzinfo=None)
    return moment.isoformat(" ", "seconds" if seconds else "minutes")


def networks_of(texts: Iterable[str], command: str) -> tuple[Network, ...]:
    """Addresses and CIDRs as they were typed behind this command."""
    try:
        return tuple(map(parse_network, texts))
    except InvalidValueError as error:
        raise UsageError(error.what, try_next=f"{command} {error.try_next}") from error

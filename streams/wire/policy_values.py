"""Values of the policy's rows, each checked against its bounds. What is wrong is a placeless `RowError`."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address, summarize_address_range
from typing import Any, Final
from zoneinfo import ZoneInfo

from streams.errors import InvalidValueError, PolicyError
from streams.model.client import Network, parse_address, parse_network
from streams.model.instant import MICROSECONDS, Instant, instant_of, parse_instant, rfc3339

Row = dict[str, Any]
"""One entry of the policy as JSON has it, with the keys that were given and no others."""

MAX_TEXT: Final = 256
_SHOWN: Final = 64
_COMMANDS: Final = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_LATEST: Final = 10_413_792_000 * MICROSECONDS
"""2300-01-01: times on the wire lie between 1970 and 2299 (schemas/)."""
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_URL: Final = re.compile(
    r"https?://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?(?:[/?#][!-~]*)?"
)
_CLOCK: Final = re.compile(r"(\d\d):(\d\d)", re.ASCII)
_SCHEDULE_NAME: Final = re.compile(r"\w(?:[\w .-]{0,62}\w)?")


class RowError(PolicyError):
    """A row that cannot be read; `what` names the key, and whoever knows the place puts it before."""


def shown(value: object) -> str:
    """A wrong value as errors show it."""
    return repr(value)[:_SHOWN]


def only_known(row: Mapping[str, Any], known: Sequence[str]) -> None:
    """Every key of the row is one of these; one that is not is answered with its neighbour."""
    for key in row:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise RowError(f"{key[:_SHOWN]!r} is not known{advice}")


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number within these bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        words = {0: "zero or more, a whole number", 1: "positive, a whole number"}
        how = words.get(low, f"a whole number from {low}")
        raise RowError(f"{name} = {shown(value)} must be {how} {'up to' if low in words else 'to'} {high}")
    return value


def real(name: str, value: object, low: float, high: float) -> float:
    """A number within these bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RowError(f"{name} = {shown(value)} must be a number from {low:g} to {high:g}")
    return float(value)


def switch(name: str, value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise RowError(f"{name} = {shown(value)} must be true or false")
    return value


def commands(text: str) -> bool:
    """Whether it holds what a terminal would obey: control characters, line ends, changes of direction."""
    return _COMMANDS.search(text) is not None


def text(name: str, value: object, *, required: bool = False, most: int = MAX_TEXT) -> str:
    """A text within its bound, in one line, without what a terminal would obey."""
    if not isinstance(value, str) or len(value) > most or (required and not value):
        raise RowError(f"{name} = {shown(value)} must be a text of up to {most} characters")
    if commands(value):
        raise RowError(f"{name} = {shown(value)} has a line break or a control character")
    return value


def listed(name: str, value: object, most: int) -> list[Any]:
    """A list within its bound."""
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise RowError(f"{name} = {shown(value)} must be a list of up to {most}")
    return list(value)


def one_of(name: str, value: object, known: Sequence[str]) -> str:
    """One of these words."""
    if value not in known:
        raise RowError(f"{name} = {shown(value)} is none of {', '.join(known)}")
    return str(value)


def read_network(written: str) -> Network:
    """As `parse_network`; a range is refused with what is wrong with it, and the CIDRs that are meant."""
    try:
        return parse_network(written)
    except InvalidValueError as error:
        first, dash, last = (part.strip() for part in written.partition("-"))
        if not dash:
            raise
        what, meant = _range_as_meant(first, last)
        raise InvalidValueError(f"{written[:99]!r} {what}", try_next=meant) from error


def _range_as_meant(first: str, last: str) -> tuple[str, str]:
    """What is wrong with `first-last`, and how it is to be written; `203.0.113.5-10` ends at 203.0.113.10."""
    if last.isdigit() and "." in first:
        last = f"{first.rpartition('.')[0]}.{last}"
    try:
        low = ip_address(parse_address(first))
    except InvalidValueError:
        return "is not an address or CIDR", "192.0.2.7 or 192.0.2.0/24"
    try:
        high = ip_address(parse_address(last))
    except InvalidValueError:
        return f"is a range whose end {last[:_SHOWN]!r} is no address", "192.0.2.0/24"
    what = "is a range, not an address or CIDR"
    if low.version != high.version:
        return f"{what}, from IPv{low.version} to IPv{high.version}", "one range of each"
    if int(high) < int(low):
        low, high, what = high, low, "is a range that ends before it begins"
    return what, ", ".join(str(network) for network in summarize_address_range(low, high))


@lru_cache(maxsize=1 << 18)
def _network(written: str) -> Network:
    """Remembered: a key is read both for its spelling and for its value."""
    return read_network(written)


def network(name: str, value: object) -> Network:
    """An address or a CIDR; a range is refused with the CIDRs that cover it."""
    try:
        return _network(text(name, value, required=True))
    except InvalidValueError as error:
        raise RowError(f"{name} = {error.what}", try_next=error.try_next) from error


@lru_cache(maxsize=1 << 18)
def network_text(found: Network) -> str:
    """As keys and files have it: a single address without its length."""
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def instant(name: str, value: object) -> Instant:
    """A time with a zone, or a date (its beginning in UTC)."""
    try:
        if isinstance(value, datetime):
            found = instant_of(value)
        elif isinstance(value, date):
            found = parse_instant(f"{value.isoformat()}T00:00:00Z")
        elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            found = parse_instant(f"{value}T00:00:00Z")
        elif isinstance(value, str):
            found = parse_instant(value)
        else:
            raise RowError(f"{name} = {shown(value)} must be a time such as 2026-12-31T23:59:59Z")
    except InvalidValueError as error:
        raise RowError(f"{name}: {error.what}", try_next=error.try_next) from error
    if not 0 <= found < _LATEST:
        raise RowError(f"{name} = {shown(str(value))} must be a time from 1970 to 2299")
    return found


def minute(name: str, value: object) -> int:
    """`HH:MM` up to `24:00` as minutes after midnight."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else 1441
    if minutes > 1440:
        raise RowError(f"{name} = {shown(value)} must be a time of day such as '22:00'")
    return minutes


def clock(minutes: int) -> str:
    """Minutes after midnight as `HH:MM`."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def timezone(name: str, value: object) -> str:
    """A name of the IANA database."""
    zone = text(name, value, required=True, most=64)
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise RowError(f"{name} = {shown(zone)} is no time zone; write it as Europe/Berlin") from error
    return zone


def domain(name: str, value: object) -> str:
    """A host name (RFC 1123, 2.1) in lower case, short enough for 32 nibbles before it (RFC 5782, 2.4)."""
    found = text(name, value, required=True).lower().removesuffix(".")
    if len(found) > 189 or not _HOST.fullmatch(found):
        raise RowError(f"{name} = {shown(value)} must be a host name such as zen.spamhaus.org")
    return found


def page(name: str, value: object) -> str:
    """A page on the web, or nothing."""
    found = text(name, value)
    if found and not _URL.fullmatch(found):
        raise RowError(f"{name} = {shown(value)} must be an address that begins with https:// or http://")
    return found


def schedule_name(name: str, value: object) -> str:
    """Letters, digits, spaces, `.`, `_` and `-`, up to 64: it is part of a key."""
    found = text(name, value, required=True, most=64)
    if not _SCHEDULE_NAME.fullmatch(found):
        raise RowError(f"{name} = {shown(value)} must be of letters, digits, spaces, '.', '_' and '-'")
    return found


def canonical_row(row: Mapping[str, Any]) -> Row:
    """The row with its times as text in UTC, so that equal rows are written alike."""
    found = dict(row)
    for name in ("expires", "until"):
        if found.get(name) is not None:
            found[name] = rfc3339(instant(name, found[name]))
    return found

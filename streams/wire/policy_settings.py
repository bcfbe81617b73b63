"""The policy's tables that stand once (`[limits]`, `[greylist]`, …): rows read into values.

A reader takes a name (here empty: an entry is the table) and the row; it raises a `RowError` without place.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import ClientPrefixes
from streams.model.modules import TOPICS_OF_NOTICE, VIOLATIONS, Greylist, Notify, Protocol, Reputation
from streams.model.policy import Limits, Replies
from streams.wire import policy_values as v
from streams.wire.policy_values import Row, RowError

T = TypeVar("T", Limits, Reputation, Greylist, Protocol)

_MAX: Final = 10_000_000
_MAX_IDLE_S: Final = 43_200
"""A restarted worker counts twice this time again, and decisions are kept uncompacted for a day."""
_DAY_S: Final = 86_400
_KEPT_S: Final = 2_592_000
"""Decisions are kept for 30 days: what should hold longer would end with a restart."""

RANGES: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("concurrent_connections", "requests_per_minute", "connections_per_minute"), (1, _MAX)),
    **dict.fromkeys(("cool_down_s", "cool_down_max_s"), (1, _MAX)),
    "cool_down_growth": (1, 100),
    "repeat_within_s": (0, _MAX),
    "session_idle_s": (1, _MAX_IDLE_S),
    "warn_at": (0, 1),
    # [reputation]
    "threshold": (1, 10_000),
    "timeout_ms": (10, 30_000),
    "concurrency": (1, 10_000),
    **dict.fromkeys(("ttl_min_s", "ttl_max_s"), (1, 604_800)),
    "wait_ms": (0, 30_000),
    "partners_every_s": (1, 604_800),
    "health_every_s": (1, _DAY_S),
    # [greylist]
    "delay_s": (1, _DAY_S),
    "retry_window_s": (1, _DAY_S),
    "learnt_s": (1, _KEPT_S),
    "no_retry_count": (1, 256),
    "no_retry_after_s": (1, _DAY_S),
    "no_retry_block_s": (1, _KEPT_S),
    "ipv4_prefix": (8, 32),
    "ipv6_prefix": (16, 128),
    "pool_clients": (0, 100),
    # [protocol], whose threshold has the bounds of the other
    "window_s": (1, _DAY_S),
    "block_s": (1, _KEPT_S),
    # [notify]
    "digest_s": (0, _DAY_S),
    "per_client_per_hour": (1, 10_000),
}
"""Key → least and most."""
MAX_RESOLVERS: Final = 16

LIMITS: Final = Limits.__struct_fields__
RULES: Final = (
    *("rate", "reputation", "greylist", "protocol"),
    *("concurrent_connections", "connections_per_minute", "requests_per_minute", "no_retry"),
    *VIOLATIONS.values(),
)
"""What `[shadow]` may name: triggers, and rules of theirs."""
_STATUS: Final = re.compile(r"5\.\d{1,3}\.\d{1,3}", re.ASCII)
_RESOLVER: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?)(?::\d{1,5})?", re.ASCII)


def limit_values(row: Mapping[str, Any]) -> dict[str, int | float]:
    """What the row overrides of `[limits]`."""
    return {name: _number(Limits(), name, row[name]) for name in LIMITS if name in row}


def with_limits(base: Limits, overrides: Mapping[str, int | float]) -> Limits:
    """`base` with these, or `RowError` where they do not go together."""
    limits = msgspec.structs.replace(base, **overrides) if overrides else base
    if limits.cool_down_growth > 1 and limits.cool_down_max_s < limits.cool_down_s:
        raise RowError(f"cool_down_max_s = {limits.cool_down_max_s} is under cool_down_s")
    return limits


def _number(base: msgspec.Struct, name: str, value: object) -> Any:
    """The value of this key: a switch, a whole number or a number, as the key's default is."""
    default = getattr(base, name)
    if isinstance(default, bool):
        return v.switch(name, value)
    low, high = RANGES[name]
    if isinstance(default, float):
        return v.real(name, value, low, high)
    return v.whole(name, value, int(low), int(high))


def _plain(base: T, row: Row, also: Mapping[str, Any] | None = None) -> T:
    """`base` with what the row says; values of `also` are read already."""
    v.only_known(row, base.__struct_fields__)
    read = {name: _number(base, name, row[name]) for name in row if also is None or name not in also}
    return msgspec.structs.replace(base, **read, **(also or {}))


def limits(_: str, row: Row) -> Limits:
    return with_limits(_plain(Limits(), row), {})


def clients(_: str, row: Row) -> ClientPrefixes:
    v.only_known(row, ("ipv4_prefix", "ipv6_prefix"))
    lengths = {"ipv4_prefix": 32, "ipv6_prefix": 64} | row
    for name, value in lengths.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise RowError(f"{name} = {v.shown(value)} must be a whole number")
    try:
        return ClientPrefixes(ipv4=lengths["ipv4_prefix"], ipv6=lengths["ipv6_prefix"])
    except InvalidValueError as error:
        raise RowError(error.what) from error


def replies(_: str, row: Row) -> Replies:
    v.only_known(row, Replies.__struct_fields__)
    for name, value in row.items():
        if name.endswith("_code"):
            if isinstance(value, bool) or not isinstance(value, int) or not 500 <= value <= 599:
                raise RowError(f"{name} = {v.shown(value)} must be from 500 to 599")
        elif name == "enhanced_status":
            if not isinstance(value, str) or not _STATUS.fullmatch(value):
                raise RowError(f"{name} = {v.shown(value)} must be a status such as '5.7.1' (RFC 3463)")
        elif not (v.text(name, value, required=True).isascii() and value.isprintable()):
            raise RowError(f"{name} must be printable ASCII (RFC 5321, 4.2)")
    return Replies(**row)


def reputation(_: str, row: Row) -> Reputation:
    also = {}
    if "resolvers" in row:
        names = v.listed("resolvers", row["resolvers"], MAX_RESOLVERS)
        for name in names:
            if not isinstance(name, str) or not _RESOLVER.fullmatch(name):
                raise RowError(f"resolvers = {v.shown(name)} must be HOST or HOST:PORT")
        also["resolvers"] = tuple(names)
    found = _plain(Reputation(), row, also)
    if found.ttl_min_s > found.ttl_max_s:
        raise RowError(f"ttl_min_s = {found.ttl_min_s} is over ttl_max_s")
    return found


def greylist(_: str, row: Row) -> Greylist:
    found = _plain(Greylist(), row)
    if found.retry_window_s <= found.delay_s:
        raise RowError(f"retry_window_s = {found.retry_window_s} must be over delay_s: nobody could pass")
    if found.no_retry_after_s <= found.delay_s:
        raise RowError(f"no_retry_after_s = {found.no_retry_after_s} must be over delay_s")
    return found


def protocol(_: str, row: Row) -> Protocol:
    return _plain(Protocol(), row)


def notify(_: str, row: Row) -> Notify:
    v.only_known(row, Notify.__struct_fields__)
    changed: dict[str, Any] = {}
    for name, value in row.items():
        if name == "about":
            about = v.listed(name, value, len(TOPICS_OF_NOTICE))
            changed[name] = tuple(v.one_of(name, it, TOPICS_OF_NOTICE) for it in about)
        elif name == "timezone":
            changed[name] = v.timezone(name, value)
        elif name.startswith("quiet_"):
            changed[name] = value if value == "" else v.clock(v.minute(name, value) % 1440)
        else:
            changed[name] = _number(Notify(), name, value)
    found = Notify(**changed)
    if bool(found.quiet_from) != bool(found.quiet_to):
        raise RowError(
            "quiet_from and quiet_to go together: set both or neither",
            try_next="both in one: goaway policy set notify.quiet_from 22:00 notify.quiet_to 06:00",
        )
    return found


def shadow(_: str, row: Row) -> tuple[str, ...]:
    v.only_known(row, ("rules",))
    rules = v.listed("rules", row.get("rules", []), len(RULES))
    return tuple(sorted({v.one_of("rules", rule, RULES) for rule in rules}))

"""Quiet hours, in the civil time of `[notify] timezone`. Pure."""

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from streams.model.instant import MICROSECONDS, as_datetime
from streams.model.modules import Notify

_MINUTE_US: Final = 60 * MICROSECONDS


def is_quiet(policy: Notify, at: int) -> bool:
    """Whether `at` lies in quiet hours: `quiet_from` ≤ the clock on the wall < `quiet_to`, over midnight too.

    Both must be given and differ. What the clock shows counts: an hour that autumn repeats is quiet twice,
    one that spring skips never comes.
    """
    start, end = policy.quiet_from, policy.quiet_to
    if not start or not end or start == end:
        return False
    minute = _wall_clock(at // _MINUTE_US, policy.timezone)
    if _minutes(start) < _minutes(end):
        return _minutes(start) <= minute < _minutes(end)
    return minute >= _minutes(start) or minute < _minutes(end)


def _minutes(clock: str) -> int:
    """`HH:MM` as minutes after midnight."""
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=64)
def _wall_clock(minute: int, timezone: str) -> int:
    local = as_datetime(minute * _MINUTE_US).astimezone(ZoneInfo(timezone))
    return local.hour * 60 + local.minute

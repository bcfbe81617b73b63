"""Limits by calendar: when a `[[schedules]]` entry is in force, in the civil time of its zone."""

from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from streams.model.client import Network
from streams.model.instant import MICROSECONDS, as_datetime

_MINUTE_US: Final = 60 * MICROSECONDS


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[schedules]]` entry. What it leaves out is no condition; empty lists mean every day."""

    name: str
    timezone: str = "UTC"
    """A name of the IANA database."""
    months: tuple[int, ...] = ()
    """1 to 12."""
    days: tuple[int, ...] = ()
    """Days of the month, 1 to 31; -1 is the month's last day, -2 the one before, down to -31."""
    weekdays: tuple[int, ...] = ()
    """0 (Monday) to 6."""
    from_minute: int = 0
    """Minutes after midnight, 0 to 1439."""
    to_minute: int = 1440
    """Minutes after midnight, 1 to 1440. At or before `from_minute`: the day after; such a night belongs to
    the day on which it begins."""
    networks: tuple[Network, ...] = ()
    """`[[networks]]` entries that it changes; empty: `[limits]`, and networks where they follow it."""
    overrides: tuple[tuple[str, int | float], ...] = ()
    """Keys of `Limits` and the values that stand meanwhile, sorted by key."""


class Calendar:
    """The schedules of a policy, asked for an instant."""

    def __init__(self, schedules: tuple[Schedule, ...]) -> None:
        self._schedules = schedules
        self._minute = -1
        self._active: tuple[Schedule, ...] = ()

    def active(self, at: int) -> tuple[Schedule, ...]:
        """Those in force at this instant, in the order of the policy."""
        if not self._schedules:
            return ()
        minute = at - at % _MINUTE_US
        if minute != self._minute:
            moment = as_datetime(minute)
            self._active = tuple(it for it in self._schedules if in_force(it, moment))
            self._minute = minute
        return self._active


def in_force(schedule: Schedule, moment: datetime) -> bool:
    """Whether the schedule is in force in the minute of this aware moment."""
    local = moment.astimezone(ZoneInfo(schedule.timezone))
    minute = local.hour * 60 + local.minute
    start, end = schedule.from_minute, schedule.to_minute
    if start < end:
        return start <= minute < end and _of_day(schedule, local.date())
    if minute >= start:
        return _of_day(schedule, local.date())
    return minute < end and _of_day(schedule, local.date() - timedelta(days=1))


def _of_day(schedule: Schedule, day: date) -> bool:
    length = monthrange(day.year, day.month)[1]
    return (
        (not schedule.months or day.month in schedule.months)
        and (not schedule.weekdays or day.weekday() in schedule.weekdays)
        and (not schedule.days or day.day in schedule.days or day.day - length - 1 in schedule.days)
    )

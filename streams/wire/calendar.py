"""From a local time without year or offset to an instant, by the order of the stream."""

from datetime import datetime, timedelta, tzinfo
from typing import Final

import msgspec

from streams.model.instant import Instant, as_datetime, instant_of

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_HALF_A_YEAR: Final = timedelta(days=182)
_ALMOST_A_YEAR: Final = timedelta(days=360)
_A_DAY: Final = timedelta(days=1)
_STRAGGLING: Final = timedelta(seconds=10)
"""Lines of several processes can be this much out of order without a clock having been set back."""


class CalendarState(msgspec.Struct, frozen=True):
    """What the lines so far have told."""

    latest: str = ""
    """Latest local time read, ISO 8601 without offset; empty before the first line."""
    second_pass: bool = False
    """Whether the clock has been set back within the hour that autumn repeats."""


class LocalCalendar:
    """Rules, in the order of the stream:

    - the first line is in the latest year that makes it no later than `reference` + 1 day;
    - a step back by more than half a year is a new year; a step forward by almost a year is a straggler
      of the old one;
    - in the hour that autumn repeats, the first time is meant until local time steps back;
    - a time that spring skips is moved on by the skipped hour, as zoneinfo does.
    """

    def __init__(self, zone: tzinfo, reference: Instant) -> None:
        self._zone = zone
        self._limit = as_datetime(reference) + _A_DAY
        self._state = CalendarState()
        self._latest: datetime | None = None
        self._last_stamp = ""
        self._last_at: Instant | None = None

    @property
    def state(self) -> CalendarState:
        """What must be known to go on from here."""
        return self._state

    @state.setter
    def state(self, state: CalendarState) -> None:
        self._latest = datetime.fromisoformat(state.latest) if state.latest else None
        self._state = state
        self._last_stamp = ""

    def classic(self, stamp: str) -> Instant | None:
        """`Mar  4 00:00:31` as an instant; None where it is not such a stamp."""
        if stamp == self._last_stamp:
            return self._last_at
        month = _MONTHS.get(stamp[:3])
        if month is None or len(stamp) != 15 or stamp[9] != ":" or stamp[12] != ":" or not stamp.isascii():
            return None
        try:
            parts = month, int(stamp[4:6]), int(stamp[7:9]), int(stamp[10:12]), int(stamp[13:15])
            at = self._with_year(*parts)
        except (ValueError, OverflowError):
            return None
        self._last_stamp, self._last_at = stamp, at
        return at

    def local(self, moment: datetime) -> Instant:
        """A local time that has its year."""
        state = self._state
        latest = self._latest
        aware = moment.replace(tzinfo=self._zone)
        second_pass = False
        if aware.utcoffset() != aware.replace(fold=1).utcoffset():
            set_back = latest is not None and moment < latest - _STRAGGLING
            second_pass = self._is_repeated(aware) and (state.second_pass or set_back)
            if second_pass:
                aware = aware.replace(fold=1)
        if latest is None or moment > latest or second_pass != state.second_pass:
            self._latest = moment
            self._state = CalendarState(moment.isoformat(), second_pass)
        return instant_of(aware)

    @staticmethod
    def _is_repeated(aware: datetime) -> bool:
        """Whether this ambiguous local time comes twice (autumn), rather than never (spring)."""
        first, second = aware.utcoffset(), aware.replace(fold=1).utcoffset()
        return first is not None and second is not None and first > second

    def _with_year(self, month: int, day: int, hour: int, minute: int, second: int) -> Instant:
        latest = self._latest
        if latest is None:
            return self._first(month, day, hour, minute, second)
        year = latest.year
        leap_day = month == 2 and day == 29
        if leap_day and year % 4:
            year += 1  # the only near year that has the day; datetime refuses the rest
        moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  local time, zone added later
        if latest - moment > _HALF_A_YEAR and not leap_day:
            return self.local(moment.replace(year=year + 1))
        if moment - latest > _ALMOST_A_YEAR and not leap_day:
            return instant_of(moment.replace(year=year - 1, tzinfo=self._zone))
        return self.local(moment)

    def _first(self, month: int, day: int, hour: int, minute: int, second: int) -> Instant:
        newest = self._limit.astimezone(self._zone).year
        for year in range(newest, newest - 9, -1):
            try:
                moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  as above
            except ValueError:
                if month == 2 and day == 29:
                    continue  # 29 February of a year that has none
                raise
            if moment.replace(tzinfo=self._zone) <= self._limit:
                return self.local(moment)
        raise ValueError("no such day")

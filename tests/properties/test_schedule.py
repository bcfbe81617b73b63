"""Schedules across midnight, month ends and clock changes, against a list of wall-clock minutes."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.model.instant import instant_of
from streams.model.schedule import Calendar, Schedule, in_force

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu")
CHANGES = (
    datetime(2023, 3, 26, 1, tzinfo=UTC),  # Berlin, +1 h
    datetime(2023, 10, 29, 1, tzinfo=UTC),  # Berlin, -1 h
    datetime(2024, 3, 10, 7, tzinfo=UTC),  # New York, +1 h
    datetime(2024, 11, 3, 6, tzinfo=UTC),  # New York, -1 h
    datetime(2023, 9, 30, 15, 30, tzinfo=UTC),  # Lord Howe, +30 min
    datetime(2024, 4, 6, 15, tzinfo=UTC),  # Lord Howe, -30 min
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2023, 2, 28, tzinfo=UTC),
    datetime(2023, 12, 31, 23, tzinfo=UTC),
    datetime(2024, 4, 30, 22, tzinfo=UTC),
)
DAYS = st.lists(st.sampled_from((1, 2, 10, 26, 28, 29, 30, 31, -1, -2, -28, -31)), max_size=3)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Few conditions, so that some days fit."""
    minutes = st.one_of(st.integers(0, 1439), st.sampled_from((0, 90, 120, 150, 180, 1320, 1439)))
    return Schedule(
        name="s",
        timezone=draw(st.sampled_from(ZONES)),
        months=tuple(sorted(set(draw(st.lists(st.integers(1, 12), max_size=6))))),
        days=tuple(sorted(set(draw(DAYS)))),
        weekdays=tuple(sorted(set(draw(st.lists(st.integers(0, 6), max_size=4))))),
        from_minute=draw(minutes),
        to_minute=draw(st.one_of(minutes.map(lambda it: it or 1440), st.just(1440))),
        overrides=(("requests_per_minute", 5),),
    )


def fits(schedule: Schedule, day: date) -> bool:
    """Whether a day is one of the schedule's, told from its neighbours in the calendar."""

    def is_day(wanted: int) -> bool:
        if wanted > 0:
            return day.isoformat().endswith(f"-{wanted:02d}")
        first = day + timedelta(
            days=-wanted
        )  # the first of the next month, if the day is that far from its end
        return first.day == 1 and (first - timedelta(days=1)).month == day.month

    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    return (
        (schedule.months == () or any(f"-{month:02d}-" in day.isoformat() for month in schedule.months))
        and (schedule.weekdays == () or day.strftime("%a") in [names[it] for it in schedule.weekdays])
        and (schedule.days == () or any(is_day(it) for it in schedule.days))
    )


def wall_minutes(schedule: Schedule, first: date, days: int) -> set[str]:
    """Every minute on the wall clock at which it is in force, of windows that begin on these days."""
    found = set()
    for day in (first + timedelta(days=n) for n in range(days)):
        if fits(schedule, day):
            length = schedule.to_minute - schedule.from_minute
            begin = datetime.combine(day, datetime.min.time()) + timedelta(minutes=schedule.from_minute)
            for n in range(length if length > 0 else length + 1440):
                found.add((begin + timedelta(minutes=n)).strftime("%Y-%m-%d %H:%M"))
    return found


@settings(max_examples=120, deadline=None)
@given(schedules(), st.sampled_from(CHANGES), st.integers(-1500, 1500))
@example(Schedule(name="s", timezone="Europe/Berlin", from_minute=1320, to_minute=360), CHANGES[0], 0)
@example(Schedule(name="s", timezone="Australia/Lord_Howe", days=(-1,), from_minute=90), CHANGES[4], 0)
def test_in_force_is_what_the_wall_clock_says(schedule: Schedule, change: datetime, shift: int) -> None:
    begin = change + timedelta(minutes=shift) - timedelta(hours=12)
    zone = ZoneInfo(schedule.timezone)
    expected = wall_minutes(schedule, begin.astimezone(zone).date() - timedelta(days=2), 6)
    calendar = Calendar((schedule,))
    for n in range(0, 24 * 60, 3):
        moment = begin + timedelta(minutes=n)
        shown = moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")
        assert in_force(schedule, moment) == (shown in expected), (moment, shown)
        at = instant_of(moment + timedelta(seconds=59, microseconds=999_999))
        assert (calendar.active(at) == (schedule,)) == (shown in expected)


@pytest.mark.parametrize(
    ("zone", "evening", "minutes"),
    [
        ("Europe/Berlin", date(2023, 3, 24), 480),
        ("Europe/Berlin", date(2023, 3, 25), 420),
        ("Europe/Berlin", date(2023, 10, 28), 540),
        ("America/New_York", date(2024, 3, 9), 420),
        ("America/New_York", date(2024, 11, 2), 540),
        ("Australia/Lord_Howe", date(2023, 9, 30), 450),
        ("Australia/Lord_Howe", date(2024, 4, 6), 510),
        ("UTC", date(2024, 4, 6), 480),
    ],
)
def test_a_night_is_as_long_as_the_clock_makes_it(zone: str, evening: date, minutes: int) -> None:
    night = Schedule(
        name="night", timezone=zone, from_minute=1320, to_minute=360, weekdays=(evening.weekday(),)
    )
    noon = datetime(evening.year, evening.month, evening.day, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert sum(in_force(night, noon + timedelta(minutes=n)) for n in range(24 * 60)) == minutes


@pytest.mark.parametrize("year", [2023, 2024, 2100, 2000])
def test_the_last_day_of_february(year: int) -> None:
    last = Schedule(name="month end", months=(2,), days=(-1,))
    leap = year in (2024, 2000)
    moments = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(365)]
    assert [moment.date() for moment in moments if in_force(last, moment)] == [
        date(year, 2, 29 if leap else 28)
    ]


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    friday = Schedule(name="s", weekdays=(4,), from_minute=1320, to_minute=360)
    assert in_force(friday, datetime(2024, 3, 1, 22, tzinfo=UTC))
    assert in_force(friday, datetime(2024, 3, 2, 5, 59, tzinfo=UTC))
    assert not in_force(friday, datetime(2024, 3, 2, 6, tzinfo=UTC))
    assert not in_force(friday, datetime(2024, 3, 1, 5, tzinfo=UTC))

"""Quiet hours at their borders, over midnight, and in the nights in which clocks change."""

from datetime import UTC, datetime, timedelta

import pytest

from streams.agents.notify.hours import is_quiet
from streams.model.instant import instant_of
from streams.model.modules import Notify


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("21:59:59", False), ("22:00:00", True), ("00:00:00", True), ("06:59:59", True), ("07:00:00", False)],
)
def test_a_night_begins_and_ends_on_the_minute(clock: str, quiet: bool) -> None:
    at = instant_of(datetime.fromisoformat(f"2026-06-01T{clock}+05:30"))
    assert is_quiet(Notify(quiet_from="22:00", quiet_to="07:00", timezone="Asia/Kolkata"), at) is quiet


@pytest.mark.parametrize(
    ("clock", "quiet"), [("11:59:59", False), ("12:00:00", True), ("12:59:59", True), ("13:00:00", False)]
)
def test_so_does_a_midday(clock: str, quiet: bool) -> None:
    at = instant_of(datetime.fromisoformat(f"2026-06-01T{clock}+00:00"))
    assert is_quiet(Notify(quiet_from="12:00", quiet_to="13:00"), at) is quiet


@pytest.mark.parametrize(("start", "end"), [("", ""), ("22:00", ""), ("", "07:00"), ("07:00", "07:00")])
def test_half_a_setting_is_no_quiet_hour(start: str, end: str) -> None:
    at = instant_of(datetime(2026, 6, 1, 7, tzinfo=UTC))
    assert not is_quiet(Notify(quiet_from=start, quiet_to=end), at)


@pytest.mark.parametrize(
    ("evening", "hours"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 0),  # 02:00 to 03:00 does not come
        (datetime(2026, 10, 24, 23, tzinfo=UTC), 2),  # comes twice
        (datetime(2026, 6, 1, 23, tzinfo=UTC), 1),
    ],
)
def test_an_hour_that_is_skipped_or_repeated(evening: datetime, hours: int) -> None:
    policy = Notify(quiet_from="02:00", quiet_to="03:00", timezone="Europe/Berlin")
    minutes = sum(is_quiet(policy, instant_of(evening + timedelta(minutes=m))) for m in range(6 * 60))
    assert minutes == hours * 60

"""How long tables keep: what a period is, and how it is read back from ClickHouse."""

import pytest

from streams.audit.retention import days_kept, parse_period
from streams.errors import UsageError


def test_periods() -> None:
    assert parse_period("400d") == 400
    assert parse_period("forever") is None


@pytest.mark.parametrize("text", ["", "0d", "-1d", "400", "1y", "1.5d", "400 d", "999999d", "٤d"])
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(UsageError, match="is no period"):
        parse_period(text)


@pytest.mark.parametrize(
    ("engine", "days"),
    [
        ("MergeTree ORDER BY a TTL toDateTime(at) + toIntervalDay(400) SETTINGS x = 1", 400),
        ("MergeTree ORDER BY a TTL period + toIntervalDay(30)", 30),
        ("MergeTree ORDER BY a SETTINGS index_granularity = 8192", None),
    ],
)
def test_a_tables_engine_says_how_long_it_keeps(engine: str, days: int | None) -> None:
    assert days_kept(engine) == days

"""Which table answers, how periods are read, how a list of prefixes is."""

import re
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.as_numbers import UNKNOWN, read_as_database
from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import COUNTERS, table_for
from streams.audit.grouping import Grouping, sql_zone, within_sql
from streams.audit.stats import PEAK_CONNECTIONS, Row, Stats
from streams.cli.period import local, moment_in, month_of, period
from streams.cli.stats import _remark
from streams.config import ClickHouseSettings
from streams.errors import GoawayError, UsageError
from streams.model.instant import parse_instant, rfc3339
from streams.resources import sql_folder
from streams.wire.postfix.ours import MAX_OURS, NOT_OURS, OURS, SPOKEN

Address = IPv4Address | IPv6Address
BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")


START, END = parse_instant("2026-11-01T00:00:00Z"), parse_instant("2026-12-01T00:00:00Z")
OURS_SQL = (sql_folder() / "0012_ours.sql").read_text(encoding="utf-8")


def test_counters_are_those_of_the_rollups() -> None:
    views = re.findall(r"MODIFY QUERY.*?GROUP BY", OURS_SQL, re.DOTALL)
    views = [view for view in views if " AS connections" in view]
    assert len(views) == 5
    for view in views:
        counted = dict(re.findall(r"^    (.*?) AS (\w+),?$", view, re.MULTILINE))
        by_name = {name: how for how, name in counted.items()}
        assert {name: by_name[name] for name in COUNTERS} == COUNTERS


def test_triggers_are_told_by_the_texts_of_our_answers() -> None:
    told = re.findall(r"multiSearchAny\(detail, \[(.*?)\]\), '(\w+)'", OURS_SQL)
    assert [(trigger, tuple(texts[1:-1].split("', '"))) for texts, trigger in told] == [*SPOKEN.items()]


def test_ours_is_one_definition() -> None:
    assert f"AND match(detail, '^{OURS}')" in OURS_SQL
    assert f"AND NOT match(detail, '{NOT_OURS}')" in OURS_SQL
    assert f" < {MAX_OURS}\n" in OURS_SQL
    assert "is defined in `streams/wire/postfix/ours.py`" in (sql_folder() / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("connections", "together"),
    [
        ((400_000, 350_000, 300_000), 1_050_000),  # each few enough, and together too many
        ((1_000_001,), 1_000_001),
        ((1,), 1_050_000),  # only that of all is not known
    ],
)
def test_peaks_that_are_not_known_of_very_many(connections: tuple[int, ...], together: int) -> None:
    def row(name: str, count: int, peak: int | None) -> Row:
        return Row(name, {**dict.fromkeys(COUNTERS, 0), "connections": count}, 1, START, END, peak)

    peak = None if sum(connections) > PEAK_CONNECTIONS else 1
    rows = tuple(row(str(place), count, peak) for place, count in enumerate(connections))
    found = Stats(rows, row("", together, None), len(rows))
    nobody = ClickHouse(ClickHouseSettings(port=1))  # and nobody is asked
    assert _remark(nobody, found, START, END, Grouping()) == (
        "peaks are not known (–) of more than 1,000,000 connections: take a shorter period"
    )
    known = replace(found, rows=tuple(replace(it, peak=1) for it in rows), total=row("", 1, 1))
    assert _remark(nobody, known, START, END, Grouping()) == ""


@pytest.mark.parametrize(
    ("start", "end", "grouping", "table"),
    [
        ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", Grouping(), "clients_by_month"),
        ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", Grouping("day"), "clients_by_hour"),
        ("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z", Grouping(), "clients_by_day"),
        ("2026-11-02T01:00:00Z", "2026-12-01T00:00:00Z", Grouping("host"), "clients_by_hour"),
        ("2026-11-02T01:01:00Z", "2026-12-01T00:00:00Z", Grouping(), "clients_by_minute"),
        ("2026-11-02T01:01:01Z", "2026-12-01T00:00:00Z", Grouping(), "events"),
        ("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z", Grouping("hour", KOLKATA), "clients_by_minute"),
        ("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z", Grouping("network", KOLKATA), "clients_by_day"),
        ("2026-11-02T00:00:00Z", "2026-12-01T00:00:00Z", Grouping("day", BERLIN), "clients_by_hour"),
    ],
)
def test_the_coarsest_table_that_is_exact(start: str, end: str, grouping: Grouping, table: str) -> None:
    assert table_for(parse_instant(start), parse_instant(end), grouping) == table


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (BERLIN, "Europe/Berlin"),
        (timezone(timedelta(hours=5, minutes=30)), "Fixed/UTC+05:30:00"),
        (timezone(-timedelta(hours=3)), "Fixed/UTC-03:00:00"),
    ],
)
def test_zones_as_clickhouse_knows_them(zone: timezone, name: str) -> None:
    assert sql_zone(zone) == name


def test_periods() -> None:
    first, until = period("", "2026-10-25", "", "", BERLIN)
    assert (rfc3339(first)[:16], rfc3339(until)[:16]) == ("2026-10-24T22:00", "2026-10-25T23:00")  # 25 hours
    first, until = period("", "", "2026-11-01", "2026-11-01T06:30", UTC)
    assert (rfc3339(first)[:16], rfc3339(until)[:16]) == ("2026-11-01T00:00", "2026-11-01T06:30")
    first, until = period("90m", "", "", "", UTC)
    assert until - first == 90 * 60_000_000 and first % 60_000_000 == 0
    first, until = period("", "", "", "", UTC)
    assert 7 * 86_400_000_000 <= until - first < 7 * 86_400_000_000 + 3_600_000_000
    assert first % 3_600_000_000 == 0
    assert (
        local(moment_in("2026-11-01T00:00:00+02:00", BERLIN, flag="--from"), BERLIN) == "2026-10-31 23:00:00"
    )
    first, _ = period("", "0001-01-01", "", "", UTC)
    assert local(first, UTC, seconds=False) == "0001-01-01 00:00"


@pytest.mark.parametrize(
    "given_",
    [
        ("1h", "2026-11-01", "", ""),
        ("1h", "", "2026-11-01", ""),
        ("", "2026-11-01", "", "2026-11-01"),
        ("", "2026-13-01", "", ""),
        ("", "9999-12-31", "", ""),
        ("", "yesterday", "", ""),
        ("0h", "", "", ""),
        ("", "", "2026-11-02", "2026-11-01"),
        ("", "", "2026-11-02", "2026-11-02"),
        ("", "", "nonsense", ""),
    ],
)
def test_what_is_no_period(given_: tuple[str, str, str, str]) -> None:
    with pytest.raises(UsageError, match="Try: "):
        period(*given_, UTC)


@given(st.integers(1970, 2298), st.integers(1, 12))
def test_months(year: int, month: int) -> None:
    start, end = month_of(f"{year:04d}-{month:02d}")
    assert rfc3339(start) == f"{year:04d}-{month:02d}-01T00:00:00.000000Z"
    assert rfc3339(end)[8:] == "01T00:00:00.000000Z"
    assert 28 <= (end - start) / 86_400_000_000 <= 31


@given(
    st.ip_addresses()
    | st.sampled_from(["2001:db8::1", "2001:db8:0:5::", "::1", "1::2:0:0:3"]).map(ip_address),
    st.data(),
)
def test_a_clients_text_begins_as_that_of_every_network_around_it(
    address: Address, data: st.DataObject
) -> None:
    bits = address.max_prefixlen
    client = ip_network(f"{address}/{data.draw(st.integers(8, bits))}", strict=False)
    text = str(client.network_address if client.prefixlen == bits else client)
    around = ip_network(f"{client.network_address}/{data.draw(st.integers(0, bits))}", strict=False)
    said = within_sql("c", [around, ip_network("192.0.2.0/24")])
    openings = re.findall(r"startsWith\(c, '([0-9a-f.:]+)'\)", said)
    assert said == "true" or any(text.startswith(it) for it in openings)


def test_networks_as_their_openings() -> None:
    def said(*networks: str) -> str:
        return within_sql("c", [ip_network(it) for it in networks])

    assert said("192.0.2.0/24", "192.0.0.0/20") == "(startsWith(c, '192.0.') OR startsWith(c, '192.0.2.'))"
    assert said("192.0.2.7") == "(startsWith(c, '192.0.2.7'))"
    assert said("2001:db8:5::/48") == "(startsWith(c, '2001:db8:5:'))"
    assert said("2001:db8::/48") == "(startsWith(c, '2001:db8:'))"
    assert (
        said("::/16")
        == said("0.0.0.0/4")
        == said(*(f"10.0.{it}.0/24" for it in range(256)), *(f"10.1.{it}.0/24" for it in range(256)))
        == "true"
    )


@pytest.mark.parametrize("text", ["", "2026", "2026-00", "2026-13", "11-2026", "2026-1", "2299-01"])
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(UsageError, match="2026-11"):
        month_of(text)


def test_a_list_of_prefixes(tmp_path: Path) -> None:
    file = tmp_path / "as.csv"
    rows = (
        'prefix,as,name\n192.0.2.0/24,64496,Docs\n192.0.2.128/25,AS64497,"Docs, upper"\n'
        "# a remark\n\n2001:db8::/32,64500,\n"
    )
    file.write_text("\ufeff" + rows, encoding="utf-8")
    found = read_as_database(file)
    assert found.name("192.0.2.7") == "AS64496 Docs"
    assert found.name("192.0.2.200") == "AS64497 Docs, upper"
    assert found.name("2001:db8:1::/64") == "AS64500"
    assert found.name("198.51.100.1") == found.name("policy") == UNKNOWN
    assert (found.longest_v4, found.longest_v6) == (25, 32)


@pytest.mark.parametrize("row", ["192.0.2.1/24,64496,x", "192.0.2.0/24,none,x", "192.0.2.0/24", "x,1,y"])
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    file = tmp_path / "as.csv"
    file.write_text(f"prefix,as,name\n{row}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 2") as refused:
        read_as_database(file)
    assert str(refused.value).count("Try: ") == 1
    with pytest.raises(GoawayError, match="cannot be read"):
        read_as_database(tmp_path / "absent.csv")

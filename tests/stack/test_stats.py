"""`goaway stats`: its totals are those that grep and awk count in the log."""

import csv
import io
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any, Final

import pytest
from msgspec.structs import replace

from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import COUNTERS, Whose, table_for
from streams.audit.grouping import Grouping
from streams.audit.stats import SORTS, Stats, stats
from streams.config import ClickHouseSettings
from streams.model.client import Network, parse_network, shown
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from tests.stack.recorded_store import SAMPLE, Recorder, events_of
from tests.stack.sink_process import Store
from tests.stack.test_search import goaway

pytestmark = pytest.mark.needs("chdb")

DAY: Final = ("--day", "2026-11-24", "--timezone", "utc")
START: Final = parse_instant("2026-11-24T00:00:00Z")
END: Final = parse_instant("2026-11-25T00:00:00Z")

AWK: Final = r"""
/ postfix\/postscreen\[[0-9]+\]: CONNECT from / { connections++ }
/ postfix\/postscreen\[[0-9]+\]: PASS (OLD|NEW) / { handed++ }
/ postfix\/([a-z]+\/)?smtpd\[[0-9]+\]: connect from / { connections++ }
/ postfix\/([a-z]+\/)?smtpd\[[0-9]+\]: [A-F0-9]+: client=/ { accepted++ }
/ postfix\/qmgr\[[0-9]+\]: [A-F0-9]+: from=<.*\(queue active\)/ { messages++ }
/ (reject|milter-reject): / { refusals++ }
END { print connections - handed, messages, refusals }
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    store = Store(tmp_path_factory.mktemp("stats"))
    try:
        Recorder(store.settings).log(SAMPLE)
        yield store.settings
    finally:
        store.stop()


@pytest.fixture(scope="module")
def clickhouse(settings: ClickHouseSettings) -> Iterator[ClickHouse]:
    found = ClickHouse(settings)
    yield found
    found.close()


def counted(log: str, awk: str) -> list[int]:
    """What awk prints of the log."""
    command = ["sh", "-c", f"zcat {log} | awk '{awk}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def document(settings: ClickHouseSettings, *arguments: str) -> dict[str, Any]:
    done = goaway(settings, "stats", *DAY, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_totals_are_those_that_awk_counts(settings: ClickHouseSettings) -> None:
    connections, messages, refusals = counted(str(SAMPLE), AWK)
    total = document(settings)["total"]
    assert (total["connections"], total["messages"], total["refusals"]) == (connections, messages, refusals)
    assert connections > 200 and refusals > 100


def test_one_clients_row_is_what_grep_counts(settings: ClickHouseSettings) -> None:
    for client in ("198.51.100.23", "203.0.113.66", "192.0.2.10"):
        log = subprocess.run(
            ["zgrep", "-F", f"[{client}]", str(SAMPLE)], capture_output=True, text=True, check=True
        )
        lines = log.stdout.splitlines()
        [row] = document(settings, client)["rows"]
        assert row["name"] == client
        assert row["connections"] == sum(": connect from" in line for line in lines)
        assert row["refusals"] == sum(": reject: " in line for line in lines)
        assert row["first"][:26] == lines[0][:26]
        assert row["last"][:26] == max(lines)[:26] or row["messages"]


def brute(events: list[Event], key: Any) -> dict[str, Counter[str]]:
    """Groups counted in Python."""
    found: dict[str, Counter[str]] = {}
    for it in events:
        group = found.setdefault(key(it), Counter())
        group["connections"] += it.kind == "connect"
        group["requests"] += it.kind == "mail"
        group["messages"] += it.kind == "message"
        group["bytes"] += it.size
        group["refusals"] += it.code >= 400
        group["violations"] += it.kind == "violation"
        group["login_failures"] += it.kind == "auth_failure"
    return found


@pytest.mark.parametrize(
    ("grouping", "key"),
    [
        (Grouping("client"), lambda it: it.client),
        (Grouping("host"), lambda it: it.host),
        (Grouping("day"), lambda it: "2026-11-24"),
        (Grouping("hour"), lambda it: "2026-11-24 13:00"),
        (
            Grouping("network"),
            lambda it: "2001:db8:25::/48" if ":" in it.client else f"{it.client.rpartition('.')[0]}.0/24",
        ),
    ],
)
@pytest.mark.parametrize(
    "start", ["2026-11-24T00:00:00Z", "2026-11-24T00:00:00.5Z"], ids=["rollup", "events"]
)
def test_groups_are_those_that_python_counts(
    clickhouse: ClickHouse, grouping: Grouping, key: Any, start: str
) -> None:
    begins = parse_instant(start)
    assert (table_for(begins, END, grouping) == "events") == (".5" in start)
    wanted = brute(events_of(SAMPLE), key)
    found = stats(clickhouse, begins, END, grouping, limit=1000)
    assert {row.name for row in found.rows} == set(wanted)
    for row in found.rows:
        assert {name: row.counts[name] for name in wanted[row.name]} == wanted[row.name], row.name
    assert found.groups == len(wanted)
    assert found.total is not None
    for name in COUNTERS:
        assert found.total.counts[name] == sum(row.counts[name] for row in found.rows)


def test_every_table_says_the_same(clickhouse: ClickHouse) -> None:
    """The same traffic by periods that fall on minutes, hours, days, months and on nothing."""
    periods = (
        ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "clients_by_month"),
        ("2026-11-20T00:00:00Z", "2026-11-30T00:00:00Z", "clients_by_day"),
        ("2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z", "clients_by_hour"),
        ("2026-11-24T13:05:00Z", "2026-11-24T13:26:00Z", "clients_by_minute"),
        ("2026-11-24T13:05:00.1Z", "2026-11-24T13:26:00Z", "events"),
    )
    seen: list[Stats] = []
    for start, end, table in periods:
        first, until = parse_instant(start), parse_instant(end)
        assert table_for(first, until, Grouping()) == table
        seen.append(stats(clickhouse, first, until, Grouping(), limit=1000))
    assert len({repr(it) for it in seen}) == 1


def peak(events: list[Event]) -> int:
    """Most sessions between connect and disconnect, in the order of the log."""
    opened: set[str] = set()
    most = 0
    for it in events:
        if it.kind == "connect":
            opened.add(it.session)
        elif it.kind == "disconnect":
            opened.discard(it.session)
        most = max(most, len(opened))
    return most


def test_peaks_are_those_of_the_log(clickhouse: ClickHouse) -> None:
    events = events_of(SAMPLE)
    found = stats(clickhouse, START, END, Grouping(), limit=1000)
    for row in found.rows:
        assert row.peak == peak([it for it in events if it.client == row.name]), row.name
    assert found.total is not None and found.total.peak == peak(events) == 16
    for by in ("host", "day", "hour"):
        [row] = stats(clickhouse, START, END, Grouping(by)).rows
        assert row.peak == 16
    by_peak = stats(clickhouse, START, END, Grouping(), sort="peak", limit=1)
    assert [(row.name, row.peak) for row in by_peak.rows] == [("203.0.113.200", 15)]


def test_what_is_open_at_the_start_of_the_period_counts(clickhouse: ClickHouse) -> None:
    middle = parse_instant("2026-11-24T13:15:00Z")  # the fifteen are held open meanwhile
    for sort in ("connections", "peak"):
        found = stats(clickhouse, middle, END, Grouping(), sort=sort, limit=1000)
        assert {row.name: row.peak for row in found.rows}["203.0.113.200"] == 15


def in_order_of_addresses(names: Sequence[str]) -> list[str]:
    """IPv4 first, each by its number."""
    networks = sorted(map(ip_network, names), key=lambda it: (it.version, int(it[0])))
    return [shown(it) for it in networks]


@pytest.mark.parametrize("sort", SORTS)
def test_every_order(clickhouse: ClickHouse, sort: str) -> None:
    found = stats(clickhouse, START, END, Grouping(), sort=sort, limit=1000).rows
    values: dict[str, Any] = {
        "peak": [-(row.peak or 0) for row in found],
        "name": [0 for _ in found],
        "clients": [-row.clients for row in found],
        "first": [row.first for row in found],
        "last": [-row.last for row in found],
    }
    if sort == "name":
        assert [row.name for row in found] == in_order_of_addresses([row.name for row in found])
        assert found[-1].name == "2001:db8:25::/64" and found[0].name == "192.0.2.10"
    order = values.get(sort) or [-row.counts[sort] for row in found]
    assert order == sorted(order) and len(found) == 21
    assert stats(clickhouse, START, END, Grouping(), sort=sort, limit=3).rows == found[:3]


def test_whose(clickhouse: ClickHouse) -> None:
    whose = Whose((parse_network("192.0.2.10"), parse_network("192.0.2.21")), host="mx1")
    found = stats(clickhouse, START, END, Grouping(), whose=whose)
    assert {row.name for row in found.rows} == {"192.0.2.10", "192.0.2.21"}
    assert found.total is not None and found.total.clients == 2
    for other in (Whose(host="mx9"), Whose((parse_network("192.0.2.99"),))):
        nothing = stats(clickhouse, START, END, Grouping(), whose=other)
        assert nothing == Stats((), None, 0)


@pytest.mark.parametrize(
    "network",
    [
        *("192.0.2.0/24", "192.0.0.0/16", "203.0.112.0/23", "0.0.0.0/0", "128.0.0.0/1"),
        *("2001:db8:25::/64", "2001:db8::/32", "2001:db8:25::7", "::/0", "2001:db8:26::/48", "2000::/3"),
    ],
)
@pytest.mark.parametrize(
    "start", ["2026-11-24T00:00:00Z", "2026-11-24T00:00:00.5Z"], ids=["rollup", "events"]
)
def test_whose_of_a_network_are_its_clients(clickhouse: ClickHouse, network: str, start: str) -> None:
    wanted = parse_network(network)
    begins = parse_instant(start)
    every = {row.name: row for row in stats(clickhouse, begins, END, Grouping(), limit=1000).rows}
    inside = {name: row for name, row in every.items() if overlap(ip_network(name), wanted)}
    found = stats(clickhouse, begins, END, Grouping(), whose=Whose((wanted,)), limit=1000)
    assert {row.name: row for row in found.rows} == inside
    assert bool(inside) == (network != "2001:db8:26::/48")
    both = Whose((wanted, parse_network("198.51.100.23")))
    names = {row.name for row in stats(clickhouse, begins, END, Grouping(), whose=both, limit=1000).rows}
    assert names == {*inside, "198.51.100.23"}
    days = stats(clickhouse, begins, END, Grouping("day"), whose=Whose((wanted,)))
    assert (days.total.clients if days.total else 0) == len(inside)


def overlap(one: Network, other: Network) -> bool:
    """Whether one of them lies in the other."""
    return one.version == other.version and one.overlaps(other)


def test_clients_of_one_address_each_are_those_of_their_network(
    settings: ClickHouseSettings,
) -> None:
    found = document(settings, "2001:db8:25::/64", "--by", "day")
    assert [row["name"] for row in found["rows"]] == ["2026-11-24"]
    assert found["total"]["connections"] == document(settings, "2001:db8::/32")["total"]["connections"] > 0


def test_days_and_hours_are_shown_newest_first_unless_told(settings: ClickHouseSettings) -> None:
    Recorder(settings, first_offset=2_000_000).events(
        [
            replace(event, id=f"d{number:015x}", at=Instant(parse_instant(f"2026-10-{day:02d}T10:00:00Z")))
            for number, (event, day) in enumerate(zip(events_of(SAMPLE)[:6], (3, 1, 2, 2, 1, 3), strict=True))
        ]
    )
    period = ("--from", "2026-10-01", "--to", "2026-10-04", "--timezone", "utc", "--json")

    def names(*arguments: str) -> list[str]:
        done = goaway(settings, "stats", *period, *arguments)
        assert done.returncode == 0, done.stderr
        return [row["name"] for row in json.loads(done.stdout)["rows"]]

    assert names("--by", "day") == ["2026-10-03", "2026-10-02", "2026-10-01"]
    assert names("--by", "hour") == [f"{day} 10:00" for day in names("--by", "day")]
    assert names("--by", "day", "--sort", "name") == names("--by", "day")[::-1]


def test_by_name_and_by_as(settings: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = document(settings, "--by", "ptr")
    assert {"example.com", "example.net", "(none)"} <= {row["name"] for row in found["rows"]}
    assert found["total"]["name"] == "total"
    done = goaway(settings, "stats", *DAY, "--by", "ptr", "--csv")
    names = [row["name"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert names == [*(row["name"] for row in found["rows"]), "total"]
    file = tmp_path_factory.mktemp("as") / "as.csv"
    file.write_text(
        "prefix,as,name\n192.0.2.0/24,64496,Docs\n203.0.113.200,64497,One\n2001:db8::/32,64500,=x\n"
    )
    found = document(settings, "--by", "as", "--as-database", str(file))
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"AS64496 Docs", "AS64497 One", "AS64500 =x", "(in no prefix)"}
    assert rows["AS64497 One"]["connections"] == rows["AS64497 One"]["peak"] == 15
    assert rows["AS64496 Docs"]["clients"] == 7
    for name in COUNTERS:
        assert sum(row[name] for row in rows.values()) == found["total"][name]
    done = goaway(settings, "stats", "--by", "as")
    assert done.returncode == 2 and "--as-database" in done.stderr


def test_a_clients_newest_name_is_that_of_all_its_month(clickhouse: ClickHouse) -> None:
    events = [it for it in events_of(SAMPLE) if it.at >= START]
    newest = {it.client: it.ptr.lower() for it in sorted(events, key=lambda it: it.at) if it.ptr}
    wanted = brute(events, lambda it: ".".join(newest.get(it.client, "").split(".")[-2:]))
    for start in (START, START + 500_000):
        found = stats(clickhouse, Instant(start), END, Grouping("ptr"), limit=1000)
        assert {row.name for row in found.rows} == set(wanted)
        for row in found.rows:
            assert {name: row.counts[name] for name in wanted[row.name]} == wanted[row.name], row.name
            assert row.peak is not None
        every = stats(clickhouse, Instant(start), END, Grouping(), limit=1000).total
        assert found.total == every and found.groups == len(wanted)
        for sort in SORTS:
            assert len(stats(clickhouse, Instant(start), END, Grouping("ptr"), sort=sort, limit=2).rows) == 2


def test_csv_and_table(settings: ClickHouseSettings) -> None:
    done = goaway(settings, "stats", *DAY, "--csv", "--limit", "2")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["name"] for row in rows] == ["198.51.100.23", "203.0.113.66", "total"]
    assert rows[-1]["clients"] == "21"
    done = goaway(settings, "stats", *DAY, "--limit", "2")
    assert "198.51.100.23" in done.stdout and "all 21" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert goaway(settings, "stats", "--day", "2026-11-01", "--timezone", "utc").stdout.startswith(
        "nothing was seen"
    )

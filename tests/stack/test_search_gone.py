"""`goaway search` and `goaway stats`: what is gone, of another time, or not what it seems."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import Whose, countable
from streams.audit.grouping import Grouping
from streams.audit.kept import Kept, kept
from streams.audit.search import Query, search
from streams.audit.stats import stats
from streams.config import ClickHouseSettings
from streams.errors import UsageError
from streams.model.client import parse_network
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.model.marker import marker
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.run import replay
from streams.wire.policy_toml import read_policy
from tests.stack.recorded_store import SAMPLE, Recorder, events_of
from tests.stack.sink_process import Store
from tests.stack.test_search import DAY, END, START, goaway, hits, refused_line

pytestmark = pytest.mark.needs("chdb")

UTC: Final = ("--timezone", "utc")
GONE: Final = "13:15"
"""Of the sample, which reaches from 13:05 to 13:26, what came before is not stored any more."""
BLOCKED: Final = "203.0.113.50"
BLOCKS: Final = f"[[blocks]]\naddress = '{BLOCKED}'\nnote = 'noise'\n"


def bounces() -> bytes:
    """Of one client: a bounce that is queued, one that is refused, an accepted request of another sender."""
    who = "mail.example.net[198.51.100.77]"
    user = "550 5.1.1 <b@example.org>: Recipient address rejected: unknown"
    return "".join(
        [
            refused_line(1, f"connect from {who}"),
            refused_line(
                1.1, f"NOQUEUE: reject: RCPT from {who}: {user}; from=<> to=<b@example.org> proto=SMTP"
            ),
            refused_line(1.2, f"4F00A11: client={who}"),
            refused_line(1.3, "4F00A11: from=<>, size=300, nrcpt=1 (queue active)").replace("smtpd", "qmgr"),
            refused_line(2, f"4F00A12: client={who}"),
            refused_line(2.1, "4F00A12: from=<a@example.net>, size=300, nrcpt=1 (queue active)").replace(
                "smtpd", "qmgr"
            ),
            refused_line(3, f"disconnect from {who} ehlo=1 mail=3 rcpt=2/3 commands=6"),
        ]
    ).encode()


def refused_at_connect(second: float, address: str, words: str, helo: str = "x") -> str:
    """A connection that is refused with these words."""
    who = f"unknown[{address}]"
    reply = f"{words.partition(' ')[0]} 5.7.1 <{who}>: Client host rejected: {words.partition(' ')[2]}"
    return "".join(
        [
            refused_line(second, f"connect from {who}"),
            refused_line(
                second + 0.1, f"NOQUEUE: reject: CONNECT from {who}: {reply}; proto=SMTP helo=<{helo}>"
            ),
            refused_line(second + 0.2, f"disconnect from {who} commands=0/1"),
        ]
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    store = Store(tmp_path_factory.mktemp("odd"))
    try:
        recorder = Recorder(store.settings)
        recorder.change(1, {f"blocks/{BLOCKED}": {"note": "noise"}}, at="2026-11-24T12:00:00Z")
        recorder.log(bounces())
        recorder.events(
            events_of(
                (
                    refused_at_connect(10, "198.51.100.80", "551 Go away: exceeded connection rate limit")
                    + refused_at_connect(12, "198.51.100.81", "571 Go away: another text")
                    + refused_at_connect(14, "198.51.100.82", "554 Service unavailable", helo="Go away: x")
                ).encode()
            )
        )
        listed = refused_at_connect(
            20, BLOCKED, "551 Go away: blocked by administrator: noise", helo="Go away: x"
        )
        recorder.log(listed.encode(), read_policy(BLOCKS))
        recorder.clickhouse.close()
        yield store.settings
    finally:
        store.stop()


def test_a_star_is_no_empty_sender_and_brackets_are_one(settings: ClickHouseSettings) -> None:
    clickhouse = ClickHouse(settings)

    def found(**given: Any) -> set[tuple[str, int, str]]:
        of = search(clickhouse, Query(START, END, what="events", **given))
        return {(it.event.kind, it.event.code, it.event.sender) for it in of if it.event is not None}

    try:
        assert found(sender="*") == {("message", 0, "a@example.net")}
        assert found(sender="<>") == {("mail", 550, ""), ("message", 0, "")}
        assert found(recipient="*") == {("mail", 550, "")}
        assert found(sender="<>", networks=(parse_network(BLOCKED),)) == set()
    finally:
        clickhouse.close()


def test_other_words_of_ours_are_found_as_they_are_shown(settings: ClickHouseSettings) -> None:
    assert [it["event"]["address"] for it in hits(settings, "--trigger", "other")] == ["198.51.100.81"]
    assert {it["event"]["address"] for it in hits(settings, "--trigger", "rate")} == {"198.51.100.80"}


def test_a_rule_is_one_of_ours_or_on_record(settings: ClickHouseSettings) -> None:
    done = goaway(settings, "search", "--rule", "requests_per_minut", *DAY)
    assert done.returncode == 2 and "no rule is called 'requests_per_minut'" in done.stderr
    assert "Try: --rule requests_per_minute" in done.stderr
    for rule in ("requests_per_minute", "zen.example.org", "forgotten"):
        assert hits(settings, "--rule", rule) == []
    assert len(hits(settings, "--rule", "blocks")) == 1


def told(settings: ClickHouseSettings, address: str) -> tuple[dict[str, Any], str]:
    """The story of the refusal of this address, as JSON and in words."""
    [hit] = [it for it in hits(settings, address, "--refused") if it["event"]]
    opened = ("search", "--story", hit["id"], *UTC)
    return json.loads(goaway(settings, *opened, "--json").stdout), goaway(settings, *opened).stdout


def test_a_refusal_of_ours_is_never_said_to_be_the_mtas_own(settings: ClickHouseSettings) -> None:
    document, text = told(settings, "198.51.100.80")  # its decision is not stored
    assert (document["refused_by"], document["decision"]) == ("goaway", None)
    assert "Goaway's, as the text says; it is not stored" in text and "own rules" not in text
    assert "goaway exempt rate 198.51.100.80" in text
    document, text = told(settings, BLOCKED)  # who writes our opening is not believed, but a block stood
    assert (document["refused_by"], document["decision"]["trigger"]) == ("unknown", "blocklist")
    assert "it stood when this event was refused; whose words these are cannot be told" in text
    assert f"goaway policy remove blocks/{BLOCKED}" in text and "own rules" not in text
    document, text = told(settings, "198.51.100.81")
    assert document["refused_by"] == "goaway" and "own rules" not in text
    document, text = told(settings, "198.51.100.82")
    assert document["refused_by"] == "mta" and "the MTA refused by its own rules" in text


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """The sample, its first half gone from `events`, and a mark of ours long after."""
    store = Store(tmp_path_factory.mktemp("gone"))
    try:
        recorder = Recorder(store.settings)
        recorder.log(SAMPLE)
        recorder.events([marker(0, 1, 0, "v", parse_instant("2027-02-01T00:00:00Z"))])
        recorder.clickhouse.command(
            f"ALTER TABLE events DELETE WHERE at < '2026-11-24 {GONE}:00' SETTINGS mutations_sync = 2"
        )
        recorder.clickhouse.close()
        yield store.settings
    finally:
        store.stop()


@pytest.fixture
def clickhouse(partly: ClickHouseSettings) -> Iterator[ClickHouse]:
    found = ClickHouse(partly)
    yield found
    found.close()


def at(clock: str) -> Instant:
    return parse_instant(f"2026-11-24T{clock}Z")


def sample(since: str = "00:00:00") -> list[Event]:
    return [it for it in events_of(SAMPLE) if it.at >= at(since)]


def test_what_is_kept_of_events_and_of_rollups(clickhouse: ClickHouse) -> None:
    def ends(events: list[Event]) -> Kept:
        instants = [it.at for it in events]
        return Kept(min(instants), max(instants))

    assert kept(clickhouse) == ends(sample(f"{GONE}:00"))
    for table in ("clients_by_minute", "clients_by_hour", "clients_by_day", "clients_by_month"):
        assert kept(clickhouse, table) == ends(sample()), table
    decided = [it for it in replay(PolicyIndex(Policy()), sample()) if isinstance(it, Decision)]
    assert kept(clickhouse, "decisions") == Kept(min(it.at for it in decided), max(it.at for it in decided))
    # where no minutes of traffic are kept, what the parts say has to do
    clickhouse.command("RENAME TABLE traffic_by_minute TO aside")
    clickhouse.command("CREATE TABLE traffic_by_minute AS aside")
    try:
        found = kept(clickhouse)
        assert found == Kept(ends(sample(f"{GONE}:00")).oldest, parse_instant("2027-02-01T00:00:00Z"))
    finally:
        clickhouse.command("DROP TABLE traffic_by_minute SYNC")
        clickhouse.command("RENAME TABLE aside TO traffic_by_minute")


def test_a_peak_is_known_only_of_connections_that_are_all_stored(clickhouse: ClickHouse) -> None:
    since = at("13:13:00")
    early = {it.client for it in sample("13:13:00") if it.kind == "connect" and it.at < at(f"{GONE}:00")}
    found = stats(clickhouse, since, END, Grouping(), limit=1000)
    assert {row.name for row in found.rows if row.peak is None} == early
    assert 0 < len(early) < len(found.rows)
    for by in ("ptr", "hour", "host", "network"):
        found = stats(clickhouse, since, END, Grouping(by), limit=1000)
        assert found.total is not None and found.total.peak is None
        assert None in [row.peak for row in found.rows]
    later = stats(clickhouse, at("13:16:00"), END, Grouping(), limit=1000)
    assert later.total is not None and later.total.peak and all(row.peak is not None for row in later.rows)
    with pytest.raises(UsageError, match="not stored any more"):
        stats(clickhouse, START, END, Grouping(), sort="peak")


def test_odd_bounds_are_counted_by_whole_minutes_where_events_are_gone(clickhouse: ClickHouse) -> None:
    odd = at("13:05:07"), at("13:20:13")
    assert countable(clickhouse, *odd, Whose()) == (at("13:05:00"), at("13:21:00"))
    stored = at(f"{GONE}:07"), at("13:20:13")
    assert countable(clickhouse, *stored, Whose()) == stored
    assert countable(clickhouse, *odd, Whose(host="mx9")) == odd  # nothing is gone of it
    assert countable(clickhouse, START, END, Whose()) == (START, END)


def test_stats_say_what_is_gone(partly: ClickHouseSettings) -> None:
    whole = goaway(partly, "stats", *DAY, "--json")
    assert json.loads(whole.stdout)["total"]["peak"] is None
    assert f"peaks are not known (–): events are kept from 2026-11-24 {GONE}:" in whole.stderr
    assert " – " in goaway(partly, "stats", *DAY).stdout
    odd = goaway(
        partly, "stats", "--from", "2026-11-24T13:05:07", "--to", "2026-11-24T13:20:13", *UTC, "--json"
    )
    found = json.loads(odd.stdout)
    assert (found["from"][11:16], found["to"][11:16]) == ("13:05", "13:21")
    connects = [it for it in sample() if it.kind == "connect" and it.at < at("13:21:00")]
    assert found["total"]["connections"] == len(connects)
    assert "counted by whole minutes; peaks are not known" in odd.stderr
    asked = goaway(partly, "stats", *DAY, "--sort", "peak")
    assert asked.returncode == 2 and "not stored any more. Try: goaway stats" in asked.stderr


@pytest.mark.parametrize("command", ["search", "stats"])
@pytest.mark.parametrize(
    ("period", "said"),
    [
        (("2026-12-20", "2026-12-27"), "the newest stored is of 2026-11-24 13:25:2"),
        (("2026-10-20", "2026-10-21"), " are kept from 2026-11-24 13:"),
        (("2026-11-24T00:00", "2026-11-24T13:00"), " are kept from 2026-11-24 13:"),
        (("2026-11-24T13:50", "2026-11-24T13:51"), "the newest stored is of 2026-11-24 13:25:2"),
    ],
)
def test_where_nothing_is_found_it_is_said_when_there_is_something(
    partly: ClickHouseSettings, command: str, period: tuple[str, str], said: str
) -> None:
    done = goaway(partly, command, "--from", period[0], "--to", period[1], *UTC)
    assert done.returncode == 0 and said in done.stderr
    proposed = shlex.split(done.stderr.rpartition("Try: goaway ")[2])
    assert proposed[:5] == [command, "--from", "2026-11-24", "--to", "2026-11-25"]
    assert proposed[5:] == ["--timezone", "UTC", "--data", "/nonexistent"]
    again = goaway(partly, *proposed[:7])
    assert again.returncode == 0 and len(again.stdout.splitlines()) > 10


def test_nothing_found_within_what_is_kept_is_said_plainly(partly: ClickHouseSettings) -> None:
    done = goaway(
        partly, "search", "192.0.2.99", "--from", "2026-11-24T13:16", "--to", "2026-11-24T13:17", *UTC
    )
    assert done.stderr.count("\n") == 1 and "nothing found from" in done.stderr
    done = goaway(partly, "search", "192.0.2.99", *DAY)
    assert f"events are kept from 2026-11-24 {GONE}:" in done.stderr and "Try" not in done.stderr


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    try:
        for command, said in (
            ("search", "no events are stored"),
            ("stats", "no counts by minute are stored"),
        ):
            done = goaway(store.settings, command)
            assert done.returncode == 0 and said in done.stderr, done.stderr
    finally:
        store.stop()

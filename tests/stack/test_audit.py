"""`goaway audit` on two months that the pipeline's own modules stored."""

import csv
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import structs

from streams.audit.monthly import Month, month
from streams.audit.proposals import Proposal, Thresholds
from streams.config import ClickHouseSettings
from streams.model.instant import Instant, parse_instant
from streams.wire.policy_entries import Entries
from tests.parts import ROOT
from tests.stack.month_log import (
    BOTNET,
    BURST,
    CROWD,
    GONE,
    GREYLISTED,
    MONITOR,
    NEW,
    PARTNER,
    SCANNER,
    SECOND,
    STALE_LIST,
    MonthLog,
    whole_log,
)
from tests.stack.recorded_store import SAMPLE, Recorder, events_of
from tests.stack.sink_process import Store
from tests.stack.test_search import goaway

pytestmark = pytest.mark.needs("chdb")

OCTOBER: Final = parse_instant("2026-10-01T00:00:00Z")
NOVEMBER: Final = parse_instant("2026-11-01T00:00:00Z")
DECEMBER: Final = parse_instant("2026-12-01T00:00:00Z")
SILENT: Final = "198.18.51.2"
HIDDEN: Final = "198.18.50.1"
LISTED: Final = "198.18.60.14"
BESIDE: Final = "198.18.60.41"
NEW_CLIENT: Final = "2001:db8:5::/64"
EXEMPT: Final[Entries] = {
    f"exempt/rate/{GONE}": {"note": "the old relay"},
    f"exempt/greylist/{PARTNER}": {},
    "exempt/rate/198.51.100.0/28": {"note": "nobody any more"},
    "exempt/rate/2001:db8:5::/48": {"note": "new ones"},
    "exempt/dnsbl/192.0.2.99": {"expires": "2026-11-20T00:00:00Z"},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    store = Store(tmp_path_factory.mktemp("audit"))
    try:
        recorder = Recorder(store.settings)
        recorder.log(whole_log())
        recorder.change(1, EXEMPT, at="2026-10-02T00:00:00Z", who="anna")
        recorder.change(
            2, {"exempt/dnsbl/192.0.2.77": {}}, at="2026-11-25T08:00:00Z", who="=bert", note="ticket 7"
        )
        yield store.settings
    finally:
        store.stop()


def reviewed(settings: ClickHouseSettings, start: Instant, end: Instant, **given: Any) -> Month:
    asked: dict[str, Any] = {"thresholds": Thresholds(stale_days=20), "entries": EXEMPT, "now": end} | given
    return month(settings, start, end, **asked)


@pytest.fixture(scope="module")
def november(settings: ClickHouseSettings) -> Month:
    return reviewed(settings, NOVEMBER, DECEMBER)


def kinds(found: Month) -> dict[str, str]:
    return {it.subject: it.kind for it in found.proposals}


def test_everybody_is_proposed_what_they_deserve(november: Month) -> None:
    assert kinds(november) == {
        MONITOR: "exempt",
        PARTNER: "exempt",
        SCANNER: "block",
        "198.18.7.0/24": "block",  # BOTNET: nobody there delivers
        **dict.fromkeys(CROWD, "block"),  # theirs is a network from which others deliver
        BURST: "look",
        GREYLISTED: "look",
        STALE_LIST: "look",  # delivered in October
        f"exempt/rate/{GONE}": "remove",
        "exempt/rate/198.51.100.0/28": "remove",
        "exempt/dnsbl/192.0.2.99": "remove",
    }
    assert (
        len(BOTNET)
        == next(it for it in november.proposals if it.subject == "198.18.7.0/24").evidence["clients"]
    )
    assert november.scaled == november.thresholds and november.days == 30
    order = [it.kind for it in november.proposals]
    assert order == sorted(order, key=["exempt", "block", "remove", "look"].index)


def test_the_evidence_is_what_was_counted(november: Month) -> None:
    by_subject = {it.subject: it for it in november.proposals}
    network = by_subject["198.18.7.0/24"].evidence
    assert network["violations"] == network["connections"] == 6 * 4 * 30
    assert network["violated"] == "pregreet (720 times)" and "refused" not in network
    of_burst = "its network delivered: 1200 messages from others in 203.0.113.0/24"
    assert all(of_burst in by_subject[it].why for it in CROWD)
    monitor = by_subject[MONITOR].evidence
    assert (monitor["connections"], monitor["messages"], monitor["every"]) == (144 * 30, 0, "10 min")
    assert monitor["name"] == "probe.monitor.example"
    partner = by_subject[PARTNER].evidence
    assert (partner["connections"], partner["messages"], partner["days"]) == (1200, 1800, 30)
    scanner = by_subject[SCANNER].evidence
    assert scanner["refusals"] == scanner["connections"] == 261
    assert "User unknown" in scanner["refused"]
    stale_list = by_subject[STALE_LIST]
    assert stale_list.why == "used to deliver: 310 messages, the last in 2026-10; none in this month"
    assert stale_list.command == f"goaway stats {STALE_LIST} --by day --from 2026-10-01 --to 2026-12-01"
    assert (stale_list.evidence["messages"], stale_list.evidence["messages in other months"]) == (0, 310)
    removed = by_subject[f"exempt/rate/{GONE}"]
    assert "2026-10-31" in removed.why and removed.command == f"goaway policy remove exempt/rate/{GONE}"
    assert "never seen" in by_subject["exempt/rate/198.51.100.0/28"].why
    assert "expired on 2026-11-20" in by_subject["exempt/dnsbl/192.0.2.99"].why


def test_figures_and_series_add_up(november: Month) -> None:
    assert november.total is not None and november.before is not None
    assert (
        november.total.counts["refusals"] == sum(sum(day.refusals.values()) for day in november.daily) == 541
    )
    assert november.total.counts["connections"] == sum(count for _, _, count in november.hourly)
    assert len(november.daily) == 30
    spoken: dict[str, int] = {}
    for day in november.daily:
        for trigger, count in day.refusals.items():
            spoken[trigger] = spoken.get(trigger, 0) + count
    assert spoken == {"rate": 60, "reputation": 10, "greylist": 120, "the MTA's own rules": 351}
    assert sum(spoken.values()) - spoken["the MTA's own rules"] == november.total.counts["go_aways"]
    assert [it.row.name for it in november.refused][:3] == [SCANNER, STALE_LIST, GREYLISTED]
    assert november.refused[0].reasons[0] == ("550 5.1.1 Recipient address rejected: User unknown", 201)
    assert [it.number for it in november.changes] == [2]


def test_months_are_compared(november: Month, settings: ClickHouseSettings) -> None:
    found = {it.client: it for it in november.compared}
    assert (found[GONE].what, found[GONE].connections) == ("gone", (0, 31 * 12))
    assert (found[NEW_CLIENT].what, found[NEW_CLIENT].messages) == ("new", (300, 0))
    assert found[SCANNER].what == "new" and PARTNER not in found and MONITOR not in found
    assert NEW.startswith("2001:db8:5:")
    october = reviewed(settings, OCTOBER, NOVEMBER)
    assert october.compared == () and any("nothing to compare" in it for it in october.remarks)
    assert any(
        "too late to say" in it
        for it in reviewed(settings, OCTOBER, NOVEMBER, thresholds=Thresholds()).remarks
    )


def test_an_exemption_that_is_young_or_used_stays(settings: ClickHouseSettings) -> None:
    def removed(**given: Any) -> set[str]:
        found = reviewed(settings, NOVEMBER, DECEMBER, **given)
        return {it.subject for it in found.proposals if it.kind == "remove"}

    young: Entries = {"exempt/dnsbl/192.0.2.77": {}}  # five days old
    assert removed(entries=young) == set()
    assert removed(entries=young, thresholds=Thresholds(stale_days=4)) == {"exempt/dnsbl/192.0.2.77"}
    for used in (
        "2001:db8:5::25",
        "2001:db8:5::/64",
        "2001:db8::/32",
        f"{PARTNER}",
        "192.0.2.0/28",
        "192.0.0.0/8",
    ):
        assert removed(entries={f"exempt/rate/{used}": {}}) == set(), used
    for unused in ("2001:db8:5::26", "2001:db8:6::/64", "192.0.2.11", "192.0.2.64/26", "10.0.0.0/8"):
        assert removed(entries={f"exempt/rate/{unused}": {}}) == {f"exempt/rate/{unused}"}, unused


def test_what_is_exempt_or_blocked_is_not_proposed_again(settings: ClickHouseSettings) -> None:
    entries: Entries = {f"exempt/rate/{MONITOR}": {}, f"blocks/{SCANNER}": {}}
    found = kinds(reviewed(settings, NOVEMBER, DECEMBER, entries=entries))
    assert MONITOR not in found and SCANNER not in found and PARTNER in found


def test_thresholds_scale_to_the_days_there_is_data_of(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    try:
        Recorder(store.settings).log(SAMPLE)
        found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={}, thresholds=Thresholds())
        assert (found.days, found.scaled.block_from, found.scaled.exempt_from) == (1, 10, 34)
        assert kinds(found) == {
            "192.0.2.10": "exempt",  # the sample's monitor
            "198.51.100.23": "block",  # its scanner
            "203.0.113.200": "block",  # who holds fifteen connections open
            "203.0.113.66": "look",  # its burst
        }
        whole = reviewed(store.settings, NOVEMBER, DECEMBER, entries={}, thresholds=Thresholds(), days=30)
        assert kinds(whole) == {"198.51.100.23": "block"}
        assert len(events_of(SAMPLE)) > 1000
    finally:
        store.stop()


def odd_log() -> bytes:
    """November: who says nothing by a clock, who hides behind one message, who sits beside a sender."""
    log = MonthLog()
    for number in range(600):
        at = SECOND + timedelta(minutes=10 * number)
        log.session(at, SILENT, counts="commands=0/0")
        if number < 10:
            log.session(at + timedelta(seconds=40), BESIDE, messages=1)
        if number < 120:
            log.refused(at + timedelta(seconds=50), HIDDEN, "554 5.7.1 <x@example.org>: Relay access denied")
            log.refused(at + timedelta(seconds=60), LISTED, "554 5.7.1 blocked using zone.example")
            log.pregreet(at + timedelta(seconds=70), LISTED)
    log.session(SECOND + timedelta(days=9), HIDDEN, messages=1)
    for number in range(1000):
        log.session(SECOND + timedelta(minutes=30 * number), "192.0.2.250", messages=1)
    return log.text()


def test_who_hides_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    try:
        Recorder(store.settings).log(odd_log())
        found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={}, days=30)
        by_subject = {it.subject: it for it in found.proposals}
        assert kinds(found) == {
            "192.0.2.250": "exempt",
            SILENT: "look",
            HIDDEN: "look",
            LISTED: "block",
        }
        assert by_subject[SILENT].why == "probes the port every 10 min and says nothing"
        assert by_subject[HIDDEN].why == "delivers, but 120 refusals outweigh 1 message"
        listed = by_subject[LISTED]
        assert "its network delivered: 10 messages from others in 198.18.60.0/24" in listed.why
        assert listed.evidence["refused"] == "554 5.7.1 blocked using zone.example (120 times)"
        assert listed.evidence["violated"] == "pregreet (120 times)"
        assert listed.evidence["helo"].startswith("=HYPERLINK(")
        assert [it.reasons for it in found.refused if it.row.name == LISTED] == [
            (("554 5.7.1 blocked using zone.example", 120),)
        ]
        monkeypatch.setattr("streams.audit.month_clients._FEW_ROWS", 0)
        again = reviewed(store.settings, NOVEMBER, DECEMBER, entries={}, days=30)
        assert again.proposals == found.proposals
    finally:
        store.stop()


def test_events_that_are_gone_block_nobody(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    try:
        Recorder(store.settings).log(whole_log())
        before = reviewed(store.settings, NOVEMBER, DECEMBER, entries={})
        assert not any("stored" in it and "events" in it for it in before.remarks)
        for condition, monitor in (("at < '2026-11-27'", "exempt"), ("at >= '2026-11-01'", "look")):
            store.rows(f"ALTER TABLE events DELETE WHERE {condition} SETTINGS mutations_sync = 2")
            found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={})
            assert kinds(found) == kinds(before) | {MONITOR: monitor}
            note = next(it for it in found.remarks if "goaway db retention" in it)
            kept = (
                "events of this month are stored from 2026-11-27 00:00 on only"
                if monitor == "exempt"
                else "no event of this month"
            )
            assert kept in note and "nobody is proposed for blocking for want of them" in note
        shown = goaway(store.settings, "audit", "--month", "2026-11")
        assert "no event of this month is stored any more" in shown.stdout
        monitors = [it for it in shown.stdout.split("\n- ") if it.startswith(MONITOR)]
        assert len(monitors) == 1 and "goaway deny" not in monitors[0]
        store.rows("TRUNCATE TABLE traffic_by_minute")
        assert reviewed(store.settings, NOVEMBER, DECEMBER, entries={}).scaled.block_from == 100
    finally:
        store.stop()


def test_our_own_marks_do_not_stand_for_events_that_are_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    try:
        log = MonthLog()
        for number in range(400):
            log.session(SECOND + timedelta(hours=number), PARTNER, messages=1)
        recorder = Recorder(store.settings)
        events = recorder.log(log.text())
        learnt = [
            structs.replace(it, id=f"learnt{it.id}", kind="learnt") for it in events if it.kind == "connect"
        ]
        recorder.events(learnt)
        found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={})
        assert not any("goaway db retention" in it for it in found.remarks)
        late = "at >= '2026-11-12' AND kind = 'message'"
        store.rows(f"ALTER TABLE events DELETE WHERE {late} SETTINGS mutations_sync = 2")
        found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={})
        assert any("some events of this month are no longer stored" in it for it in found.remarks)
    finally:
        store.stop()


EARLY: Final = {"198.51.100.11": 300, "198.51.101.12": 310, "198.51.102.13": 320}
"""Scanners of the first day that are refused nothing, and how often each connects."""
PROBE: Final = "192.0.2.20"
BUSY: Final = "192.0.2.250"
WIDE: Final = "é" * 60
"""A name of 120 bytes; behind one more, byte 100 is within a letter."""


def busy_log() -> bytes:
    """November: one who delivers and one who watches, all month, and scanners of its first day."""
    log = MonthLog()
    for number in range(1300):
        log.session(SECOND + timedelta(minutes=30 * number), BUSY, messages=1)
    for number in range(2000):
        log.session(SECOND + timedelta(minutes=20 * number), PROBE, counts="ehlo=1 quit=1 commands=2")
    for address, count in EARLY.items():
        at = SECOND
        for number in range(count):
            at += timedelta(seconds=(30, 90, 290)[number % 3])
            log.session(at, address, counts="commands=0/0")
    for number in range(120):
        reply = f"554 5.7.1 <x@example.org>: x{'é' * 100}"
        log.refused(SECOND + timedelta(hours=number), LISTED, reply, helo=f"x{WIDE}")
    return log.text()


def test_the_busy_hide_nobody_who_was_there_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    try:
        Recorder(store.settings).log(busy_log())

        def proposed(read: int) -> dict[str, Proposal]:
            monkeypatch.setattr("streams.audit.month_facts._READ", read)
            found = reviewed(store.settings, NOVEMBER, DECEMBER, entries={}, days=30)
            assert not any("stored" in it and "events" in it for it in found.remarks)
            return {it.subject: it for it in found.proposals}

        whole = proposed(1_000_000)
        expected = {BUSY: "exempt", PROBE: "exempt", LISTED: "block", **dict.fromkeys(EARLY, "block")}
        assert {subject: it.kind for subject, it in whole.items()} == expected
        for read in (700, 500):
            found = proposed(read)
            for address in [*EARLY][: 3 if read == 700 else 2]:
                assert (found[address].kind, found[address].why) == ("block", whole[address].why)
                assert found[address].why.endswith(": says nothing, at no regular time")
                assert found[address].evidence == whole[address].evidence
            assert (found[BUSY].kind, found[PROBE].kind) == ("exempt", "exempt")
            assert "a monitor: connects every 20 min" in found[PROBE].why
        last = found[[*EARLY][2]]  # there is a third pass, and no fourth
        assert last.kind == "look" and "too little of it was read to tell" in last.why
        listed = whole[LISTED].evidence
        assert listed["helo"] == f"x{WIDE}"
        assert listed["refused"] == f"554 5.7.1 x{'é' * 100} (120 times)"
    finally:
        store.stop()


def test_csv_is_not_written_into_something_else(settings: ClickHouseSettings, tmp_path: Path) -> None:
    (tmp_path / "tables.csv").mkdir()
    (tmp_path / "report").write_text("mine")
    for arguments in (
        ("--csv", "audit.html"),
        ("--csv", "report"),
        ("--csv", "tables.csv"),
        ("--html", "a.csv", "--csv", "a.csv"),
    ):
        paths = [it if it.startswith("--") else str(tmp_path / it) for it in arguments]
        done = goaway(settings, "audit", "--month", "2026-11", *paths)
        assert done.returncode == 2 and "Try: goaway audit --csv" in done.stderr, done.stderr
    same = ("--html", f"{os.path.relpath(tmp_path, ROOT)}/a.csv", "--csv", str(tmp_path / "a.csv"))
    done = goaway(settings, "audit", "--month", "2026-11", *same)
    assert done.returncode == 2 and "name the same file" in done.stderr, done.stderr
    assert sorted(it.name for it in tmp_path.iterdir()) == ["report", "tables.csv"]
    assert (tmp_path / "report").read_text() == "mine"


def test_the_command_writes_every_form(settings: ClickHouseSettings, tmp_path: Path) -> None:
    page, folder, file = tmp_path / "a.html", tmp_path / "tables", tmp_path / "a.csv"
    arguments = ("audit", "--month", "2026-11", "--unused-days", "20")
    done = goaway(settings, *arguments, "--json", "--html", str(page), "--csv", str(folder))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {it["kind"] for it in found["proposals"]} == {"exempt", "block", "remove", "look"}
    assert found["days"] == 30 and found["policy_changes"][0]["who"] == "=bert"
    text = page.read_text()
    assert text.startswith("<!doctype html>") and "Audit of 2026-11" in text and "<script" not in text
    names = {it.name for it in folder.iterdir()}
    assert {"proposals.csv", "top.csv", "refused.csv", "compared.csv", "policy_changes.csv"} <= names
    with (folder / "policy_changes.csv").open(encoding="utf-8-sig", newline="") as opened:
        assert next(csv.DictReader(opened))["who"] == "'=bert"
    assert goaway(settings, *arguments, "--csv", str(file)).returncode == 0
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["subject"]: row["kind"] for row in rows}[SCANNER] == "block"
    shown = goaway(settings, *arguments)
    assert "The note of a block is part of the answer" in shown.stdout.replace("\n", " ")
    assert "To exempt (2)" in shown.stdout and f"goaway deny {SCANNER} --expires 90d" in shown.stdout
    assert goaway(settings, "audit", "--month", "2026-13").returncode == 2
    assert goaway(settings, *arguments, "--html", "/nonexistent/x.html").returncode == 4
    assert "Nothing was seen" in goaway(settings, "audit", "--month", "2020-01").stdout


def test_a_month_that_is_not_stored_has_no_days(settings: ClickHouseSettings) -> None:
    found = reviewed(settings, parse_instant("2027-01-01T00:00:00Z"), parse_instant("2027-02-01T00:00:00Z"))
    assert (found.days, found.total) == (0, None)
    assert not any("days have data" in it for it in found.remarks)
    shown = goaway(settings, "audit", "--month", "2020-01")
    assert "0 of 31 days have data" in shown.stdout
    done = goaway(settings, "audit", "--month", "2020-01", "--json")
    assert json.loads(done.stdout)["days"] == 0


def test_short_cuts_for_very_many_clients_say_the_same(
    november: Month, settings: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.audit.month_clients._FEW_ROWS", 0)
    monkeypatch.setattr("streams.audit.month_clients._EXACT_ROWS", 0)
    found = reviewed(settings, NOVEMBER, DECEMBER)
    assert found.proposals == november.proposals
    assert found.compared == november.compared
    assert (found.total, found.before) == (november.total, november.before)
    assert [it.name for it in found.top] == [it.name for it in november.top][: len(found.top)]

"""`goaway search` on what the pipeline's own modules stored."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from streams.audit.clickhouse import ClickHouse
from streams.audit.search import Query, _in_refusals, search
from streams.audit.story import story
from streams.config import ClickHouseSettings
from streams.model.client import Address, Client, parse_network
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.wire.policy_toml import read_policy
from streams.wire.postfix.ours import SPOKEN
from tests.parts import ROOT
from tests.stack.recorded_store import SAMPLE, Recorder
from tests.stack.sink_process import Store

pytestmark = pytest.mark.needs("chdb")

DAY: Final = ("--day", "2026-11-24", "--timezone", "utc")
START: Final = parse_instant("2026-11-24T00:00:00Z")
END: Final = parse_instant("2026-11-25T00:00:00Z")
EVIL: Final = '=cmd|" /C calc"\x1b]0;x\x07'
LIMITS: Final = {"requests_per_minute": 5, "concurrent_connections": 10, "connections_per_minute": 30}
POLICY: Final = "[[networks]]\ncidr = '203.0.113.0/24'\nname = 'Mieter'\nrequests_per_minute = 5\n"


def refused_line(second: float, text: str, pid: int = 7) -> str:
    stamp = f"2026-11-24T14:00:{second:09.6f}+00:00"
    return f"{stamp} mx2 postfix/smtpd[{pid}]: {text}\n"


def breach() -> bytes:
    """Six requests within a minute, then a connection that is refused, by a client of the network above."""
    who, lines = "unknown[203.0.113.250]", []
    for number in range(6):
        lines.append(refused_line(number, f"connect from {who}"))
        lines.append(refused_line(number + 0.1, f"{number:010X}: client={who}"))
        lines.append(refused_line(number + 0.3, f"disconnect from {who} ehlo=1 mail=1 quit=1 commands=3"))
    reply = f"551 5.7.1 <{who}>: Client host rejected: Go away: exceeded connection rate limit"
    lines.append(refused_line(20, f"connect from {who}"))
    lines.append(refused_line(20.1, f"NOQUEUE: reject: CONNECT from {who}: {reply}; proto=SMTP"))
    lines.append(refused_line(20.2, f"disconnect from {who} commands=0/0"))
    envelope = f"from=<{EVIL}> to=<b@example.org> proto=ESMTP helo=<{EVIL}>"
    evil = f"550 5.1.1 <x>: Recipient address rejected: unknown; {envelope}"
    lines.append(refused_line(30, f"connect from {who}", 8))
    lines.append(refused_line(30.1, f"NOQUEUE: reject: RCPT from {who}: {evil}", 8))
    lines.append(refused_line(30.2, f"disconnect from {who} commands=1/2", 8))
    return "".join(lines).encode()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    store = Store(tmp_path_factory.mktemp("search"))
    try:
        recorder = Recorder(store.settings)
        entries = {"networks/203.0.113.0/24": {"name": "Mieter", "requests_per_minute": 5}}
        recorder.change(1, entries, at="2026-11-24T12:00:00Z", who="anna", note="tenants")
        recorder.change(2, {"limits": {"requests_per_minute": 99}}, at="2026-11-24T20:00:00Z")
        recorder.log(SAMPLE)
        events = recorder.log(breach(), read_policy(POLICY))
        recorder.events(events[:3])  # shipped twice
        yield store.settings
    finally:
        store.stop()


def environment(settings: ClickHouseSettings) -> dict[str, str]:
    return {
        **os.environ,
        "GOAWAY_CLICKHOUSE": f"{settings.host}:{settings.port}",
        "GOAWAY_CLICKHOUSE_USER": settings.user,
        "GOAWAY_CLICKHOUSE_PASSWORD": settings.password,
        "GOAWAY_CLICKHOUSE_DATABASE": settings.database,
    }


def goaway(settings: ClickHouseSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams.cli", *arguments, "--data", "/nonexistent"]
    return subprocess.run(
        command, env=environment(settings), capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )


def hits(settings: ClickHouseSettings, *arguments: str) -> list[dict[str, Any]]:
    done = goaway(settings, "search", *arguments, *DAY, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_filter_is_what_grep_finds(settings: ClickHouseSettings) -> None:
    clickhouse = ClickHouse(settings)

    def found(**given: Any) -> list[Event]:
        made = search(
            clickhouse, Query(**{**{"start": START, "end": END, "what": "events", "limit": 10_000}, **given})
        )
        return [hit.event for hit in made if hit.event is not None]

    try:
        every = found()
        assert every == sorted(every, key=lambda it: (it.at, it.id), reverse=True)
        assert len({it.id for it in every}) == len(every) > 1000
        network = parse_network("198.51.100.0/24")
        checks: list[tuple[dict[str, Any], Any]] = [
            ({"codes": (550,)}, lambda it: it.code == 550),
            ({"codes": (551, 550)}, lambda it: it.code in (550, 551)),
            ({"text": "user UNKNOWN"}, lambda it: "user unknown" in it.detail.lower()),
            ({"text": "Go away"}, lambda it: "Go away" in it.detail),
            ({"networks": (parse_network("203.0.113.66"),)}, lambda it: it.address == "203.0.113.66"),
            ({"networks": (network,)}, lambda it: it.address.startswith("198.51.100.")),
            ({"networks": (parse_network("192.0.0.0/8"),)}, lambda it: it.address.startswith("192.")),
            ({"networks": (parse_network("2001:db8:25::7"),)}, lambda it: it.address == "2001:db8:25::7"),
            ({"networks": (parse_network("2001:db8::/32"),)}, lambda it: it.address.startswith("2001:db8:")),
            ({"networks": (parse_network("::/0"),)}, lambda it: ":" in it.address),
            ({"networks": (parse_network("0.0.0.0/0"),)}, lambda it: ":" not in it.address),
            ({"refused": True}, lambda it: it.code >= 400),
            (
                {"refused": True, "text": "unknown"},
                lambda it: it.code >= 400 and "unknown" in it.detail.lower(),
            ),
            ({"sender": "POST0@"}, lambda it: "post0@" in it.sender),
            (
                {"sender": "post*@example.com"},
                lambda it: it.sender.startswith("post") and it.sender.endswith("@example.com"),
            ),
            ({"sender": "post0"}, lambda it: "post0" in it.sender),
            ({"sender": "*"}, lambda it: it.sender != ""),
            ({"recipient": "*"}, lambda it: it.recipient != ""),
            ({"sender": "<>"}, lambda it: False),
            ({"sender": "p_st0"}, lambda it: False),
            ({"recipient": "b@example.org"}, lambda it: "b@example.org" in it.recipient),
            ({"host": "mx2"}, lambda it: it.host == "mx2"),
            ({"trigger": "rate"}, lambda it: "exceeded connection rate limit" in it.detail),
            ({"trigger": "greylist"}, lambda it: False),
            ({"trigger": "other"}, lambda it: False),
            ({"rule": "requests_per_minute"}, lambda it: False),
            ({"codes": (550,), "host": "mx2"}, lambda it: it.code == 550 and it.host == "mx2"),
            ({"end": Instant(every[-1].at + 1)}, lambda it: it.at == every[-1].at),
        ]
        for given, holds in checks:
            wanted = [it for it in every if holds(it)]
            assert found(**given) == wanted, given
    finally:
        clickhouse.close()


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize(
    "asked",
    [{"codes": (551,)}, {"codes": (450, 550, 551), "host": "mx1"}, *({"trigger": it} for it in SPOKEN)],
)
def test_refusals_are_found_the_short_way_as_the_long(
    settings: ClickHouseSettings, asked: dict[str, Any], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clickhouse = ClickHouse(settings)

    def pages() -> list[str]:
        query = Query(START, END, what="events", limit=limit, **asked)
        found: list[str] = []
        for _ in range(30):
            page = search(clickhouse, query)
            found += [it.id for it in page]
            if len(page) < limit:
                break
            query = replace(query, before=page[-1].cursor)
        return found

    assert _in_refusals(Query(START, END, **asked))
    short = pages()
    monkeypatch.setattr("streams.audit.search._in_refusals", lambda query: False)
    assert short == pages()
    assert short or asked.get("trigger") not in ("rate", None)


def test_pages_follow_one_another_without_gap_or_double(settings: ClickHouseSettings) -> None:
    whole = [hit["id"] for hit in hits(settings, "--limit", "10000")]
    paged: list[str] = []
    before: list[str] = []
    for _ in range(20):
        done = goaway(settings, "search", *DAY, "--json", "--limit", "100", *before)
        page = [json.loads(line)["id"] for line in done.stdout.splitlines()]
        paged += page
        if len(page) < 100:
            break
        before = ["--before", done.stderr.rpartition("--before ")[2].strip()]
    assert paged == whole[: len(paged)]
    assert len(paged) == min(len(whole), 2000)


def test_a_refusal_shows_the_block_that_stood(settings: ClickHouseSettings) -> None:
    [hit] = hits(settings, "--code", "551", "--what", "events")
    assert hit["event"]["client"] == "203.0.113.250"
    decision = hit["decision"]
    assert (decision["trigger"], decision["rule"]) == ("rate", "requests_per_minute")
    assert decision["evidence"] == {
        "count": 6,
        "limit": 5,
        "window_s": 60,
        "network": "203.0.113.0/24",
        "strike": 1,
    }
    found = hits(settings, "--trigger", "rate", "--rule", "requests_per_minute")
    assert {it["event"] for it in found} == {None}
    assert {it["decision"]["client"] for it in found} == {"203.0.113.66", "198.51.100.23", "203.0.113.250"}
    found = hits(settings, "203.0.113.0/24", "--text", "go away: EXCEEDED", "--what", "decisions")
    assert {it["decision"]["trigger"] for it in found} == {"rate"}


def test_the_story_of_a_refusal(settings: ClickHouseSettings) -> None:
    [hit] = hits(settings, "--code", "551", "--what", "events")
    for id_ in (hit["id"], hit["event"]["id"]):
        told = json.loads(goaway(settings, "search", "--story", id_, "--json").stdout)
        assert told["event"]["id"] == hit["event"]["id"]
        assert told["decision"]["id"] == hit["decision"]["id"] and told["brought_about"] is False
        assert [it["kind"] for it in told["session"]] == ["connect", "refusal", "disconnect"]
        assert [it["kind"] for it in told["counted"]] == ["mail"] * 6
        policy = told["policy"]
        assert policy["entry_key"] == "networks/203.0.113.0/24"
        assert policy["entry"] == {"name": "Mieter", "requests_per_minute": 5}
        assert (policy["change"]["number"], policy["change"]["who"]) == (1, "anna")
        assert policy["version"] == hit["decision"]["policy"]
        commands = [it["command"] for it in told["would_have_passed"]]
        assert commands[0] == "goaway policy set networks.203.0.113.0/24.requests_per_minute 7"
    text = goaway(settings, "search", "--story", hit["id"], "--timezone", "utc").stdout
    for words in (
        "it stood when this event was refused",
        "change 1 by anna",
        "tenants",
        "6 in 60 s, limit 5",
    ):
        assert words in text


def test_the_policy_of_a_story_is_the_one_that_decided_and_its_remedy_looks_at_the_one_of_now(
    tmp_path: Path,
) -> None:
    key = "networks/203.0.113.0/24"
    store = Store(tmp_path / "store")
    try:
        recorder = Recorder(store.settings)
        recorder.change(1, {key: {"name": "Mieter", "requests_per_minute": 9}}, at="2026-11-24T12:00:00Z")
        recorder.log(breach(), read_policy(POLICY))  # of 14:00, shipped after change 2
        recorder.change(2, {key: {"name": "Mieter", "requests_per_minute": 5}}, at="2026-11-24T14:40:00Z")
        [hit] = hits(store.settings, "--code", "551", "--what", "events")

        def told() -> tuple[dict[str, Any], str]:
            opened = ("search", "--story", hit["id"], "--timezone", "utc")
            text = goaway(store.settings, *opened).stdout
            return json.loads(goaway(store.settings, *opened, "--json").stdout), text

        told_json, text = told()
        policy = told_json["policy"]
        assert policy["version"] == policy["change"]["version"] == hit["decision"]["policy"]
        assert policy["change"]["number"] == 2 and policy["entry"]["requests_per_minute"] == 5
        assert ", change 2 by anna at 2026-11-24 14:40:00" in text
        assert f"goaway policy set {key.replace('/', '.', 1)}.requests_per_minute 7" in text
        recorder.change(3, {key: {"name": "Mieter", "requests_per_minute": 20}}, at="2026-11-24T16:00:00Z")
        told_json, text = told()
        assert told_json["policy"] == policy
        assert [it["command"] for it in told_json["would_have_passed"]] == [None]
        assert "its requests_per_minute of 20 allows this" in text and "goaway policy set" not in text
    finally:
        store.stop()


def test_the_story_of_a_decision_opens_the_session_that_brought_it_about(
    settings: ClickHouseSettings,
) -> None:
    [hit] = [it for it in hits(settings, "203.0.113.250") if it["decision"] and not it["event"]]
    told = story(settings, hit["id"], START, END)
    assert told is not None and told.event is not None and told.decision is not None
    assert told.brought_about and told.event.id == told.decision.event
    assert [it.kind for it in told.session] == ["connect", "mail", "disconnect"]
    assert story(settings, "0000000000000000", START, END) is None
    missing = goaway(settings, "search", "--story", "0000000000000000")
    assert missing.returncode == 1 and "Try: goaway search" in missing.stderr


def test_what_a_remote_wrote_is_obeyed_by_nothing(settings: ClickHouseSettings) -> None:
    for extra in ((), ("--csv",), ("--json",)):
        done = goaway(settings, "search", "--sender", "=cmd", *DAY, *extra)
        assert "=cmd" in done.stdout
        assert "\x1b" not in done.stdout and "\x07" not in done.stdout
    rows = list(
        csv.DictReader(io.StringIO(goaway(settings, "search", "--sender", "=cmd", *DAY, "--csv").stdout))
    )
    assert [row["sender"][:5] for row in rows] == ["'=cmd"]
    [hit] = hits(settings, "--sender", "=cmd")
    told = goaway(settings, "search", "--story", hit["id"]).stdout
    assert "=cmd" in told and "\x1b" not in told


def test_mistakes_are_answered_with_the_next_command(settings: ClickHouseSettings) -> None:
    for arguments, said in (
        (("203.0.113.1-203.0.113.9",), "Try: "),
        (("--before", "nonsense"), "--before"),
        (("--follow", "--to", "2026-11-24"), "--follow"),
        (("--last", "1h", "--day", "2026-11-24"), "exclude"),
    ):
        done = goaway(settings, "search", *arguments)
        assert done.returncode == 2 and said in done.stderr, arguments
    empty = goaway(settings, "search", "192.0.2.99", *DAY)
    assert (empty.returncode, empty.stdout) == (0, "") and "nothing found" in empty.stderr


def test_follow_shows_what_comes_in_once(settings: ClickHouseSettings, tmp_path: Path) -> None:
    recorder = Recorder(settings, first_offset=1_000_000)
    out = tmp_path / "out"

    def happened(number: int) -> Event:
        return Event(
            id=f"f{number:015x}",
            at=Instant(time.time_ns() // 1000),
            kind="connect",
            client=Client("198.18.0.9"),
            address=Address("198.18.0.9"),
            session=f"mx/{number}",
            host="mx",
        )

    recorder.events([happened(1)])
    with out.open("w") as opened:
        following = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streams.cli",
                "search",
                "198.18.0.9",
                "--follow",
                "--last",
                "1h",
                "--json",
            ],
            env=environment(settings),
            stdout=opened,
            cwd=ROOT,
        )
    try:
        for number in (2, 3):
            time.sleep(1.5)
            recorder.events([happened(number)])
        ends = time.monotonic() + 20
        while out.read_text().count("\n") < 3 and time.monotonic() < ends:
            time.sleep(0.2)
        time.sleep(2.5)  # long enough for a double
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    ids = [json.loads(line)["event"]["id"][-1] for line in out.read_text().splitlines()]
    assert ids == ["1", "2", "3"]


def test_follow_never_shows_what_the_first_page_left_out(
    settings: ClickHouseSettings, tmp_path: Path
) -> None:
    recorder = Recorder(settings, first_offset=2_000_000)
    began = time.time_ns() // 1000

    def happened(number: int, ago_s: int) -> Event:
        return Event(
            id=f"e{number:015x}",
            at=Instant(began - ago_s * 1_000_000),
            kind="connect",
            client=Client("198.18.0.10"),
            address=Address("198.18.0.10"),
            session=f"mx/{number}",
            host="mx",
        )

    recorder.events([happened(number, 60 - 10 * number) for number in (1, 2, 3, 4)])
    out = tmp_path / "out"
    arguments = ["search", "198.18.0.10", "--follow", "--last", "10m", "--limit", "2", "--csv"]
    with out.open("w") as opened:
        following = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *arguments],
            env=environment(settings),
            stdout=opened,
            cwd=ROOT,
        )

    def shown() -> list[str]:
        return [row["session"] for row in csv.DictReader(io.StringIO(out.read_text()))]

    def wait_for(count: int) -> None:
        ends = time.monotonic() + 20
        while len(shown()) < count and time.monotonic() < ends:
            time.sleep(0.2)

    try:
        wait_for(2)
        recorder.events([happened(5, 55), happened(6, 25), happened(7, 5)])  # the first is too old
        wait_for(4)
        time.sleep(2.5)
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    assert shown() == ["mx/3", "mx/4", "mx/6", "mx/7"]

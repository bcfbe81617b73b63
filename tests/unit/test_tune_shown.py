"""What `goaway tune` shows of all that it found: on a terminal, on its page, and as JSON."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from streams.cli.tune import tune as command
from streams.errors import UsageError
from streams.model.client import parse_network
from streams.model.event import Event
from streams.model.policy import Limits, NetworkRule, Policy
from streams.replay.pareto_chart import pareto_chart
from streams.replay.setting import grid, setting_of
from streams.replay.tune_json import document
from streams.replay.tune_page import cautions, summary, tune_page
from streams.replay.tune_tables import brief, ranked
from streams.replay.tuning import Tuned, tune
from streams.wire.frames import encode_frame
from tests.unit.tune_history import MONITOR, SCANNER, SENDER, event, made, session

UNKNOWN, DOUBTFUL, PARTNER = "198.51.100.150", "198.51.100.200", "198.51.100.99"


def history() -> list[Event]:
    """With a client of which nothing is known, which opens 15 connections within a minute; one that delivers
    a message and then errs 200 times; a partner whom Goaway refused."""
    events = made()
    for number in range(15):
        events += session(20_000 + number * 3, UNKNOWN, number)
    events += session(50, DOUBTFUL, 0, mails=1, ended="ehlo=1 quit=1 commands=2")
    for number in range(1, 200):
        events += session(10_000 + number / 4, DOUBTFUL, number, ended="ehlo=1 auth=0/2 commands=1/3")
    for number in range(3):
        said = "551 5.7.1 Go away: exceeded connection rate limit"
        events.append(event(9000 + number, "refusal", PARTNER, str(number), code=551, detail=said))
    return sorted(events, key=lambda it: (it.at, it.id))


EVENTS = history()


@pytest.fixture(scope="module", name="tuned")
def _tuned() -> Tuned:
    return tune(Policy(), lambda: EVENTS)


def run(folder: Path, *arguments: str) -> Result:
    file = folder / "events.jsonl"
    file.write_bytes(encode_frame(EVENTS))
    return CliRunner().invoke(command, [str(file), *arguments], env={"GOAWAY_POLICY": None})


def test_doubtful_and_unclear_clients_that_would_be_refused_are_told(tmp_path: Path, tuned: Tuned) -> None:
    row = tuned.weighed[tuned.recommended]
    assert (row.clients["doubtful"], row.clients["unclear"], row.refused["unclear"]) == (1, 1, 2)
    told = " ".join(summary(tuned))
    assert "; unclear clients blocked 1, attempts of theirs refused 2. The limits of now" in told
    assert f"; doubtful clients blocked 1, attempts of theirs refused {row.refused['doubtful']};" in told
    warned = [it for it in cautions(tuned) if "too little is known" in it]
    assert warned == [
        "Clients of which too little is known would be blocked: 1; attempts of theirs refused 2. "
        "Look at the busiest unclear clients."
    ]
    said = run(tmp_path).stdout
    assert all(f"The busiest {side} clients" in said for side in ("legitimate", "doubtful", "unclear"))
    lines = said.splitlines()
    heading = next(it for it in lines if it.lstrip().startswith("limits"))
    assert heading.split() == ["limits", "cool-down", "stopped", "hurt", "doubtful", "unclear"]
    best = next(it for it in lines if it.startswith("*"))
    assert " ".join(best.split()).endswith(f"1 ({row.refused['doubtful']}) 1 (2)")
    assert warned[0] in " ".join(said.split())


def test_nobody_else_refused_is_not_mentioned() -> None:
    found = tune(Policy(), made)
    assert not any("unclear" in it or "doubtful" in it for it in [*summary(found), *cautions(found)])


def test_that_goaway_itself_cut_the_history_short_is_said_everywhere(tmp_path: Path) -> None:
    said = "Goaway itself refused 3 attempts of 1 client in this history: what they would have sent is not"
    found = run(tmp_path, "--html", str(tmp_path / "tune.html"))
    assert said in " ".join(found.stdout.split())
    assert said in (tmp_path / "tune.html").read_text()
    assert any(it.startswith(said) for it in json.loads(run(tmp_path, "--json").stdout)["cautions"])


def table_rows(page: str) -> list[str]:
    """First cells of the last table of the page."""
    whole = page.rpartition("<tbody>")[2].partition("</tbody>")[0]
    root = ElementTree.fromstring(f"<tbody>{whole}</tbody>")
    return [row[0].text or "" for row in root]


def test_the_page_has_a_row_for_each_setting(tuned: Tuned) -> None:
    page = tune_page(tuned)
    assert "What each setting would have done" in page
    assert len(table_rows(page)) == len(tuned.settings)
    assert table_rows(page)[:2] == ["2/12/20 (recommended)", "10/30/20 (now)"]


def test_what_is_recommended_and_holds_already_is_named_as_both() -> None:
    again = tune(Policy(limits=tune(Policy(), made).after.limits), made)
    assert again.now == again.recommended
    assert table_rows(tune_page(again))[0] == "2/12/20 (now, recommended)"


def test_the_table_of_the_page_is_bounded_and_begins_with_those_that_matter() -> None:
    many = grid(
        concurrent_connections=range(2, 22),
        connections_per_minute=range(2, 22),
        requests_per_minute=(20,),
        cool_down_s=(60,),
        cool_down_growth=(1,),
    )
    found = tune(Policy(), lambda: EVENTS, settings=many)
    page = tune_page(found)
    rows = table_rows(page)
    assert len(rows) == 300
    assert [it.partition(" (")[2] for it in rows[:2]] == ["recommended)", "now)"]
    assert f"{len(found.settings) - 300} more settings, which do worse, are in --json" in page
    order = ranked(found)
    assert sorted(order) == list(range(len(found.settings)))
    hurt = [found.weighed[it].clients["legitimate"] for it in order if found.beaten(it)][1:]
    assert all(one <= other for one, other in pairwise(hurt)), "the fewest hurt come first"


def test_dots_name_their_settings_and_not_more_than_eight() -> None:
    names = [f"<{it}>" for it in range(12)]
    points = [(0, 5)] * 10 + [(1, 7), (0, 2)]
    chart = pareto_chart(points, [0, 10], names=names, now=11, recommended=1, width=860, height=400)
    titles = [it.text for it in ElementTree.fromstring(chart).iter() if it.tag.endswith("title")]
    assert titles == [
        "1 setting: 2 stopped, 0 hurt: <11>",
        f"10 settings: 5 stopped, 0 hurt: {'; '.join(names[:8])} and 2 more",
        "1 setting: 7 stopped, 1 hurt: <10>",
        "the limits of now: <11>",
        "recommended: <1>",
    ]


def test_the_chart_of_the_page_has_the_names(tuned: Tuned) -> None:
    assert f"<title>recommended: {brief(tuned.settings[tuned.recommended])}</title>" in tune_page(tuned)


def settings_of(output: str) -> list[str]:
    """Lines of the terminal's table of settings."""
    lines = output.splitlines()
    first = next(place for place, it in enumerate(lines) if it.lstrip().startswith("limits"))
    return lines[first + 1 : lines.index("", first)]


def test_the_terminal_has_every_setting_that_was_named(tmp_path: Path) -> None:
    named = run(tmp_path, "--connections-per-minute", "5,50,80", "--cool-down-s", "60,600")
    shown = settings_of(named.stdout)
    asked = {(f"10/{limit}/20", cool) for limit in (5, 50, 80) for cool in ("60", "600")}
    assert {tuple(it[3:].split()[:2]) for it in shown} >= asked
    unnamed = settings_of(run(tmp_path).stdout)
    assert len(unnamed) < 10
    assert unnamed[-1].endswith("more; --json has all, --html as a table")


def test_the_terminals_settings_are_bounded(tmp_path: Path) -> None:
    levels = ",".join(str(it) for it in range(1, 201))
    shown = settings_of(run(tmp_path, "--connections-per-minute", levels).stdout)
    assert len(shown) == 101
    assert shown[-1] == "and 101 more; --json has all, --html as a table"


def test_json_has_who_is_busiest_with_counts_and_reasons() -> None:
    crowd = [it for n in range(40) for it in session(15_000 + n, f"198.51.101.{n}", 1)]
    events = sorted([*EVENTS, *crowd], key=lambda it: (it.at, it.id))
    found = document(tune(Policy(), lambda: events))
    clients = {it["client"]: it for of in found["busiest_clients"].values() for it in of}
    assert {side: len(of) for side, of in found["busiest_clients"].items()} == {
        "legitimate": 2,
        "doubtful": 1,
        "unclear": 25,
        "abusive": 1,
    }
    assert [it["client"] for it in found["busiest_clients"]["legitimate"]] == [SENDER, MONITOR]
    sender, scanner = clients[SENDER], clients[SCANNER]
    assert (sender["open"], sender["connections_per_minute"], sender["requests_per_minute"]) == (1, 10, 16)
    assert (sender["connections"], sender["messages"], sender["verdict"]) == (10, 16, "legitimate")
    assert (scanner["connections"], scanner["verdict"]) == (600, "abusive")
    assert scanner["reasons"] == found["legitimacy"][SCANNER]["reasons"] != ()


def test_json_has_networks_before_and_after() -> None:
    follows = NetworkRule(network=parse_network("198.51.100.0/24"), name="follows", limits=Limits())
    many = [it for n in range(300) for it in session(9000 + n * 60, SENDER, 1000 + n, mails=1)]
    few = [it for n in range(3) for it in session(9000 + n * 600, "198.51.102.77", n, mails=1)]
    events = sorted([*made(), *many, *few], key=lambda it: (it.at, it.id))
    found = tune(Policy(networks=(follows,)), lambda: events, each_network=True)
    entries = {it["network"]: it for it in document(found)["entries"]}
    assert set(entries) == {"198.51.100.0/24", *found.new_networks}
    old, (name,) = entries["198.51.100.0/24"], found.new_networks
    assert old["before"]["connections_per_minute"] == 30
    assert old["after"]["connections_per_minute"] == found.after.limits.connections_per_minute
    assert entries[name]["before"] is None
    assert entries[name]["after"]["requests_per_minute"] == 20
    same = tune(Policy(networks=(follows,), limits=Limits()), lambda: [*session(1, SENDER, 1)])
    assert [it for it in document(same)["entries"] if it["before"] == it["after"]] == []


def test_every_setting_at_a_point_of_the_front_is_on_it(tuned: Tuned) -> None:
    found: dict[str, Any] = document(tuned)
    assert found["recommended"]["front"], "though another setting does the same"
    assert tuned.recommended not in tuned.front
    best = {
        (it["clients"]["legitimate"], it["clients"]["abusive"]) for it in found["settings"] if it["front"]
    }
    by_point = [it["clients"] for it in found["settings"] if not it["front"]]
    assert not any((it["legitimate"], it["abusive"]) in best for it in by_point)
    assert found["settings"][tuned.now] == found["now"]
    assert found["now"].items() >= {"connections_per_minute": 30, "front": found["now"]["front"]}.items()
    assert setting_of(Policy().limits) == tuned.settings[tuned.now]


@pytest.mark.parametrize(
    "given",
    [("--yes",), ("--short-history",), ("--lone-client",), ("--note", "ticket 4711"), ("--by", "anna")],
)
def test_flags_that_are_for_apply_alone_are_refused_without_it(given: tuple[str, ...]) -> None:
    found = CliRunner().invoke(command, ["no-such-file", *given])
    assert isinstance(found.exception, UsageError)
    assert f"{given[0]} is for --apply" in str(found.exception)

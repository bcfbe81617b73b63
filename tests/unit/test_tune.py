"""Tuning: who is legitimate and why, what is recommended, what the chart and the command say."""

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.cli.tune import tune as command
from streams.errors import UsageError
from streams.model.client import Client, parse_network
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Exemption, Limits, NetworkRule, Policy, Suspension
from streams.model.schedule import Schedule
from streams.model.standing import PolicyIndex
from streams.replay.covered import length
from streams.replay.legitimacy import legitimacy, protected
from streams.replay.observed import Observed
from streams.replay.pareto import front
from streams.replay.pareto_chart import pareto_chart
from streams.replay.peaks import observe
from streams.replay.recommend import pick, with_headroom
from streams.replay.run import replay
from streams.replay.setting import RULES, Setting, grid, setting_of
from streams.replay.sweep import Sweep
from streams.replay.tune_page import cautions, tune_page
from streams.replay.tuning import Tuned, tune
from streams.replay.weighing import SIDES, Side, Weighed, weigh
from tests.unit.tune_history import MONITOR, SCANNER, SENDER, START, STRANGER, event, made, session, write

EVENTS = made()


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return tune(Policy(), lambda: EVENTS)


def verdicts(events: Iterable[Event], policy: Policy | None = None) -> dict[str, str]:
    return {client: legitimacy(it).verdict for client, it in observe(policy or Policy(), events).items()}


def test_who_is_who() -> None:
    assert verdicts(EVENTS) == {
        MONITOR: "legitimate",
        SENDER: "legitimate",
        SCANNER: "abusive",
        STRANGER: "unclear",
    }


def test_the_monitor_is_found_by_its_rhythm_and_says_so(tuned: Tuned) -> None:
    seen, thought = tuned.clients[Client(MONITOR)]
    assert seen.messages == 0
    assert "connects every 60 s for 8 h and never errs" in thought.reasons[0]


@pytest.mark.parametrize("spoilt", ["violation", "auth_failure", "reputation", "rude"])
def test_a_prober_that_errs_once_is_none(spoilt: str) -> None:
    extra = {
        "violation": event(5, "violation", MONITOR, "0", violation="pipelining"),
        "auth_failure": event(5, "auth_failure", MONITOR, "0"),
        "reputation": event(5, "reputation", MONITOR, "0", detail="bl.example 127.0.0.2"),
        "rude": event(5, "disconnect", MONITOR, "0", detail="ehlo=1 mail=0/1 commands=1/2"),
    }[spoilt]
    assert verdicts([extra, *(it for it in EVENTS if it.address == MONITOR)])[MONITOR] != "legitimate"


def test_errors_of_a_dnsbl_are_no_listing() -> None:
    found = observe(Policy(), [event(5, "reputation", MONITOR, "0", detail="bl.example 127.255.255.254")])
    assert found[Client(MONITOR)].listed == ()


def test_a_rhythm_of_minutes_is_no_prober() -> None:
    hammering = [it for n in range(200) for it in session(n * 2, STRANGER, n, ended="ehlo=1 quit=1")]
    assert verdicts(hammering)[STRANGER] != "legitimate"


def test_who_delivered_is_protected_whatever_else_is_said() -> None:
    seen = Observed(EVENTS[0].address)
    seen.messages, seen.violations, seen.connects, seen.listed = 1, 100, 100, ("bl.example",)
    assert legitimacy(seen).verdict != "legitimate"
    assert protected(seen, legitimacy(seen))


def test_exempt_clients_are_legitimate_and_ask_for_no_limit() -> None:
    policy = Policy(exemptions=(Exemption(module="rate", network=parse_network(SENDER)),))
    found = tune(policy, lambda: EVENTS)
    assert found.clients[Client(SENDER)][1].reasons[0].startswith("+60 exempt")
    assert {it.client for it in found.busiest} == {MONITOR}


@pytest.mark.parametrize(("peak", "limit"), [(1, 2), (3, 4), (5, 6), (6, 8), (10, 12), (100, 120)])
def test_headroom(peak: int, limit: int) -> None:
    assert with_headroom(peak) == limit


def test_the_recommendation_hurts_nobody_and_stops_the_scanner(tuned: Tuned) -> None:
    setting, found = tuned.settings[tuned.recommended], tuned.weighed[tuned.recommended]
    assert (setting.connections_per_minute, setting.requests_per_minute) == (12, 20)
    assert (found.clients["legitimate"], found.clients["abusive"]) == (0, 1)
    assert found.refused["legitimate"] == 0
    assert found.refused["abusive"] > 500
    assert tuned.after.limits.connections_per_minute == 12
    assert tuned.now in range(len(tuned.settings))
    assert tuned.settings[tuned.now] == setting_of(Policy().limits)


def test_what_is_weighed_is_what_replays_show(tuned: Tuned) -> None:
    for number in {tuned.now, tuned.recommended, *tuned.front}:
        policy = tuned.settings[number].under(Policy())
        blocks = [
            it
            for it in replay(PolicyIndex(policy), EVENTS)
            if isinstance(it, Decision) and it.trigger == "rate" and it.action == "block"
        ]
        found = tuned.weighed[number]
        assert found.blocks == len(blocks)
        assert sum(found.clients.values()) == len({it.client for it in blocks})


def test_networks_get_limits_of_their_own() -> None:
    many = [it for n in range(300) for it in session(9000 + n * 60, SENDER, 1000 + n, mails=1)]
    few = [it for n in range(3) for it in session(9000 + n * 600, "198.51.100.77", n, mails=1)]
    events = sorted([*EVENTS, *many, *few], key=lambda it: (it.at, it.id))
    found = tune(Policy(), lambda: events, each_network=True)
    assert found.new_networks == ("192.0.2.0/24",)
    assert {it.rule: it.client for it in found.networks["192.0.2.0/24"]}["requests_per_minute"] == SENDER
    assert "192.0.2.0/24" in {str(it.network) for it in found.after.networks}
    assert found.weighed[found.recommended].clients["legitimate"] == 0
    assert found.weighed[found.now].blocks == weigh([Policy()], events, {})[0].blocks


def test_a_network_entry_that_differs_does_not_ask_of_limits() -> None:
    own = NetworkRule(
        network=parse_network("192.0.2.0/24"), name="ours", limits=Limits(connections_per_minute=99)
    )
    found = tune(Policy(networks=(own,)), lambda: EVENTS)
    assert "connections_per_minute" not in {it.rule for it in found.busiest}
    assert found.after.networks[0].limits.connections_per_minute == 99


def test_a_sweep_refuses_policies_that_differ_in_more_than_limits() -> None:
    with pytest.raises(ValueError, match="limits alone"):
        Sweep([Policy(), Policy(shadow=("rate",))])
    with pytest.raises(ValueError, match="limits alone"):
        Sweep([])


NOBODY: dict[Side, int] = dict.fromkeys(SIDES, 0)


def weighed(hurt: int, stopped: int, *, refused: int = 0) -> Weighed:
    return Weighed(
        clients={**NOBODY, "legitimate": hurt, "abusive": stopped},
        connections={**NOBODY, "abusive": refused},
        requests=NOBODY,
        hurt=[],
        doubtful=[],
    )


def test_the_front() -> None:
    found = [weighed(0, 3), weighed(0, 5, refused=1), weighed(0, 5, refused=9), weighed(2, 5), weighed(1, 7)]
    assert front(found) == [2, 4]
    assert front([weighed(0, 0)]) == [0]


def test_the_mildest_cool_down_that_nearly_does_as_much_is_picked() -> None:
    base = setting_of(Limits())
    settings = [replace(base, cool_down_s=it) for it in (600, 60, 120)]
    assert pick(settings, [weighed(0, 1, refused=it) for it in (100, 90, 96)], base) == 2
    assert pick(settings, [weighed(it, 1, refused=9) for it in (1, 0, 1)], base) == 1


def test_a_grid_has_every_combination_once() -> None:
    found = grid(
        concurrent_connections=(5, 10, 5),
        connections_per_minute=(30,),
        requests_per_minute=(20, 40),
        cool_down_s=(60,),
        cool_down_growth=(1, 2),
    )
    assert len(found) == len(set(found)) == 8
    assert {type(it.cool_down_growth) for it in found} == {float}


@pytest.mark.parametrize(
    "points", [[(0, 0)], [(0, 1)], [(0, 3), (2, 9), (1, 9)], [(n, 1000 + n) for n in range(100)]]
)
@pytest.mark.parametrize("width", [360, 860])
def test_every_mark_and_text_of_the_chart_lies_within_it(points: list[tuple[int, int]], width: int) -> None:
    names = [str(it) for it in range(len(points))]
    last = len(points) - 1
    chart = pareto_chart(points, [0], names=names, now=0, recommended=last, width=width, height=300)
    root = ElementTree.fromstring(chart)
    places = [(float(it.get("cx", 0)), float(it.get("cy", 0)), 11) for it in root.iter() if it.get("cx")]
    for x, y, reach in places:
        assert x - reach >= 0 and x + reach <= width and y - reach >= 0 and y + reach <= 300
    texts = [it for it in root.iter() if it.tag.endswith("text")]
    for it in texts:
        half = len(it.text or "") * 6.4
        left = {"end": half, "middle": half / 2}.get(it.get("text-anchor", ""), 0)
        x = float(it.get("x", 0))
        assert x - left >= 0 and x - left + half <= width, it.text
    label = next(it for it in texts if it.text == "abusive clients stopped")
    assert float(label.get("y", 0)) + 4 < min(y - reach for _, y, reach in places), "no mark lies on it"


def test_the_page_stands_alone_and_escapes_what_remotes_wrote() -> None:
    evil = "<script>alert(1)</script>"
    events = [replace(it, ptr=evil) for it in EVENTS]
    whole = tune_page(tune(Policy(), lambda: events))
    assert evil not in whole
    assert "&lt;script&gt;" in whole
    assert re.findall(r"(?:src|href)=|https?://(?!www\.w3\.org/2000/svg)", whole) == []


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin, env={"GOAWAY_POLICY": None})


def test_the_command_recommends(tmp_path: Path) -> None:
    found = run(str(write(tmp_path / "events.jsonl")), "--html", str(tmp_path / "tune.html"))
    assert found.exit_code == 0, found.output
    said = " ".join(found.output.split())
    assert "connections_per_minute = 12: the busiest legitimate client, 192.0.2.20, reached 10" in said
    assert "With it: abusive clients stopped 1," in said
    assert "8.0 hours long" in said
    plain = [it for it in found.output.splitlines() if not it.startswith(("written", "note", "To have"))]
    assert [it for it in plain if len(it) > 80] == []
    assert "<svg" in (tmp_path / "tune.html").read_text()


def test_standard_input_is_read_as_often_as_needed(tmp_path: Path) -> None:
    file = write(tmp_path / "events.jsonl")
    from_file, piped = run(str(file), "--json"), run("-", "--json", stdin=file.read_bytes())
    assert from_file.stdout == piped.stdout
    assert json.loads(piped.stdout)["recommended"]["connections_per_minute"] == 12


def test_the_levels_to_try_can_be_given(tmp_path: Path) -> None:
    file = str(write(tmp_path / "events.jsonl"))
    found = json.loads(run(file, "--json", "--connections-per-minute", "5,50,80").stdout)
    assert {it["connections_per_minute"] for it in found["settings"]} == {5, 50, 80, 30, 12}
    by_limit = {it["connections_per_minute"]: it["clients"] for it in found["settings"]}
    assert (by_limit[5]["legitimate"], by_limit[80]["abusive"], by_limit[50]["abusive"]) == (1, 0, 1)


@pytest.mark.parametrize("value", ["", "x", "0", "5,,6", "1.5", "-3", "9" * 40])
def test_levels_that_are_none(value: str) -> None:
    found = run("-", "--connections-per-minute", value)
    assert isinstance(found.exception, UsageError)
    assert "--connections-per-minute" in str(found.exception)


def test_an_empty_history_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    found = run(str(tmp_path / "empty"))
    assert "empty: no events in 0 lines. Try: ls -l" in str(found.exception)


@pytest.mark.parametrize("silent", [("rate",), RULES])
def test_limits_in_shadow_are_weighed_as_if_they_refused(tuned: Tuned, silent: tuple[str, ...]) -> None:
    found = tune(Policy(shadow=(*silent, "reputation")), lambda: EVENTS)
    assert found.weighed == tuned.weighed
    assert (found.silent, tuned.silent, found.after.shadow) == (True, False, (*silent, "reputation"))
    assert any("weighed as if they refused" in it for it in cautions(found))
    assert not any("weighed as if they refused" in it for it in cautions(tuned))


def test_suspended_limits_are_weighed_too(tuned: Tuned) -> None:
    suspended = Policy(suspensions=(Suspension(module="rate", until=Instant(1 << 60)),))
    assert tune(suspended, lambda: EVENTS).weighed == tuned.weighed


def test_the_cool_downs_given_are_those_recommended(tmp_path: Path) -> None:
    file = str(write(tmp_path / "events.jsonl"))
    given = ("--connections-per-minute", "10,20", "--cool-down-s", "300,900", "--cool-down-growth", "1.5,3")
    found = json.loads(run(file, "--json", *given).stdout)
    of = [it for it in found["settings"] if it["connections_per_minute"] == 12]
    assert {(it["cool_down_s"], it["cool_down_growth"]) for it in of} == {
        (300, 1.5),
        (300, 3.0),
        (900, 1.5),
        (900, 3.0),
    }
    assert found["recommended"]["cool_down_s"] in {300, 900}


def scheduled_burst(*networks: str) -> tuple[Policy, list[Event]]:
    """The sender's burst falls into an hour in which a schedule allows for it."""
    hour = (START + 3600) // 60 % 1440
    schedule = Schedule(
        name="rush",
        from_minute=hour,
        to_minute=hour + 30,
        networks=tuple(map(parse_network, networks)),
        overrides=(("connections_per_minute", 200),),
    )
    rules = tuple(NetworkRule(network=parse_network(it), name="n", limits=Limits()) for it in networks)
    return Policy(schedules=(schedule,), networks=rules), EVENTS


@pytest.mark.parametrize("networks", [(), ("192.0.2.16/28",)])
def test_what_is_done_under_a_schedule_asks_nothing_of_the_limits(networks: tuple[str, ...]) -> None:
    policy, events = scheduled_burst(*networks)
    found = tune(policy, lambda: events)
    asked = {it.rule: (it.client, it.peak) for it in found.busiest}
    assert asked["connections_per_minute"] == (MONITOR, 1)
    assert asked["requests_per_minute"] == (SENDER, 16)
    assert found.clients[Client(SENDER)][0].peaks[1] == 10
    elsewhere, _ = scheduled_burst("198.51.100.0/24")
    again = {it.rule: it.peak for it in tune(elsewhere, lambda: events).busiest}
    assert again["connections_per_minute"] == 10


@pytest.mark.parametrize(
    ("lines", "count"), [((2, "auth=0/2"), 2), ((0, "auth=0/2"), 2), ((1, "auth=1/2"), 1), ((0, "auth=1"), 0)]
)
def test_a_failed_login_counts_once(lines: tuple[int, str], count: int) -> None:
    failures, ended = lines
    events = [event(n, "auth_failure", STRANGER, "7") for n in range(failures)]
    events.append(event(9, "disconnect", STRANGER, "7", detail=f"ehlo=1 {ended} commands=1/3"))
    found = observe(Policy(), [event(0, "connect", STRANGER, "7"), *events])[Client(STRANGER)]
    assert (found.auth_failures, not found.failing) == (count, True)


def test_sessions_with_failed_logins_are_remembered_within_bounds() -> None:
    failures = [event(n, "auth_failure", STRANGER, str(n)) for n in range(500)]
    found = observe(Policy(), failures)[Client(STRANGER)]
    assert (found.auth_failures, len(found.failing or ())) == (500, 64)


def test_a_setting_that_another_beats_is_marked(tmp_path: Path) -> None:
    beaten = tune(Policy(limits=Limits(connections_per_minute=500)), lambda: EVENTS)
    assert [beaten.beaten(it) for it in (beaten.now, *beaten.front)] == [True, *(False for _ in beaten.front)]
    assert tune_page(beaten).count("now: (another stops more or hurts fewer)") == 1
    file = str(write(tmp_path / "events.jsonl"))
    found = run(file, "--policy", str(lax(tmp_path)))
    assert "-: another stops more or hurts fewer" in found.output
    assert "=-" in found.output
    assert "No setting is better in both" not in found.output


def lax(folder: Path) -> Path:
    (folder / "lax.toml").write_text("[limits]\nconnections_per_minute = 500\n")
    return folder / "lax.toml"


def test_the_short_history_is_said_before_the_advice(tmp_path: Path) -> None:
    found = run(str(write(tmp_path / "events.jsonl")), "--html", str(tmp_path / "tune.html"))
    whole = (tmp_path / "tune.html").read_text()
    for said in (found.stdout, whole):
        assert said.index("8.0 hours long") < said.index("Recommended: ")


def test_settings_change_limits_and_the_networks_that_follow() -> None:
    rule = NetworkRule(network=parse_network("192.0.2.0/24"), name="n", limits=Limits(requests_per_minute=99))
    setting = Setting(
        concurrent_connections=1,
        connections_per_minute=2,
        requests_per_minute=3,
        cool_down_s=4,
        cool_down_growth=1.5,
    )
    policy = setting.under(Policy(networks=(rule,)))
    own = policy.networks[0].limits
    assert setting_of(policy.limits) == setting
    assert (own.concurrent_connections, own.requests_per_minute, own.cool_down_s) == (1, 99, 4)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(61, "61 seconds"), (840, "14 minutes"), (19_800, "5.5 hours"), (172_740, "2.0 days")],
)
def test_a_length_is_in_the_unit_that_tells(seconds: float, words: str) -> None:
    assert length(seconds) == words


def test_what_it_found_is_had_by_the_command_that_it_prints(tmp_path: Path) -> None:
    file = str(write(tmp_path / "two words.jsonl"))
    found = run(file, "--cool-down-s", "60,10000000", "--per-network", "--policy", "defaults")
    assert found.output.splitlines()[-1] == (
        f"To have it: goaway tune '{file}' --cool-down-s 60,10000000 --per-network --apply"
    )


def test_the_command_that_it_prints_has_every_option_that_was_given(tmp_path: Path) -> None:
    file, data, policy = str(write(tmp_path / "events.jsonl")), tmp_path / "a b", str(lax(tmp_path))
    given = ("--timezone", "Europe/Berlin", "--data", str(data))
    found = run(file, *given, "--policy", policy, "--cool-down-growth", "1,1.5")
    words = shlex.split(found.output.splitlines()[-1].removeprefix("To have it: "))
    assert words[:3] == ["goaway", "tune", file]
    assert words[-1] == "--apply"
    pairs = dict(itertools.pairwise(words))
    assert pairs["--timezone"] == "Europe/Berlin"
    assert pairs["--data"] == str(data)
    assert (pairs["--policy"], pairs["--cool-down-growth"]) == (policy, "1,1.5")


@pytest.mark.parametrize("name", ["as-was", "defaults"])
def test_only_what_is_in_force_is_applied_to(tmp_path: Path, name: str) -> None:
    found = run(str(write(tmp_path / "events.jsonl")), "--policy", name, "--apply")
    assert isinstance(found.exception, UsageError)
    assert "the policy in force" in str(found.exception)


def test_a_copy_of_a_file_is_pointed_out(tmp_path: Path) -> None:
    file, copy = write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl")
    (tmp_path / "link.jsonl").symlink_to(file)
    found = run(str(file), str(copy), str(tmp_path / "link.jsonl"))
    said = [it for it in found.stderr.splitlines() if "copy" in it]
    assert said == [f"note: {copy} looks like a copy of {file}: what is in both counts twice"]

"""Whom a month's facts suggest to exempt, to block, or to look at."""

import shlex
from dataclasses import replace
from typing import Any, Final

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.counting import COUNTERS
from streams.audit.facts import Facts, Reasons, Rhythm, gap, times
from streams.audit.neighbours import beside_senders, crowded, network_around, to_look_around, together
from streams.audit.proposals import Proposal, Thresholds, judge, period_around
from streams.cli.main import goaway
from streams.model.client import parse_network
from streams.model.instant import parse_instant
from streams.model.policy import Block, Exemption, Module, NetworkRule, Policy
from streams.model.standing import PolicyIndex

AT: Final = parse_instant("2026-12-01T00:00:00Z")
PLAIN: Final = PolicyIndex(Policy())
CLOCK: Final = Rhythm(60.0, 1.0, 4000)
IRREGULAR: Final = Rhythm(60.0, 0.5, 4000)
POLITE: Final = (("ehlo=2 starttls=1 quit=1 commands=4", 4000),)


def parsed_command(text: str) -> None:
    """Fail where `goaway` does not take this command line."""
    program, name, *arguments = shlex.split(text)
    assert program == "goaway"
    command = goaway.get_command(click.Context(goaway), name)
    assert command is not None
    command.make_context(name, arguments)


def facts(client: str = "198.51.100.7", **given_: Any) -> Facts:
    counts = {name: given_.pop(name, 0) for name in COUNTERS}
    return Facts(
        client=client, counts=counts, days=given_.pop("days", 30), hours=given_.pop("hours", 300), **given_
    )


def judged(it: Facts, policy: PolicyIndex = PLAIN, *, whole: bool = True) -> Proposal | None:
    found = judge([it], policy, Thresholds(), AT, "2026-11", whole=whole)
    return found[0] if found else None


def kind(it: Facts, policy: PolicyIndex = PLAIN, *, whole: bool = True) -> str:
    found = judged(it, policy, whole=whole)
    return found.kind if found else ""


def test_a_monitor_is_told_from_a_scanner() -> None:
    monitor = facts(connections=4000, rhythm=CLOCK, sessions=POLITE)
    found = judged(monitor)
    assert found is not None and found.kind == "exempt"
    assert "a monitor: connects every 60 s" in found.why
    assert kind(facts(connections=4000, rhythm=CLOCK, sessions=POLITE, messages=2, requests=2)) == "exempt"
    spoilt: list[dict[str, Any]] = [
        {"rhythm": IRREGULAR},  # at no regular time
        {"rhythm": Rhythm(0.8, 1.0, 4000)},  # in a hurry
        {"sessions": (("ehlo=1 mail=0/1 commands=1/2", 4000),)},  # breaks off after MAIL
        {"sessions": (("ehlo=1 commands=1", 4000),)},  # holds the connection open
        {"sessions": (("ehlo=1 auth=0/1 quit=1 commands=2/3", 4000),)},
        {"requests": 4000, "refusals": 4000},
        {"requests": 4000},
        {"violations": 1},
        {"login_failures": 1},
        {"blocks": 1},
    ]
    plain: dict[str, Any] = {"connections": 4000, "rhythm": CLOCK, "sessions": POLITE}
    for change in spoilt:
        spoiled: dict[str, Any] = plain | change
        assert kind(facts(**spoiled)) == "block", change


def test_what_is_not_known_is_no_reason_to_block() -> None:
    quiet: dict[str, Any] = {"connections": 4000, "sessions": POLITE}
    for rhythm in (None, Rhythm(60.0, 1.0, 5)):
        for whole, little in ((True, "too little of it was read"), (False, "too little is stored of it")):
            found = judged(facts(**quiet, rhythm=rhythm), whole=whole)
            words = f"connects and sends no mail; {little} to tell a monitor from a scanner"
            assert found is not None and (found.kind, found.why) == ("look", words)
    part = facts(**quiet, rhythm=Rhythm(60.0, 0.5, 200))
    assert (kind(part), kind(part, whole=False)) == ("block", "look")
    all_of_it = facts(**quiet, rhythm=Rhythm(60.0, 0.5, 3999))
    assert kind(all_of_it, whole=False) == "block"
    few = facts(connections=100, rhythm=Rhythm(60.0, 0.2, 99))  # a log without counts of commands
    assert kind(few, whole=False) == "block"
    not_logged = judged(facts(connections=4000, rhythm=CLOCK, sessions=(("", 4000),)))
    assert not_logged is not None and not_logged.kind == "look" and "not logged" in not_logged.why
    deeds: list[dict[str, Any]] = [
        {"refusals": 1},
        {"violations": 1},
        {"login_failures": 1},
        {"blocks": 1},
        {"sessions": (("ehlo=1 mail=0/1 commands=1/2", 9),)},
        {"requests": 5},
    ]
    for deed in deeds:  # they are counted, whatever became of the events
        given_: dict[str, Any] = {"connections": 4000} | deed
        assert kind(facts(**given_), whole=False) == "block", deed
    monitor = facts(connections=4000, rhythm=Rhythm(600.0, 1.0, 200), sessions=POLITE)
    assert kind(monitor, whole=False) == "exempt"


def test_who_says_nothing_is_no_monitor() -> None:
    silent = (("commands=0/0", 600),)
    found = judged(facts(connections=600, rhythm=Rhythm(600.0, 1.0, 599), sessions=silent))
    assert found is not None and found.kind == "look"
    assert found.why == "probes the port every 10 min and says nothing"
    mixed = (("ehlo=1 quit=1 commands=2", 400), ("commands=0", 200))
    found = judged(facts(connections=600, rhythm=Rhythm(600.0, 1.0, 599), sessions=mixed))
    assert found is not None and found.kind == "look"
    assert found.why.endswith("and says nothing in 200 of 600 sessions")
    at_times = judged(facts(connections=600, rhythm=Rhythm(600.0, 0.3, 599), sessions=silent))
    assert at_times is not None and at_times.kind == "block"
    assert at_times.why.endswith(": says nothing, at no regular time")
    seldom_silent = (("ehlo=1 quit=1 commands=2", 590), ("commands=0/0", 10))
    monitor = facts(connections=600, rhythm=Rhythm(600.0, 1.0, 599), sessions=seldom_silent)
    assert kind(monitor) == "exempt"


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"connections": 900, "refusals": 899, "requests": 900}, "899 refusals outweigh 1 message"),
        ({"connections": 600, "login_failures": 599}, "599 failed logins outweigh 1 message"),
        (
            {"connections": 100, "refusals": 1, "violations": 1, "login_failures": 1},
            "1 refusal, 1 protocol violation and 1 failed login outweigh 1 message",
        ),
    ],
)
def test_one_message_hides_nobody(given_: dict[str, Any], words: str) -> None:
    found = judged(facts(messages=1, **given_))
    assert found is not None and (found.kind, found.why) == ("look", f"delivers, but {words}")
    assert kind(facts(messages=1, **(given_ | {"connections": 99}))) == ""
    assert kind(facts(messages=1, connections=900, refusals=1)) == ""


def test_refusals_and_violations_are_told_apart_in_the_evidence() -> None:
    reasons = Reasons((("554 5.7.1 blocked by zone", 7),), (("hangup", 31), ("pregreet", 1)), "mout.example")
    found = judged(facts(connections=200, refusals=7, violations=32, reasons=reasons))
    assert found is not None and found.kind == "block"
    assert found.evidence["refused"] == "554 5.7.1 blocked by zone (7 times)"
    assert found.evidence["violated"] == "hangup (31 times); pregreet (1 time)"
    assert found.evidence["helo"] == "mout.example"
    bare = judged(facts(connections=200, refusals=1, hours=0, days=0))
    assert bare is not None and not {"refused", "violated", "helo", "days", "hours"} & set(bare.evidence)
    assert kind(facts(connections=2000, messages=2000, hours=0)) == "exempt"  # not known: no burst


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"connections": 1000, "messages": 900}, "exempt"),
        ({"connections": 999, "messages": 900}, ""),
        ({"connections": 5000, "messages": 900, "refusals": 901}, "look"),
        ({"connections": 5000, "messages": 900, "refusals": 2000, "go_aways": 2000}, "exempt"),
        ({"connections": 5000, "messages": 900, "violations": 901}, "look"),
        ({"connections": 5000, "messages": 900, "hours": 3}, "look"),
        ({"connections": 100, "refusals": 100}, "block"),
        ({"connections": 99, "refusals": 99}, ""),
        ({"connections": 100, "refusals": 100, "go_aways": 100, "deferrals": 100}, "look"),
        ({"connections": 100, "refusals": 100, "go_aways": 99, "deferrals": 99}, "block"),
        ({"connections": 100, "logins": 1}, "look"),
        ({"connections": 100, "refusals": 100, "delivered": 1, "delivered_last": "2026-10"}, "look"),
        ({"client": "127.0.0.1", "connections": 100}, "look"),
        ({"client": "192.168.1.7", "connections": 100}, "look"),  # the internal network of the defaults
        ({"client": "policy", "connections": 100}, ""),
        ({"client": "2001:db8:1::/64", "connections": 100, "violations": 1}, "block"),
        ({"connections": 5000, "messages": 900, "login_failures": 901}, "look"),
    ],
)
def test_thresholds_and_exceptions(given_: dict[str, Any], expected: str) -> None:
    assert kind(facts(**given_)) == expected


def test_who_delivered_in_other_months_is_not_said_never_to_deliver() -> None:
    before, after = (
        judged(facts(connections=200, refusals=168, delivered=300, delivered_last=month))
        for month in ("2026-10", "2026-12")
    )
    assert before is not None and after is not None
    assert before.why == "used to deliver: 300 messages, the last in 2026-10; none in this month"
    assert after.why == "delivers in other months: 300 messages, the last in 2026-12; none in this month"
    assert (before.evidence["messages"], before.evidence["messages in other months"]) == (0, 300)
    scanner = judged(facts(connections=200, refusals=168))
    assert scanner is not None and "nothing in this month" in scanner.why


@pytest.mark.parametrize(
    ("client", "words", "of_sender"),
    [
        ("127.0.0.1", "this host itself (", "look"),
        ("127.1.2.3", "this host itself (", "look"),
        ("::1", "this host itself (", "look"),
        ("192.168.1.7", "one of our own (192.168.1.0/24 is internal): ", "exempt"),
    ],
)
def test_our_own_are_not_proposed_as_somebody_elses(client: str, words: str, of_sender: str) -> None:
    sender, silent = facts(client, connections=2000, messages=2000), facts(client, connections=200)
    for it, expected in ((sender, of_sender), (silent, "look")):
        found = judged(it)
        assert found is not None and found.kind == expected and found.why.startswith(words), it
    partner = judged(facts(connections=2000, messages=2000))
    assert partner is not None and partner.why == "delivers and connects often"


def test_statistics_to_look_at_are_those_of_the_month() -> None:
    november, december, january = (
        parse_instant(f"{month}-01T00:00:00Z") for month in ("2026-11", "2026-12", "2027-01")
    )
    assert period_around(november, december, december) == "--from 2026-10-01 --to 2026-12-01"
    assert period_around(january, parse_instant("2027-02-01T00:00:00Z"), AT + 10**15) == (
        "--from 2026-12-01 --to 2027-02-01"
    )
    assert period_around(november, december, december - 1) == "--last 60d"  # it runs
    signs_in = facts(connections=200, logins=1)
    [found] = judge([signs_in], PLAIN, Thresholds(), AT, "2026-11", period="--from 2026-10-01")
    assert found.command == "goaway stats 198.51.100.7 --by day --from 2026-10-01"


def test_what_the_policy_says_already_is_not_proposed() -> None:
    network = parse_network("198.51.100.0/24")
    sender, scanner = facts(connections=2000, messages=2000), facts(connections=200, refusals=200)
    modules: tuple[tuple[Module, bool], ...] = (("rate", True), ("dnsbl", False))
    for module, silent in modules:
        exempt = PolicyIndex(Policy(exemptions=(Exemption(module=module, network=network),)))
        assert (kind(sender, exempt) == "") is silent
        assert (kind(scanner, exempt) == "") is silent
    ended = PolicyIndex(Policy(exemptions=(Exemption(module="rate", network=network, expires=AT),)))
    assert kind(sender, ended) == "exempt"
    assert kind(scanner, PolicyIndex(Policy(blocks=(Block(network=network),)))) == ""


def test_commands_are_such_as_goaway_takes() -> None:
    for it in (
        facts(connections=2000, messages=2000),
        facts(connections=200, refusals=200),
        facts("2001:db8:1::/64", connections=200, refusals=200),
        facts(connections=200),
        facts(connections=5000, messages=9, refusals=901),
    ):
        found = judged(it)
        assert found is not None
        parsed_command(found.command)


@given(st.integers(1, 31), st.integers(28, 31))
def test_thresholds_scale_with_the_days_there_is_data_of(days: int, of: int) -> None:
    found = Thresholds().scaled(days, of)
    if days >= of:
        assert found == Thresholds()
    assert 10 <= found.block_from <= 100 and 32 <= found.exempt_from <= 1000
    assert found.block_from >= 100 * days / of or days >= of
    assert Thresholds(block_from=4).scaled(1, 30).block_from == 4  # never above what was asked for


def neighbours(count: int, network: str = "198.18.7") -> list[Proposal]:
    reasons = Reasons((("554 5.7.1 Relay access denied", 140), ("550 5.1.1 unknown", 60)), (("pregreet", 3),))
    scanners = [
        facts(
            f"{network}.{last}", connections=200 + last, refusals=200, violations=3, blocks=2, reasons=reasons
        )
        for last in range(count)
    ]
    return judge(scanners, PLAIN, Thresholds(), AT, "2026-11")


def test_a_network_is_proposed_where_nobody_in_it_delivers() -> None:
    some = neighbours(5)
    assert list(crowded(some)) == ["198.18.7.0/24"]
    [whole] = together(some, {"198.18.7.0/24": 0}, PLAIN, "2026-11")
    assert (whole.kind, whole.subject, whole.evidence["clients"]) == ("block", "198.18.7.0/24", 5)
    assert whole.evidence["connections"] == sum(it.evidence["connections"] for it in some)
    parsed_command(whole.command)
    assert (whole.evidence["refusals"], whole.evidence["violations"], whole.evidence["blocks"]) == (
        1000,
        15,
        10,
    )
    assert (
        whole.evidence["refused"]
        == "554 5.7.1 Relay access denied (700 times); 550 5.1.1 unknown (300 times)"
    )
    assert whole.evidence["violated"] == "pregreet (15 times)" and "reasons known of" not in whole.evidence
    unknown = [*some[:4], replace(some[4], reasons=Reasons())]
    [whole] = together(unknown, {"198.18.7.0/24": 0}, PLAIN, "2026-11")
    assert whole.evidence["reasons known of"] == "4 of 5 clients"
    assert len(together(some, {"198.18.7.0/24": 1}, PLAIN, "2026-11")) == 5
    assert len(together(some, {}, PLAIN, "2026-11")) == 5  # not known: not proposed
    assert crowded(neighbours(4)) == {}
    ours = NetworkRule(network=parse_network("198.18.7.240/28"), name="", limits=Policy().limits)
    named = PolicyIndex(Policy(networks=(ours,)))
    assert len(together(some, {"198.18.7.0/24": 0}, named, "2026-11")) == 5


def test_a_block_says_that_its_neighbours_deliver() -> None:
    [scanner, other] = neighbours(1) + neighbours(1, "198.18.8")
    sender = judge(
        [facts("198.18.7.250", connections=2000, messages=2000)], PLAIN, Thresholds(), AT, "2026-11"
    )
    found = [scanner, other, *sender]
    assert to_look_around(found) == ["198.18.7.0/24", "198.18.8.0/24"]
    said, *rest = beside_senders(found, {"198.18.7.0/24": 10})
    assert said.kind == "block" and said.evidence["messages of its network"] == 10
    assert said.why.endswith("; but its network delivered: 10 messages from others in 198.18.7.0/24")
    assert rest == [other, *sender]
    [network] = together(neighbours(5), {"198.18.7.0/24": 0}, PLAIN, "2026-11")
    assert to_look_around([network]) == [] and beside_senders([network], {"198.18.7.0/24": 1}) == [network]


def test_words() -> None:
    assert network_around("2001:db8:1:2::/64") == "2001:db8:1::/48"
    assert network_around("192.0.0.0/16") == "192.0.0.0/16"
    spans = [gap(Rhythm(it, 1.0, 9)) for it in (0.702, 60.0, 600.0, 3600.0, 86_400.0)]
    assert spans == ["0.702 s", "60 s", "10 min", "60 min", "24 h"]
    assert (times(1, "refusal"), times(2, "refusal")) == ("1 refusal", "2 refusals")

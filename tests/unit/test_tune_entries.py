"""`tune --per-network`: who gets an entry, what it asks for, and that each row says what its policy does."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from streams.cli.tune_apply import _edit
from streams.model.client import parse_network
from streams.model.event import Event
from streams.model.policy import Limits, NetworkRule, Policy
from streams.model.schedule import Schedule
from streams.replay.compare import compare
from streams.replay.entries import sender_networks
from streams.replay.setting import RULES, refusing
from streams.replay.tuning import Tuned, tune
from streams.wire.policy_entries import Entries, entries_of, policy_of
from tests.unit.tune_history import SCANNER, session

PARTNER, NEIGHBOUR, SMALL = "203.0.114.9", "203.0.114.10", "198.51.100.7"
BIG = "203.0.114.0/24"
POLITE = "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"
RUDE = "ehlo=1 auth=0/1 commands=1/2"
DAY_S = 86_400
RUSH = {"name": "rush", "days": [15], "connections_per_minute": 400, "requests_per_minute": 400}
"""On the day of the second burst: the history begins on the 13th at 23:00."""


def senders(address: str, *, bursts: Sequence[int], sessions: int = 40) -> list[Event]:
    """Of each day one burst within a minute, and sessions far apart; each delivers a message."""
    found: list[Event] = []
    for day, burst in enumerate(bursts):
        begins = day * DAY_S + 7200
        for n in range(burst):
            found += session(begins + n, address, day * 1000 + n, mails=1, ended=POLITE)
        for n in range(sessions):
            found += session(begins + 3600 + n * 600, address, day * 1000 + 500 + n, mails=1, ended=POLITE)
    return found


def scanner() -> list[Event]:
    return [it for n in range(60) for it in session(9000 + n, SCANNER, n, ended=RUDE)]


def history(*of: list[Event]) -> list[Event]:
    return sorted((it for part in of for it in part), key=lambda it: (it.at, it.id))


def tuned_by(entries: Entries, events: list[Event], *, each_network: bool = True) -> Tuned:
    return tune(policy_of(entries), lambda: events, each_network=each_network)


def attempts(a: Policy, b: Policy, events: list[Event]) -> tuple[int, int]:
    found = compare(refusing(a), refusing(b), events)
    return found.attempts_a, found.attempts_b


def says_what_it_does(found: Tuned, entries: Entries, events: list[Event]) -> None:
    """What is reported for now and for the recommendation is what `replay --compare` finds of the policy in
    force, and of the one that `--apply` puts in force."""
    applied = policy_of(_edit(found)(entries))
    rows = found.weighed[found.now], found.weighed[found.recommended]
    assert tuple(sum(it.refused.values()) for it in rows) == attempts(policy_of(entries), applied, events)
    assert {it.network: it.limits for it in applied.networks} == {
        it.network: it.limits for it in found.after.networks
    }


def test_now_and_the_recommendation_are_told_apart_where_their_limits_are_the_same() -> None:
    """The numbers of `[limits]` are the same in both; only the recommendation has an entry."""
    entries = entries_of(
        "[limits]\nconcurrent_connections = 2\nconnections_per_minute = 3\nrequests_per_minute = 3"
    )
    twice = [
        it for n in range(4) for it in session(500 + 20 * (n % 2) + n // 2 * 900, SMALL, 90 + n, mails=1)
    ]
    events = history(
        senders(PARTNER, bursts=(25, 25)), senders(SMALL, bursts=(0,), sessions=9), twice, scanner()
    )
    found = tuned_by(entries, events)
    assert found.new_networks == (BIG,)
    assert all(
        getattr(found.settings[it], rule) == getattr(found.before.limits, rule)
        for it in (found.now, found.recommended)
        for rule in RULES
    )
    now, recommended = found.weighed[found.now], found.weighed[found.recommended]
    assert (now.clients["legitimate"], recommended.clients["legitimate"]) == (1, 0)
    assert now.refused["legitimate"] > 20
    says_what_it_does(found, entries, events)


def test_an_entry_that_leaves_a_schedule_asks_for_what_it_does_under_it() -> None:
    entries = {**entries_of(""), "schedules/rush": {k: v for k, v in RUSH.items() if k != "name"}}
    events = history(senders(PARTNER, bursts=(6, 25)), senders(SMALL, bursts=(1, 1), sessions=9), scanner())
    found = tuned_by(entries, events)
    asked = {it.rule: (it.peak, it.limit) for it in found.networks[BIG]}
    assert asked == {"connections_per_minute": (25, 30), "requests_per_minute": (25, 30)}
    assert found.weighed[found.recommended].clients["legitimate"] == 0
    says_what_it_does(found, entries, events)


def test_an_entry_that_goes_on_following_a_schedule_asks_nothing_of_what_it_does_under_it() -> None:
    entries = {**entries_of(""), "schedules/rush": {k: v for k, v in RUSH.items() if k != "name"}}
    events = history(senders(PARTNER, bursts=(1, 25)), senders(SMALL, bursts=(3, 3)), scanner())
    found = tuned_by(entries, events)
    assert (found.networks, found.new_networks) == ({}, ())
    assert found.after.limits.connections_per_minute == 4
    assert found.weighed[found.recommended].clients["legitimate"] == 0


def test_a_sender_that_asks_for_what_limits_are_now_does_not_set_them() -> None:
    """25 + 20 % is 30, the value of now: an entry's own value, which `[limits]` do not have to take over."""
    entries = entries_of("")
    events = history(senders(PARTNER, bursts=(25,), sessions=90), senders(SMALL, bursts=(1,)), scanner())
    found = tuned_by(entries, events)
    assert found.after.limits.connections_per_minute == 2
    assert {it.rule: it.client for it in found.busiest}["connections_per_minute"] == SMALL
    own = {str(it.network): it.limits for it in found.after.networks}[BIG]
    assert (own.connections_per_minute, own.concurrent_connections) == (
        30,
        found.after.limits.concurrent_connections,
    )
    says_what_it_does(found, entries, events)


def test_no_new_entry_is_stricter_than_limits() -> None:
    """Six proven networks that ask for little, and a stranger that asks for more."""
    calm = [senders(f"203.0.{114 + n}.9", bursts=(1,), sessions=120) for n in range(6)]
    events = history(*calm, senders(SMALL, bursts=(5,), sessions=3), scanner())
    found = tuned_by(entries_of(""), events)
    assert (found.networks, found.new_networks) == ({}, ())
    assert found.after.limits.connections_per_minute == 6


def test_where_all_are_big_senders_the_calmest_of_them_sets_limits() -> None:
    calm = senders("203.0.115.9", bursts=(2,), sessions=120)
    events = history(calm, senders(PARTNER, bursts=(25,), sessions=80), scanner())
    found = tuned_by(entries_of(""), events)
    assert found.new_networks == (BIG,)
    assert found.after.limits.connections_per_minute == 3
    assert found.weighed[found.recommended].clients["legitimate"] == 0


def test_an_abusive_sender_gets_no_entry_and_counts_by_itself() -> None:
    flood = [
        it for n in range(300) for it in session(20_000 + n / 10, PARTNER, n, mails=int(n < 110), ended=RUDE)
    ]
    events = history(flood, senders(SMALL, bursts=(1,)), scanner())
    listed = replace(flood[0], id="listed", kind="reputation", detail="zen.example 127.0.0.2")
    found = tuned_by(entries_of(""), history(events, [listed]))
    assert found.sides[flood[0].client] == "doubtful"
    assert sender_networks(found.clients) == {}
    assert (found.networks, found.new_networks) == ({}, ())
    row = found.weighed[found.recommended]
    assert (row.clients["legitimate"], row.clients["doubtful"], row.doubtful) == (0, 1, [PARTNER])
    assert found.after.limits.connections_per_minute == 2


@pytest.mark.parametrize(("value", "becomes"), [(3, 3), (40, 6), (1, 3)])
def test_an_entry_with_a_value_of_its_own_is_not_lowered_below_limits(value: int, becomes: int) -> None:
    own = NetworkRule(network=parse_network(BIG), name="partner", limits=Limits(connections_per_minute=value))
    events = history(senders(PARTNER, bursts=(2,)), senders(SMALL, bursts=(5,)), scanner())
    found = tune(Policy(networks=(own,)), lambda: events, each_network=True)
    assert found.after.limits.connections_per_minute == 6
    assert found.after.networks[0].limits.connections_per_minute == becomes


@pytest.mark.parametrize(("value", "becomes"), [(50, 66), (3, 3)])
def test_an_entry_above_limits_stays_above_them_where_they_rise(value: int, becomes: int) -> None:
    own = NetworkRule(network=parse_network(BIG), name="partner", limits=Limits(connections_per_minute=value))
    events = history(senders(PARTNER, bursts=(2,)), senders(SMALL, bursts=(55,)), scanner())
    found = tune(Policy(networks=(own,)), lambda: events, each_network=True)
    assert found.after.limits.connections_per_minute == 66
    assert found.after.networks[0].limits.connections_per_minute == becomes


NAMES = [
    ("mx.partner.example", "partner.example"),
    ("mx1.out.Partner.co.uk", "partner.co.uk"),
    ("mx.partner.com.br", "partner.com.br"),
    ("mx.gmx.net", "gmx.net"),
    ("mx", "mx"),
    (f"mx.{'x' * 90}.example", f"{'x' * 64}"),
    ("mx.partner\x1b[31m.example", BIG),
    ("", BIG),
]


@pytest.mark.parametrize(("ptr", "name"), NAMES)
def test_an_entry_is_named_by_the_domain_of_who_sends(ptr: str, name: str) -> None:
    """Neither by a neighbour who delivers nothing nor by one who is abusive."""
    bystander = [replace(it, ptr="scan.evil.example") for it in session(50, "203.0.114.66", 1, ended=RUDE)]
    one = senders(NEIGHBOUR, bursts=(1,), sessions=0)
    listed = replace(one[0], id="listed", kind="reputation", detail="zen.example 127.0.0.2")
    abusive = [replace(it, ptr="mx.evil.example") for it in (*one, listed)]
    partner = [replace(it, ptr=ptr) for it in senders(PARTNER, bursts=(25,), sessions=90)]
    found = tuned_by(entries_of(""), history(bystander, abusive, partner, senders(SMALL, bursts=(1,))))
    assert found.new_networks == (BIG,)
    assert {str(it.network): it.name for it in found.after.networks}[BIG] == name


def test_an_entry_is_named_by_who_sends_most() -> None:
    few = [replace(it, ptr="mx.few.example") for it in senders(NEIGHBOUR, bursts=(1,), sessions=9)]
    more = [replace(it, ptr="mx.more.example") for it in senders(PARTNER, bursts=(25,), sessions=90)]
    found = tuned_by(entries_of(""), history(few, more, senders(SMALL, bursts=(1,))))
    assert sender_networks(found.clients) == {parse_network(BIG): "more.example"}


def test_a_network_that_only_a_schedule_names_becomes_no_entry() -> None:
    """An entry would bring the schedule into force there."""
    schedule = Schedule(name="s", networks=(parse_network(BIG),), overrides=(("requests_per_minute", 1),))
    events = history(senders(PARTNER, bursts=(25,), sessions=90), senders(SMALL, bursts=(1,)), scanner())
    found = tune(Policy(schedules=(schedule,)), lambda: events, each_network=True)
    assert found.new_networks == ()
    assert found.weighed[found.recommended].clients["legitimate"] == 0

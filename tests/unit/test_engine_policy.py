"""What cuts across the modules: shadow, suspensions, schedules, block entries that end, forget."""

from typing import Any

import pytest

from streams.engine.step import Outcome, stand
from streams.model.client import parse_network
from streams.model.decision import Decision
from streams.model.instant import Instant
from streams.model.modules import Greylist, Protocol, Zone
from streams.model.policy import Block, Limits, Module, NetworkRule, Suspension
from streams.model.schedule import Schedule
from tests.unit.engine_mta import DAY, HOUR, START, Mta, S, exempt, one, policy


def rules(outcomes: list[Outcome]) -> list[tuple[str, bool]]:
    return [(it.rule, it.shadow) for it in outcomes if isinstance(it, Decision)]


# shadow


def test_a_rule_in_shadow_says_what_it_would_have_done_once_and_everything_goes_on_being_counted() -> None:
    mta = Mta(policy(connections_per_minute=1, concurrent_connections=99, shadow=("connections_per_minute",)))
    mta.see(0)
    decision = one(mta.see(1))
    assert (decision.shadow, decision.action, decision.code) == (True, "block", 551)
    assert decision.until == START + 1 + 60 * S
    assert mta.see(2) == mta.see(60 * S) == [], "said once in the time of its block"
    assert one(mta.see(60 * S + 1)).evidence.count == 3, "at 2, 60 s, and now: nothing was refused"


def test_a_trigger_in_shadow_covers_its_rules() -> None:
    mta = Mta(policy(connections_per_minute=1, requests_per_minute=1, shadow=("rate",)))
    mta.see(0), mta.see(0, "mail")
    assert rules(mta.see(1)) == [("connections_per_minute", True)]
    assert rules(mta.see(2, "mail")) == [("requests_per_minute", True)]


def test_where_one_rule_is_in_shadow_the_other_blocks_and_its_record_comes_last() -> None:
    """They share a key, of which the latest record holds."""
    mta = Mta(policy(connections_per_minute=1, concurrent_connections=1, shadow=("concurrent_connections",)))
    mta.see(0)
    first, last = mta.see(1)
    assert rules([first, last]) == [("concurrent_connections", True), ("connections_per_minute", False)]
    assert isinstance(first, Decision)
    assert isinstance(last, Decision)
    assert first.key == last.key
    assert first.id != last.id


def test_a_strike_is_not_counted_by_a_rule_in_shadow() -> None:
    mta = Mta(policy(connections_per_minute=1, cool_down_growth=2.0, shadow=("rate",)))
    mta.see(0), mta.see(1)
    mta.use(policy(connections_per_minute=1, cool_down_growth=2.0))
    assert one(mta.see(2)).evidence.strike == 1, "and it blocks at once, whatever the shadow said"


@pytest.mark.parametrize("shadow", ["protocol", "pipelining"])
def test_violations_of_a_rule_in_shadow_do_not_count_against_another(shadow: str) -> None:
    protocol = Protocol(pipelining=True, threshold=2)
    mta = Mta(policy(protocol=protocol, shadow=(shadow,)))
    assert mta.see(0, "violation", violation="pipelining") == []
    assert rules(mta.see(1, "violation", violation="pipelining")) == [("pipelining", True)]
    found = rules(mta.see(2, "violation", violation="missing HELO"))
    assert found == ([("missing_helo", True)] if shadow == "protocol" else [])


def test_a_rule_in_shadow_counts_all_violations() -> None:
    mta = Mta(policy(protocol=Protocol(pipelining=True, threshold=2), shadow=("pipelining",)))
    assert mta.see(0, "violation", violation="missing HELO") == []
    assert one(mta.see(1, "violation", violation="pipelining")).evidence.count == 2


def test_shadow_taken_away_blocks_from_the_next_event_on() -> None:
    mta = Mta(policy(shadow=("protocol",)))
    assert rules(mta.see(0, "violation", violation="missing HELO")) == [("missing_helo", True)]
    mta.use(policy())
    assert rules(mta.see(1, "violation", violation="missing HELO")) == [("missing_helo", False)]


def test_no_retry_in_shadow_leaves_attempts_pending() -> None:
    greylist = Greylist(enabled=True, no_retry_count=1, no_retry_after_s=700)
    mta = Mta(policy(greylist=greylist, shadow=("no_retry",)))
    mta.put_off(0)
    assert rules(mta.see(700 * S)) == [("no_retry", True)]
    assert mta.see(701 * S) == []
    assert one(mta.queued(702 * S)).rule == "retried"


def test_a_deferral_is_on_record_where_no_retry_is_in_shadow() -> None:
    greylist = Greylist(enabled=True, no_retry_count=1, no_retry_after_s=700)
    mta = Mta(policy(greylist=greylist, shadow=("greylist",)))
    mta.put_off(0)
    assert rules(mta.put_off(700 * S, to="c@y.org")) == [("no_retry", True), ("first_attempt", False)]


def test_reputation_in_shadow_refuses_nobody_and_says_so_once() -> None:
    zen = Zone(domain="zen.example")
    mta = Mta(policy(zones=(zen,), connections_per_minute=1, shadow=("reputation",)))
    assert rules(mta.answer(0, "zen.example 127.0.0.2")) == [("zen.example", True)]
    assert mta.answer(0, "zen.example 127.0.0.2") == mta.answer(1, "") == []
    mta.see(2)
    assert rules(mta.see(3)) == [("connections_per_minute", False)]


# suspensions and schedules


@pytest.mark.parametrize(("at", "blocked"), [(10 * S - 1, False), (10 * S, True)])
def test_while_the_limits_are_suspended_nothing_is_counted_and_nobody_blocked(at: int, blocked: bool) -> None:
    halt = (Suspension(module="rate", until=Instant(START + 10 * S)),)
    mta = Mta(policy(connections_per_minute=1, suspensions=halt))
    for number in range(9):
        assert mta.see(number * S) == []
    assert mta.see(at) == []
    assert bool(mta.see(at)) == blocked


def test_the_latest_end_of_several_suspensions_counts() -> None:
    module: Module = "rate"
    ends = [Suspension(module=module, until=Instant(START + n * S)) for n in (9, 5)]
    mta = Mta(policy(connections_per_minute=1, suspensions=tuple(ends)))
    assert [mta.see(8 * S) for _ in range(5)] == [[]] * 5


def schedule(**fields: Any) -> Schedule:
    values: dict[str, Any] = {"name": "s", "overrides": (("connections_per_minute", 3),)}
    return Schedule(**(values | fields))


def test_a_schedule_sets_limits_in_its_minutes_only() -> None:
    """From 23:01 to 23:02 UTC; START is 23:00."""
    mta = Mta(policy(connections_per_minute=1, schedules=(schedule(from_minute=1381, to_minute=1382),)))
    mta.see(59 * S)
    assert [len(mta.see(60 * S)) for _ in range(3)] == [0, 0, 1]
    mta = Mta(policy(connections_per_minute=1, schedules=(schedule(from_minute=1381, to_minute=1382),)))
    mta.see(119 * S), mta.see(119 * S)
    decision = one(mta.see(120 * S))
    assert (decision.evidence.count, decision.evidence.limit) == (3, 1)


def test_a_schedule_follows_its_own_time_zone_across_midnight() -> None:
    """START is midnight of the 14th in Berlin: a night that begins on the 13th there has come to its 0:00."""
    night = schedule(timezone="Europe/Berlin", days=(13,), from_minute=1380, to_minute=1)
    mta = Mta(policy(connections_per_minute=1, schedules=(night,)))
    assert [len(mta.see(59 * S)) for _ in range(4)] == [0, 0, 0, 1]
    mta = Mta(policy(connections_per_minute=1, schedules=(night,)))
    assert [len(mta.see(60 * S)) for _ in range(2)] == [0, 1]


def test_a_decision_under_a_schedule_bears_the_version_of_the_whole_policy() -> None:
    rules_ = policy(schedules=(schedule(),))
    mta = Mta(rules_)
    found = [mta.see(0) for _ in range(4)][-1]
    assert one(found).policy == rules_.version


def test_a_schedule_changes_networks_that_follow_the_limits_and_no_others() -> None:
    follows = NetworkRule(
        network=parse_network("192.0.2.0/24"), name="f", limits=Limits(connections_per_minute=1, warn_at=0.0)
    )
    own = NetworkRule(
        network=parse_network("198.51.100.0/24"),
        name="o",
        limits=Limits(connections_per_minute=2, warn_at=0.0),
    )
    mta = Mta(policy(connections_per_minute=1, networks=(follows, own), schedules=(schedule(),)))
    assert [len(mta.see(0)) for _ in range(4)] == [0, 0, 0, 1]
    assert [len(mta.see(0, address="198.51.100.1")) for _ in range(3)] == [0, 0, 1]


# entries of the block list


def test_an_entry_of_the_block_list_ends_and_its_decision_says_when() -> None:
    block = Block(network=parse_network("192.0.2.0/24"), note="n", expires=Instant(START + S))
    mta = Mta(policy(blocks=(block,), connections_per_minute=1))
    decision = one(mta.see(0))
    assert (decision.trigger, decision.until) == ("blocklist", START + S)
    assert mta.see(S - 1) == mta.see(S) == [], "at its end the first connection counts"
    assert one(mta.see(S)).trigger == "rate"


def test_an_entry_that_ended_at_the_clients_clock_is_still_on_record_after_a_restart() -> None:
    block = Block(network=parse_network("192.0.2.7"), expires=Instant(START + S))
    mta = Mta(policy(blocks=(block,)))
    mta.see(5 * S)
    assert one(mta.see(0)).at == START + 5 * S
    folded = mta.again()
    assert mta.see(1) == folded.see(1) == []


# forget

FORGOTTEN = 4 * [("forgotten", False)]
"""What `forget` says, of each trigger."""


def test_forget_ends_what_stands_and_empties_the_windows() -> None:
    zen = Zone(domain="zen.example")
    mta = Mta(
        policy(connections_per_minute=1, cool_down_growth=2.0, zones=(zen,), greylist=Greylist(enabled=True))
    )
    mta.see(0, session="mx/1")
    mta.put_off(0)
    mta.see(0, "violation", violation="missing HELO")
    mta.answer(0, "zen.example 127.0.0.2")
    found = mta.see(1, "forget", session="", detail="by anna")
    releases = [it for it in found if isinstance(it, Decision)]
    assert [(it.trigger, it.action, it.rule, it.until) for it in releases] == [
        (trigger, "release", "forgotten", START + 1)
        for trigger in ("rate", "reputation", "greylist", "protocol")
    ]
    assert {it.reason for it in releases} == {"dropped by an administrator"}
    assert {it.evidence.note for it in releases} == {"by anna"}
    assert len({it.id for it in releases}) == 4
    assert mta.see(2) == [], "judged afresh: nothing in the windows"
    decision = one(mta.see(3))
    assert (decision.evidence.count, decision.evidence.strike) == (2, 1)
    assert rules(mta.see(4, "forget")) == FORGOTTEN
    assert mta.see(4) == []
    assert one(mta.see(4)).evidence.strike == 1


def test_forgetting_the_unknown_or_the_blameless_releases_them_too() -> None:
    """A shim outlives a broker that lost its memory: it may hold blocks of which the worker knows nothing."""
    mta = Mta(policy(connections_per_minute=1))
    assert rules(mta.see(0, "forget")) == FORGOTTEN
    mta.see(1)
    assert rules(mta.see(2, "forget")) == FORGOTTEN
    folded = mta.again()
    assert mta.see(3) == folded.see(3) == []
    assert mta.see(4) == folded.see(4) != []


def test_forgetting_does_not_record_an_entry_of_the_block_list_anew() -> None:
    mta = Mta(policy(blocks=(Block(network=parse_network("192.0.2.7")),)))
    assert len(mta.see(0)) == 1
    assert rules(mta.see(1, "forget")) == FORGOTTEN
    assert mta.see(2) == []


def test_forget_makes_a_learnt_client_a_stranger() -> None:
    mta = Mta(policy(greylist=Greylist(enabled=True)))
    mta.see(0, "learnt")
    assert rules(mta.see(1, "forget")) == FORGOTTEN
    assert one(mta.put_off(2)).action == "defer"


def test_forget_ends_the_silence_of_a_rule_in_shadow_also_after_a_restart_long_after() -> None:
    mta = Mta(policy(protocol=Protocol(block_s=9 * 3600), shadow=("protocol",)))
    mta.see(0, "violation", violation="missing HELO")
    mta.see(1, "forget")
    folded = Mta(policy(protocol=Protocol(block_s=9 * 3600), shadow=("protocol",)))
    for _, event, decided in mta.seen:
        for it in decided:
            stand(folded.index, folded.state.client(event.client, event.at), it)
    for mta_ in (mta, folded):
        assert rules(mta_.see(8 * HOUR, "violation", violation="missing HELO")) == [("missing_helo", True)]


def test_a_client_is_remembered_as_long_as_its_longest_record_lasts() -> None:
    mta = Mta(policy(protocol=Protocol(block_s=20 * 86_400), connections_per_minute=1))
    mta.see(0, "violation", violation="missing HELO")
    mta.see(10 * DAY, address="198.51.100.1")
    assert mta.see(10 * DAY) == mta.see(10 * DAY) == []
    assert mta.see(20 * DAY) == []
    assert len(mta.see(20 * DAY)) == 1


# a restart


def test_a_fold_reads_schedules_and_leaves_out_what_was_exempt_then() -> None:
    """Exempt at first, and then by a policy that lets the last minutes of the day more through."""
    evening = schedule(from_minute=1380, to_minute=1440)
    mta = Mta(policy(connections_per_minute=1, schedules=(evening,), exemptions=exempt("rate")))
    mta.see(0), mta.see(0)
    mta.use(policy(connections_per_minute=1, schedules=(evening,)))
    mta.see(1), mta.see(2)
    folded = mta.again()
    for it in (mta, folded):
        assert [len(it.see(3 + n)) for n in range(2)] == [0, 1]


def test_limits_by_the_thousand_are_told_apart() -> None:
    """Rules are worked out once for each set of limits, of which no more than a thousand are kept."""
    for number in range(1, 1100):
        mta = Mta(policy(connections_per_minute=number % 3 + 1, concurrent_connections=99))
        found = [len(mta.see(0)) for _ in range(4)]
        assert found.index(1) == number % 3 + 1

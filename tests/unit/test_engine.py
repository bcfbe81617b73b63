"""The engine at its edges, to the microsecond: each case is a short history and what must come of it."""

from typing import Any

import msgspec
import pytest

from streams.engine.state import State
from streams.engine.step import Outcome, recall, step
from streams.model.client import Address, ClientPrefixes, parse_network
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Block, Exemption, Limits, NetworkRule, Policy
from streams.model.standing import PolicyIndex

START = 1_678_748_400 * MICROSECONDS
S = MICROSECONDS


def policy(**fields: Any) -> Policy:
    """No warnings and no networks, unless told; limits by name."""
    limits = {name: fields.pop(name) for name in list(fields) if name in Limits.__struct_fields__}
    return Policy(limits=Limits(**({"warn_at": 0.0} | limits)), **({"networks": ()} | fields))


class Mta:
    """Feeds the engine; times are microseconds after START."""

    def __init__(self, rules: Policy) -> None:
        self.index = PolicyIndex(rules)
        self.state = State(memory_s=rules.memory_s)
        self.number = 0

    def see(
        self, at: int, kind: EventKind = "connect", *, session: str = "", address: str = "192.0.2.7"
    ) -> list[Outcome]:
        self.number += 1
        event = Event(
            id=f"e{self.number}",
            at=Instant(START + at),
            kind=kind,
            client=ClientPrefixes().client_of(Address(address)),
            address=Address(address),
            session=session or f"mx/{self.number}",
            host="mx",
        )
        return step(self.index, self.state, event)


def the_block(outcomes: list[Outcome]) -> Decision:
    (decision,) = outcomes
    assert isinstance(decision, Decision)
    return decision


@pytest.mark.parametrize(
    ("kind", "rule"), [("connect", "connections_per_minute"), ("mail", "requests_per_minute")]
)
@pytest.mark.parametrize(("last", "blocked"), [(60 * S, False), (60 * S - 1, True)])
def test_the_window_is_half_open(kind: EventKind, rule: str, last: int, blocked: bool) -> None:
    """What happened exactly 60 s ago has left; a microsecond later is in."""
    mta = Mta(policy(**{rule: 2}))
    assert mta.see(0, kind) == mta.see(30 * S, kind) == []
    found = mta.see(last, kind)
    assert bool(found) == blocked
    if blocked:
        decision = the_block(found)
        assert (decision.rule, decision.evidence.count, decision.evidence.limit) == (rule, 3, 2)
        assert decision.evidence.window_s == 60


def test_one_every_three_seconds_is_twenty_a_minute() -> None:
    mta = Mta(policy(requests_per_minute=20))
    assert [mta.see(3 * S * number, "mail") for number in range(100)] == [[]] * 100


@pytest.mark.parametrize(("after", "counted"), [(60 * S - 1, 0), (60 * S, 1)])
def test_a_block_ends_at_its_last_instant_exactly(after: int, counted: int) -> None:
    mta = Mta(policy(requests_per_minute=1, cool_down_s=60))
    mta.see(0, "mail")
    decision = the_block(mta.see(1, "mail"))
    assert (decision.at, decision.until) == (START + 1, START + 1 + 60 * S)
    assert mta.see(1 + after, "mail") == []
    # what was refused is not counted: the window then holds the event at 1 s after only where it was let in
    assert len(mta.see(1 + after + 1, "mail")) == (1 if counted else 0)


def test_a_blocked_attempt_neither_counts_nor_extends() -> None:
    mta = Mta(policy(requests_per_minute=1, cool_down_s=90))
    mta.see(0, "mail")
    until = the_block(mta.see(0, "mail")).until
    assert until == START + 90 * S
    for second in range(1, 90):
        assert mta.see(second * S, "mail") == []
    assert mta.see(90 * S, "mail") == []
    assert the_block(mta.see(90 * S + 1, "mail")).evidence.count == 2


def test_cool_down_grows_to_its_cap_and_is_forgotten() -> None:
    mta = Mta(
        policy(
            requests_per_minute=1,
            cool_down_s=60,
            cool_down_growth=2.0,
            cool_down_max_s=200,
            repeat_within_s=600,
        )
    )
    at, lengths, strikes = 0, [], []
    for _ in range(4):
        mta.see(at, "mail")
        decision = the_block(mta.see(at + 1, "mail"))
        assert decision.until is not None
        lengths.append((decision.until - decision.at) // S)
        strikes.append(decision.evidence.strike)
        at = decision.until - START + 60 * S
    assert (lengths, strikes) == ([60, 120, 200, 200], [1, 2, 3, 4])
    end = at - 60 * S
    mta.see(end + 600 * S - 1, "mail")
    again = the_block(mta.see(end + 600 * S, "mail"))
    assert again.evidence.strike == 1, "repeat_within_s after the end, no longer a repeat"


def test_a_block_just_within_repeat_is_a_repeat() -> None:
    mta = Mta(policy(requests_per_minute=1, cool_down_s=60, cool_down_growth=1.5, repeat_within_s=600))
    mta.see(0, "mail")
    mta.see(0, "mail")
    mta.see(660 * S - 2, "mail")
    decision = the_block(mta.see(660 * S - 1, "mail"))
    assert decision.evidence.strike == 2
    assert decision.until == decision.at + 90 * S


def test_growth_never_shortens_under_a_low_cap() -> None:
    mta = Mta(policy(requests_per_minute=1, cool_down_s=300, cool_down_growth=2.0, cool_down_max_s=10))
    mta.see(0, "mail")
    assert the_block(mta.see(1, "mail")).until == START + 1 + 300 * S


def test_open_sessions_count_this_one_included() -> None:
    mta = Mta(policy(concurrent_connections=2))
    assert mta.see(0, session="mx/1") == mta.see(1, session="mx/2") == []
    mta.see(2, "disconnect", session="mx/1")
    assert mta.see(3, session="mx/3") == []
    decision = the_block(mta.see(4, session="mx/4"))
    assert (decision.rule, decision.evidence.count, decision.evidence.window_s) == (
        "concurrent_connections",
        3,
        0,
    )


def test_both_limits_at_once_say_the_first_in_precedence() -> None:
    mta = Mta(policy(concurrent_connections=1, connections_per_minute=1))
    mta.see(0)
    assert the_block(mta.see(1)).rule == "concurrent_connections"


@pytest.mark.parametrize(("idle", "blocked"), [(100 * S, False), (100 * S - 1, True)])
def test_a_session_that_is_idle_for_too_long_is_forgotten(idle: int, blocked: bool) -> None:
    mta = Mta(policy(concurrent_connections=1, session_idle_s=100))
    mta.see(0, session="mx/1")
    assert bool(mta.see(idle, session="mx/2")) == blocked


@pytest.mark.parametrize("kind", ["helo", "mail", "rcpt"])
def test_a_session_that_is_heard_of_lives_on(kind: EventKind) -> None:
    mta = Mta(policy(concurrent_connections=1, session_idle_s=100))
    mta.see(0, session="mx/1")
    mta.see(99 * S, kind, session="mx/1")
    assert the_block(mta.see(198 * S, session="mx/2")).evidence.count == 2


def test_a_session_heard_of_too_late_stays_over() -> None:
    mta = Mta(policy(concurrent_connections=1, session_idle_s=100))
    mta.see(0, session="mx/1")
    mta.see(100 * S, "helo", session="mx/1")
    assert mta.see(101 * S, session="mx/2") == []


def test_what_is_said_late_of_a_session_does_not_make_it_older() -> None:
    mta = Mta(policy(concurrent_connections=1, session_idle_s=100))
    mta.see(50 * S, session="mx/1")
    mta.see(10 * S, "helo", session="mx/1")
    assert the_block(mta.see(149 * S, session="mx/2")).evidence.count == 2


def test_a_warning_is_given_once_until_the_count_falls_below() -> None:
    mta = Mta(policy(requests_per_minute=5, warn_at=0.8))
    found = [mta.see(number * S, "mail") for number in range(5)]
    assert [len(outcomes) for outcomes in found] == [0, 0, 0, 1, 0]
    (warning,) = found[3]
    assert isinstance(warning, LimitWarning)
    assert (warning.rule, warning.evidence.count, warning.evidence.limit) == ("requests_per_minute", 4, 5)
    assert mta.see(120 * S, "mail") == []
    assert [len(mta.see(121 * S + n, "mail")) for n in range(4)] == [0, 0, 1, 0]


def test_a_jump_over_the_threshold_blocks_without_a_warning() -> None:
    mta = Mta(policy(requests_per_minute=1, warn_at=1.0, cool_down_s=1))
    assert isinstance(mta.see(0, "mail")[0], LimitWarning)
    assert isinstance(mta.see(1, "mail")[0], Decision)


def test_a_block_by_one_rule_comes_before_the_warning_of_another() -> None:
    mta = Mta(policy(concurrent_connections=1, connections_per_minute=2, warn_at=1.0))
    mta.see(0, session="mx/1")
    first, second = mta.see(1, session="mx/2")
    assert isinstance(first, Decision)
    assert first.rule == "concurrent_connections"
    assert isinstance(second, LimitWarning)
    assert second.rule == "connections_per_minute"


def exempt(expires: int | None = None, module: Any = "rate") -> tuple[Exemption, ...]:
    network = parse_network("192.0.2.0/24")
    return (
        Exemption(
            module=module, network=network, expires=None if expires is None else Instant(START + expires)
        ),
    )


def test_an_exempt_address_is_neither_counted_nor_blocked() -> None:
    mta = Mta(policy(requests_per_minute=1, exemptions=exempt()))
    assert [mta.see(number, "mail") for number in range(9)] == [[]] * 9
    assert mta.state.clients == {}


def test_an_exemption_ends_at_its_expiry_and_what_was_before_is_not_counted() -> None:
    mta = Mta(policy(requests_per_minute=1, exemptions=exempt(10 * S)))
    assert mta.see(10 * S - 2, "mail") == mta.see(10 * S - 1, "mail") == []
    assert mta.see(10 * S, "mail") == []
    assert the_block(mta.see(10 * S + 1, "mail")).evidence.count == 2


def test_an_exemption_of_another_module_changes_nothing() -> None:
    mta = Mta(policy(requests_per_minute=1, exemptions=exempt(module="dnsbl")))
    mta.see(0, "mail")
    assert the_block(mta.see(1, "mail")).trigger == "rate"


LISTED = (Block(network=parse_network("192.0.2.0/24"), note="by hand"),)


def test_a_listed_client_is_recorded_once() -> None:
    mta = Mta(policy(blocks=LISTED))
    decision = the_block(mta.see(0))
    assert (decision.trigger, decision.until, decision.code) == ("blocklist", None, 551)
    assert decision.reason == "blocked by administrator: by hand"
    assert (decision.evidence.network, decision.evidence.note) == ("192.0.2.0/24", "by hand")
    assert mta.see(1) == mta.see(2, "mail") == []
    assert len(mta.see(3, address="192.0.2.8")) == 1


def test_a_list_entry_without_a_note_says_no_more_than_it_knows() -> None:
    mta = Mta(policy(blocks=(Block(network=parse_network("192.0.2.7")),)))
    assert the_block(mta.see(0)).reason == "blocked by administrator"


def test_a_late_event_counts_at_its_own_time_and_blocks_from_the_clock() -> None:
    mta = Mta(policy(requests_per_minute=2))
    mta.see(50 * S, "mail")
    mta.see(10 * S, "mail")
    decision = the_block(mta.see(45 * S, "mail"))
    assert decision.at == START + 50 * S
    assert decision.until == START + 110 * S


def test_an_event_older_than_the_window_at_the_clock_counts_nowhere() -> None:
    mta = Mta(policy(requests_per_minute=2))
    mta.see(100 * S, "mail")
    mta.see(100 * S, "mail")
    assert mta.see(40 * S, "mail") == []
    assert len(mta.see(40 * S + 1, "mail")) == 1


def test_a_late_event_of_a_blocked_client_is_refused_at_the_clock() -> None:
    mta = Mta(policy(requests_per_minute=1))
    mta.see(60 * S, "mail")
    mta.see(60 * S, "mail")
    assert mta.see(1, "mail") == []
    assert mta.state.clients[ClientPrefixes().client_of(Address("192.0.2.7"))].strike == 1


def test_the_most_specific_network_sets_the_limits_and_is_named() -> None:
    wide = NetworkRule(network=parse_network("192.0.2.0/24"), name="w", limits=Limits(requests_per_minute=9))
    close = NetworkRule(
        network=parse_network("192.0.2.7"), name="c", limits=Limits(requests_per_minute=1, warn_at=0.0)
    )
    mta = Mta(policy(networks=(wide, close)))
    mta.see(0, "mail")
    assert the_block(mta.see(1, "mail")).evidence.network == "192.0.2.7/32"


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    mta = Mta(policy(requests_per_minute=1))
    mta.see(0, "mail", address="2001:db8::1")
    decision = the_block(mta.see(1, "mail", address="2001:db8::2"))
    assert (decision.client, decision.address) == ("2001:db8::/64", "2001:db8::2")
    assert mta.see(2, "mail", address="2001:db8:0:1::2") == []


def test_a_client_is_forgotten_after_the_memory_whether_or_not_the_sweep_came_by() -> None:
    rules = policy(requests_per_minute=1, repeat_within_s=7200)
    mta = Mta(rules)
    mta.see(0, "mail")
    mta.see(1, "mail")
    mta.see(rules.memory_s * S + 2, address="198.51.100.1")
    mta.see(rules.memory_s * S + 3, "mail")
    assert the_block(mta.see(rules.memory_s * S + 4, "mail")).evidence.strike == 1


def test_the_sweep_keeps_only_the_remembered() -> None:
    mta = Mta(policy())
    for number in range(2000):
        mta.see(number * 60 * S, address=f"10.0.{number // 250}.{number % 250}")
    assert len(mta.state.clients) < 400


def test_unknown_clients_are_not_made_by_what_no_rule_counts() -> None:
    mta = Mta(policy())
    assert mta.see(0, "disconnect") == mta.see(1, "violation") == []
    assert mta.state.clients == {}


def test_a_disconnect_of_an_unknown_session_is_nothing() -> None:
    mta = Mta(policy(concurrent_connections=1))
    mta.see(0, "mail")
    assert mta.see(1, "disconnect", session="mx/9") == []
    mta.see(2, session="mx/1")
    mta.see(3, "disconnect", session="mx/9")
    assert len(mta.see(4, session="mx/2")) == 1


@pytest.mark.parametrize("kind", ["connect", "helo"])
def test_recalling_a_listed_or_exempt_event_without_a_record_makes_nothing(kind: EventKind) -> None:
    mta = Mta(policy(blocks=LISTED))
    event = Event(
        id="x", at=Instant(START), kind=kind, client=ClientPrefixes().client_of(Address("192.0.2.7")),
        address=Address("192.0.2.7"), session="mx/1", host="mx",
    )  # fmt: skip
    recall(mta.index, mta.state, event, {})
    assert mta.state.clients == {}


def test_ids_depend_on_trigger_client_and_event_alone() -> None:
    found = []
    for note in ("a", "b"):
        mta = Mta(policy(blocks=(msgspec.structs.replace(LISTED[0], note=note),)))
        found.append(the_block(mta.see(0)).id)
    assert found[0] == found[1]


def test_where_the_first_is_the_warning_each_that_comes_alone_is_warned_about_also_after_a_restart() -> None:
    """A restarted worker reads back no further than its memory, so what was said before must not count."""
    rules = policy(requests_per_minute=1, warn_at=1.0)
    live, restarted = Mta(rules), Mta(rules)
    assert len(live.see(0, "mail")) == 1
    assert len(live.see(7201 * S, "mail")) == len(restarted.see(7201 * S, "mail")) == 1

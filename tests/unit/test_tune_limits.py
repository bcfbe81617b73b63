"""Whom `tune` believes, and how much time it takes a history for: what one client or one line may not do."""

import msgspec
import pytest

from streams.model.client import Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Limits, Policy, Suspension
from streams.replay.covered import Covered
from streams.replay.recommend import busiest_of
from streams.replay.setting import goes_together, setting_of
from streams.replay.tune_json import document
from streams.replay.tune_page import cautions, summary, tune_page
from streams.replay.tuning import Tuned, tune
from tests.unit.tune_history import MONITOR, SCANNER, SENDER, START, event, made, session

EVENTS = made()
LOUD, ALSO = "198.51.100.200", "198.51.100.201"
POLITE = "ehlo=1 quit=1 commands=2"
DAY_S = 86_400


def tuned_by(*more: list[Event], policy: Policy | None = None) -> Tuned:
    events = sorted((it for part in (EVENTS, *more) for it in part), key=lambda it: (it.at, it.id))
    return tune(policy or Policy(), lambda: events)


def loud(
    address: str = LOUD, *, mails: int = 0, count: int = 200, ended: str = "ehlo=1 auth=0/2 commands=1/3"
) -> list[Event]:
    """Two hundred connections in less than a minute after one message."""
    found = [*session(50, address, 0, mails=1, ended=POLITE)]
    for n in range(1, count):
        found += session(10_000 + n / 4, address, n, mails=mails, ended=ended)
    return found


def test_one_message_does_not_set_the_limits_of_everybody() -> None:
    found = tuned_by(loud())
    assert found.sides[Client(LOUD)] == "doubtful"
    assert {it.rule: it.client for it in found.busiest}["connections_per_minute"] == SENDER
    assert found.after.limits.connections_per_minute == 12
    row = found.weighed[found.recommended]
    assert (row.clients["legitimate"], row.clients["doubtful"], row.doubtful) == (0, 1, [LOUD])
    assert any(f"would be blocked: {LOUD}." in it for it in cautions(found))
    assert f"would be blocked: {LOUD}." in tune_page(found)
    assert document(found)["recommended"]["doubtful"] == [LOUD]


@pytest.mark.parametrize("addresses", [(LOUD,), (LOUD, ALSO)])
@pytest.mark.parametrize("count", [60, 200])
def test_nor_does_one_message_beside_clean_sessions(addresses: tuple[str, ...], count: int) -> None:
    found = tuned_by(*(loud(it, ended=POLITE, count=count) for it in addresses))
    for address in addresses:
        assert found.sides[Client(address)] == "doubtful"
        reasons = found.clients[Client(address)][1].reasons
        assert reasons == ("+40 delivered 1 message", f"-60 {count} connections for 1 message")
    assert (found.after.limits.connections_per_minute, found.lone) == (12, [])


def test_who_raises_a_limit_alone_is_named_with_the_limit_without_it() -> None:
    found = tuned_by(loud(mails=1, ended=POLITE))
    assert found.sides[Client(LOUD)] == "legitimate"
    assert {(it.rule, it.client, it.next_client, it.without) for it in found.lone} >= {
        ("connections_per_minute", LOUD, SENDER, 12),
        ("requests_per_minute", LOUD, SENDER, 20),
    }
    said = " ".join(cautions(found))
    assert f"connections_per_minute would be raised to 239 for everybody by {LOUD} alone" in said
    assert f"(the next, {SENDER}, 10): without it 12" in said
    assert document(found)["lone"] == [it.rule for it in found.lone]


def test_who_sets_a_limit_alone_and_raises_none_is_only_mentioned() -> None:
    found = tuned_by()
    assert found.lone == []
    assert f"Without it 2: the next busiest, {MONITOR}, reached 1." in " ".join(summary(found))
    assert not any("alone" in it for it in cautions(found))


def test_the_busiest_and_the_next_are_two_clients() -> None:
    counts = [(9, Client("a")), (3, Client("a")), (0, Client("c")), (2, Client("b")), (2, Client("d"))]
    found = busiest_of("requests_per_minute", counts)
    assert found is not None
    assert (found.client, found.peak, found.limit, found.alone) == ("a", 9, 11, True)
    assert (found.next_client, found.next_peak, found.without) == ("b", 2, 3)
    only = busiest_of("requests_per_minute", counts[:2])
    assert only is not None
    assert (only.next_client, only.without, only.alone) == (None, 0, True)
    assert busiest_of("requests_per_minute", [(0, Client("a"))]) is None
    near = busiest_of("requests_per_minute", [(5, Client("a")), (2, Client("b"))])
    assert near is not None
    assert not near.alone


def test_nobody_else_known_leaves_the_limit_of_now_without_it() -> None:
    events = loud(mails=1, ended=POLITE)
    found = tune(Policy(), lambda: sorted(events, key=lambda it: it.at))
    assert any("(no other is known): without it 30" in it for it in cautions(found))


def test_a_stray_line_does_not_make_a_month() -> None:
    stray = event(-47 * DAY_S, "connect", SCANNER, "old")
    found = tuned_by([stray])
    assert (found.first, found.span_s < 9 * 3600) == (stray.at, True)
    assert any("8.0 hours long, pauses of more than a day left out: " in it for it in cautions(found))


@pytest.mark.parametrize(
    ("times_s", "covered_s", "holes_s"),
    [
        ((), 0, 0),
        ((0,), 0, 0),
        ((0, 10, 7, 20), 20, 0),
        ((0, DAY_S, 2 * DAY_S), 2 * DAY_S, 0),
        ((0, DAY_S + 1, DAY_S + 2), 1, DAY_S + 1),
        ((0, 5, -3), 8, 0),
        ((0, -DAY_S, -2 * DAY_S), 2 * DAY_S, 0),
        ((0, 5, -DAY_S - 1), 5, DAY_S + 1),
    ],
)
def test_how_much_time_a_history_shows(times_s: tuple[int, ...], covered_s: int, holes_s: int) -> None:
    events = [event(it, "connect", SENDER, "0") for it in times_s]
    marker = event(9 * DAY_S, "policy", SENDER, "0")
    covered = Covered()
    assert list(covered.by([*events, marker])) == [*events, marker]
    assert (covered.us, covered.holes_us) == (covered_s * MICROSECONDS, holes_s * MICROSECONDS)
    at = sorted(it.at for it in events) or [Instant(0)]
    assert (covered.first, covered.last) == (at[0], at[-1])


@pytest.mark.parametrize(("until_s", "silent"), [(-60, False), (3600, True)])
def test_a_suspension_that_is_over_before_the_history_is_none(until_s: int, silent: bool) -> None:
    suspension = Suspension(module="rate", until=Instant((START + until_s) * MICROSECONDS))
    found = tuned_by(policy=Policy(suspensions=(suspension,)))
    assert found.silent == silent
    assert found.after.suspensions == (suspension,)
    assert any("suspended" in it for it in cautions(found)) == silent


def test_no_cool_down_is_recommended_that_no_policy_may_have() -> None:
    policy = Policy(limits=Limits(cool_down_s=100, cool_down_max_s=90))
    harsh = msgspec.structs.replace(setting_of(policy.limits), cool_down_s=600, cool_down_growth=2.0)
    assert not goes_together(harsh.under(policy))
    found = tune(policy, lambda: EVENTS, settings=[harsh])
    assert harsh in found.settings
    assert (found.after.limits.cool_down_s, found.after.limits.cool_down_growth) == (100, 1)
    assert found.weighed[found.recommended].clients["legitimate"] == 0


def test_no_setting_that_no_policy_may_have_is_shown_unless_asked_for() -> None:
    """None of 600 s that grows, for a cool-down that ends at 90 s: `goaway policy check` refuses these."""
    policy = Policy(limits=Limits(cool_down_s=60, cool_down_max_s=90))
    found = tune(policy, lambda: EVENTS)
    assert all(goes_together(it) for it in found.policies)
    assert {(it.cool_down_s, it.cool_down_growth) for it in found.settings} == {(60, 1), (60, 2), (600, 1)}

"""Trigger `greylist`: first attempts, who never retries, who is learnt; our 451 told from others."""

from collections.abc import Callable
from typing import Any

import pytest

from streams.engine.greylist import is_deferral
from streams.engine.step import Outcome
from streams.model.client import Address, Client, parse_network
from streams.model.event import Event
from streams.model.greylist import greylist_triplet
from streams.model.instant import Instant
from streams.model.modules import Greylist
from streams.model.policy import Block, Policy, Replies, Suspension
from streams.model.standing import PolicyIndex
from tests.unit.engine_mta import DAY, HOUR, INTERNAL, OURS, START, Mta, S, exempt, one, policy

PTR = "out7.mail.example.net"


def grey(**fields: Any) -> Policy:
    settings = {name: fields.pop(name) for name in list(fields) if name in Greylist.__struct_fields__}
    return policy(greylist=Greylist(**({"enabled": True, "no_retry_count": 3} | settings)), **fields)


def test_a_first_attempt_is_put_on_record() -> None:
    decision = one(Mta(grey()).put_off(S, ptr=PTR))
    assert (decision.action, decision.trigger, decision.rule, decision.code) == (
        "defer",
        "greylist",
        "first_attempt",
        451,
    )
    triplet = greylist_triplet("a@x.org", "b@y.org")
    assert (decision.triplet, decision.pool) == (triplet, "mail.example.net")
    assert decision.key == f"greylist:192.0.2.7:{triplet}"
    assert (decision.at, decision.until) == (START + S, START + S + 14_400 * S)
    assert (decision.reason, decision.shadow) == ("greylisted, retry in", False)


def test_a_retry_that_comes_too_early_is_no_first_attempt_until_the_window_ends() -> None:
    mta = Mta(grey(retry_window_s=1000))
    assert len(mta.put_off(0)) == 1
    assert mta.put_off(S) == mta.put_off(1000 * S - 1) == []
    assert one(mta.put_off(1000 * S)).until == START + 2000 * S


def test_attempts_are_told_apart_by_sender_and_recipient_but_not_by_tags_case_or_numbers() -> None:
    mta = Mta(grey())
    assert len(mta.put_off(0, sender="a1@x.org")) == 1
    assert mta.put_off(1, sender="A2+tag@X.org", to="B@y.org") == []
    assert len(mta.put_off(2, sender="b@x.org")) == len(mta.put_off(3, to="c@y.org")) == 1


def test_a_deferral_counts_as_no_request() -> None:
    mta = Mta(grey(requests_per_minute=1, connections_per_minute=99))
    for number in range(9):
        mta.put_off(number, to=f"{'x' * number}@y.org")
    assert mta.see(10, "mail") == []
    assert one(mta.see(11, "mail")).evidence.count == 2


def test_a_refused_recipient_is_a_first_attempt_like_a_refused_transaction() -> None:
    mta = Mta(grey())
    said = f"451 4.7.1 <b@y.org>: Recipient address rejected: {OURS}"
    found = mta.decided(0, "rcpt", sender="a@x.org", recipient="b@y.org", code=451, detail=said)
    assert found == [("defer", "first_attempt")]


def test_who_never_retries_is_blocked_for_transactions_with_the_exact_words() -> None:
    mta = Mta(grey(no_retry_after_s=HOUR // S, connections_per_minute=2))
    for number in range(3):
        mta.put_off(number * S, to=f"{'x' * number}@y.org")
    assert mta.see(HOUR + 2 * S - 1) == []
    decision = one(mta.see(HOUR + 2 * S))
    assert (decision.trigger, decision.rule, decision.action) == ("greylist", "no_retry", "block")
    assert (decision.code, decision.reason) == (571, "greylist policy: no retry")
    assert decision.until == START + HOUR + 2 * S + DAY
    evidence = decision.evidence
    assert (evidence.count, evidence.limit, evidence.window_s) == (3, 3, 3600)
    assert decision.key == "greylist:192.0.2.7"
    # refused from MAIL on: transactions count no more, connections do
    assert [mta.see(HOUR + 3 * S, "mail") for _ in range(30)] == [[]] * 30
    assert one(mta.see(HOUR + 3 * S)).rule == "connections_per_minute"


def test_overdue_attempts_are_seen_at_a_deferral_too_and_it_is_no_first_attempt_then() -> None:
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    mta.put_off(0)
    assert mta.put_off(999 * S, to="c@y.org") != []
    assert one(mta.put_off(1000 * S, to="d@y.org")).rule == "no_retry"
    assert mta.put_off(1001 * S, to="e@y.org") == [], "refused by the block"


def test_a_block_by_a_limit_comes_first() -> None:
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000, connections_per_minute=1))
    mta.put_off(0)
    mta.see(1000 * S - 1)
    assert one(mta.see(1000 * S)).trigger == "rate"


def test_a_retry_after_the_delay_that_is_delivered_is_learnt() -> None:
    mta = Mta(grey())
    mta.put_off(0, ptr=PTR)
    mta.see(600 * S, "mail", sender="a+9@x.org")
    decision = one(mta.queued(600 * S, sender="a+9@x.org", ptr=PTR))
    assert (decision.action, decision.rule, decision.pool) == ("pass", "retried", "mail.example.net")
    assert decision.until == START + 600 * S + 30 * DAY
    assert decision.key == "greylist:192.0.2.7"
    assert mta.put_off(700 * S, sender="new@x.org") == [], "learnt: no first attempt"


@pytest.mark.parametrize(("at", "sender"), [(600 * S - 1, "a@x.org"), (600 * S, "other@x.org")])
def test_a_delivery_that_is_no_retry_drops_what_was_pending(at: int, sender: str) -> None:
    mta = Mta(grey(no_retry_count=1))
    mta.put_off(0)
    decision = one(mta.queued(at, sender=sender))
    assert (decision.action, decision.rule, decision.until) == ("release", "delivered", START + at)
    assert mta.queued(at + 1, sender=sender) == [], "nothing pending"
    assert mta.see(5 * HOUR) == []
    assert one(mta.put_off(5 * HOUR)).action == "defer"


def test_a_learnt_client_that_delivers_is_renewed_once_a_day() -> None:
    mta = Mta(grey())
    mta.see(0, "learnt")
    assert mta.queued(DAY - 1) == []
    decision = one(mta.queued(DAY))
    assert (decision.action, decision.rule, decision.until) == ("pass", "renewed", START + 31 * DAY)
    assert mta.queued(DAY + HOUR) == []


def test_a_short_learning_is_renewed_when_half_of_it_is_gone() -> None:
    mta = Mta(grey(learnt_s=3600))
    mta.see(0, "learnt")
    assert mta.queued(HOUR // 2 - 1) == []
    assert one(mta.queued(HOUR // 2)).until == START + HOUR // 2 + HOUR
    assert mta.put_off(HOUR + HOUR // 2 - 1) == []
    assert len(mta.put_off(HOUR + HOUR // 2)) == 1


def test_learn_makes_a_client_pass_and_ends_its_block() -> None:
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    mta.put_off(0)
    mta.see(1000 * S)
    decision = one(mta.see(1001 * S, "learnt", session="", ptr=PTR))
    assert (decision.action, decision.rule, decision.pool) == ("pass", "learnt", "mail.example.net")
    assert decision.until == START + 1001 * S + 30 * DAY
    assert mta.see(1002 * S, "mail") == []
    assert mta.put_off(1003 * S) == []


def test_an_attempt_of_yesterday_is_forgotten_by_itself() -> None:
    mta = Mta(grey(no_retry_count=2, no_retry_after_s=HOUR // S))
    mta.put_off(0)
    mta.put_off(12 * HOUR, to="c@y.org")
    assert mta.see(DAY) == [], "the first is a day old: one is left"
    mta = Mta(grey(no_retry_count=2, no_retry_after_s=HOUR // S))
    mta.put_off(0)
    mta.put_off(12 * HOUR, to="c@y.org")
    assert one(mta.see(DAY - 1)).rule == "no_retry"


def test_at_most_256_attempts_are_pending_the_oldest_goes_first() -> None:
    mta = Mta(grey(no_retry_count=256, no_retry_after_s=1000))
    for number in range(257):
        mta.put_off(number * S, to=f"{'x' * number}@y.org")
    assert mta.see(1000 * S + 255 * S) == []
    assert one(mta.see(1000 * S + 256 * S)).evidence.count == 256


@pytest.mark.parametrize(
    "fields",
    [
        {"enabled": False},
        {"networks": INTERNAL},
        {"exemptions": exempt("greylist")},
        {"suspensions": (Suspension(module="greylist", until=Instant(START + DAY)),)},
        {"blocks": (Block(network=parse_network("192.0.2.0/24")),)},
    ],
)
def test_who_is_let_off_has_no_first_attempt_and_is_not_blocked_by_earlier_ones(fields: Any) -> None:
    assert "defer" not in [action for action, _ in _decided(Mta(grey(**fields)))]
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    mta.put_off(0)
    mta.use(grey(**({"no_retry_count": 1, "no_retry_after_s": 1000} | fields)))
    assert "no_retry" not in [rule for _, rule in mta.decided(1000 * S)]


def _decided(mta: Mta) -> list[tuple[str, str]]:
    said = f"451 4.7.1 <b@y.org>: Recipient address rejected: {OURS}"
    return mta.decided(0, "rcpt", sender="a@x.org", recipient="b@y.org", code=451, detail=said)


def test_internal_networks_are_judged_if_told() -> None:
    assert len(Mta(grey(networks=INTERNAL, internal=True)).put_off(0)) == 1


def test_who_delivers_while_the_module_is_suspended_is_not_said_never_to_retry() -> None:
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    mta.put_off(0)
    halt = (Suspension(module="greylist", until=Instant(START + 900 * S)),)
    mta.use(grey(no_retry_count=1, no_retry_after_s=1000, suspensions=halt))
    assert one(mta.queued(500 * S)).rule == "delivered"
    assert mta.see(2000 * S) == []


def test_an_exemption_lifts_a_block_that_stands() -> None:
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000, requests_per_minute=1))
    mta.put_off(0)
    mta.see(1000 * S)
    mta.use(grey(requests_per_minute=1, exemptions=exempt("greylist")))
    mta.see(1001 * S, "mail")
    assert one(mta.see(1002 * S, "mail")).trigger == "rate"


# our own 451

LINE = f"451 4.7.1 <b@y.org>: Recipient address rejected: {OURS}"


def seen(detail: str, **fields: Any) -> Event:
    values: dict[str, Any] = {"code": 451, "sender": "a@x.org", "recipient": "b@y.org"}
    return Event(
        id="e", at=Instant(START), kind="mail", client=Client("192.0.2.7"), address=Address("192.0.2.7"),
        session="mx/1", host="mx", detail=detail, **(values | fields),
    )  # fmt: skip


@pytest.mark.parametrize(
    "detail",
    [LINE, LINE.replace("600", "1"), f"451 4.7.1 <unknown[192.0.2.7]>: Client host rejected: {OURS}"],
)
def test_our_deferral_is_known_by_how_the_line_ends(detail: str) -> None:
    assert is_deferral(PolicyIndex(grey()), seen(detail))


@pytest.mark.parametrize(
    ("detail", "fields"),
    [
        (LINE, {"code": 450}),
        (LINE, {"code": 571}),
        (LINE + " ", {}),
        (LINE + "!", {}),
        (LINE.replace("600", ""), {}),
        (LINE.replace("600", "-1"), {}),
        (LINE.replace("600", "6e2"), {}),
        (LINE.replace("600", "٦٠٠"), {}),
        (LINE.replace("Go away", "go away"), {}),
        ("451 4.3.0 <b@y.org>: Temporary lookup failure", {}),
        # a client that writes our words: Postfix goes on behind them
        (f"451 4.3.0 <{OURS}>: Temporary lookup failure", {"recipient": OURS}),
        (
            f'451 4.7.1 <"{OURS}"@y.org>: Recipient address rejected: try later',
            {"recipient": f'"{OURS}"@y.org'},
        ),
        # a line cut behind them, by our bound or where the client wrote what the envelope begins with
        (f"451 4.3.0 <{'x' * 512}"[: 512 - len(OURS)] + OURS, {}),
        (f'451 4.3.0 <"{OURS}', {"recipient": f'"{OURS}; from=<"@y.org'}),
        (f'451 4.3.0 <"{OURS}', {"sender": f'"{OURS}; from=<"@y.org', "recipient": ""}),
        (f"451 4.3.0 <{OURS}", {"helo": f"{OURS}; from=<x"}),
    ],
)
def test_what_a_client_writes_cannot_look_like_our_deferral(detail: str, fields: dict[str, Any]) -> None:
    assert not is_deferral(PolicyIndex(grey()), seen(detail, **fields))


def test_a_text_that_was_changed_is_looked_for() -> None:
    index = PolicyIndex(grey(replies=Replies(opening="Later", greylisted="come back in")))
    assert is_deferral(
        index, seen("451 4.7.1 <b@y.org>: Recipient address rejected: Later: come back in 9 s")
    )
    assert not is_deferral(index, seen(LINE))


@pytest.mark.parametrize("moment", range(7))
def test_a_restart_at_any_moment_changes_nothing(moment: int) -> None:
    """First attempts, a retry that is learnt, a client that never retries: kill -9 in between."""
    mta = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    steps: list[Callable[[Mta], list[Outcome]]] = [
        lambda it: it.put_off(0),
        lambda it: it.put_off(S),
        lambda it: it.queued(600 * S),
        lambda it: it.put_off(601 * S, address="192.0.2.9"),
        lambda it: it.see(1601 * S, address="192.0.2.9"),
        lambda it: it.see(1602 * S, "mail", address="192.0.2.9"),
        lambda it: it.put_off(1603 * S),
    ]
    undisturbed = [decided(step(mta)) for step in steps]
    assert undisturbed == [["first_attempt"], [], ["retried"], ["first_attempt"], ["no_retry"], [], []]
    live = Mta(grey(no_retry_count=1, no_retry_after_s=1000))
    found = [decided(step(live)) for step in steps[:moment]]
    live = live.again()
    assert found + [decided(step(live)) for step in steps[moment:]] == undisturbed


def decided(outcomes: list[Outcome]) -> list[str]:
    return [it.rule for it in outcomes]


def test_a_message_of_a_stranger_or_with_nothing_pending_says_nothing() -> None:
    mta = Mta(grey())
    assert mta.queued(0) == []
    assert mta.state.clients == {}
    mta.see(1)
    assert mta.queued(2) == []


def test_nobody_is_learnt_while_greylisting_is_off() -> None:
    mta = Mta(grey())
    mta.put_off(0)
    mta.use(grey(enabled=False))
    assert mta.queued(600 * S) == []

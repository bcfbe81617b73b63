"""Trigger `protocol`: which violations count, and what follows."""

from typing import Any

import pytest

from streams.model.client import parse_network
from streams.model.instant import Instant
from streams.model.modules import VIOLATIONS, Protocol
from streams.model.policy import Block, Policy, Suspension
from tests.unit.engine_mta import HOUR, INTERNAL, START, Mta, S, exempt, one, policy


def strict(**fields: Any) -> Policy:
    settings = {name: fields.pop(name) for name in list(fields) if name in Protocol.__struct_fields__}
    return policy(protocol=Protocol(**settings), **fields)


def test_a_client_without_helo_is_blocked_with_the_exact_words() -> None:
    mta = Mta(strict())
    decision = one(mta.see(S, "violation", violation="missing HELO", detail="RCPT before HELO"))
    assert (decision.trigger, decision.rule, decision.code) == ("protocol", "missing_helo", 551)
    assert decision.reason == "SMTP protocol violation: missing HELO"
    assert (decision.at, decision.until) == (START + S, START + 601 * S)
    evidence = decision.evidence
    assert (evidence.count, evidence.limit, evidence.window_s) == (1, 1, 3600)
    assert evidence.note == "RCPT before HELO"
    assert decision.key == "protocol:192.0.2.7"


@pytest.mark.parametrize(("violation", "switch"), VIOLATIONS.items())
def test_each_violation_counts_where_its_switch_is_on(violation: str, switch: str) -> None:
    on, off = strict(**{switch: True}), strict(**{switch: False})
    decision = one(Mta(on).see(0, "violation", violation=violation))
    assert (decision.rule, decision.reason) == (switch, f"SMTP protocol violation: {violation}")
    mta = Mta(off)
    assert mta.see(0, "violation", violation=violation) == []
    assert mta.state.clients == {}


def test_by_default_missing_helo_alone_counts() -> None:
    blocked = [
        it for it in (*VIOLATIONS, "unheard of", "") if Mta(strict()).see(0, "violation", violation=it)
    ]
    assert blocked == ["missing HELO"]


@pytest.mark.parametrize(("last", "blocked"), [(100 * S, False), (100 * S - 1, True)])
def test_violations_of_all_kinds_are_counted_in_one_half_open_window(last: int, blocked: bool) -> None:
    mta = Mta(strict(pipelining=True, threshold=3, window_s=100))
    assert mta.see(0, "violation", violation="missing HELO") == []
    assert mta.see(50 * S, "violation", violation="pipelining") == []
    found = mta.see(last, "violation", violation="pipelining")
    assert bool(found) == blocked
    if blocked:
        assert (one(found).evidence.count, one(found).rule) == (3, "pipelining")


def test_while_blocked_nothing_is_counted_and_the_end_is_exact() -> None:
    mta = Mta(strict(threshold=2, window_s=3600, block_s=600, connections_per_minute=1))
    mta.see(0, "violation", violation="missing HELO")
    mta.see(0, "violation", violation="missing HELO")
    for second in range(600):
        assert mta.see(second * S) == mta.see(second * S, "violation", violation="missing HELO") == []
    assert mta.see(600 * S) == []
    assert one(mta.see(600 * S, "violation", violation="missing HELO")).evidence.count == 3


def test_a_violation_inside_a_block_by_a_limit_is_not_counted_but_where_that_is_lifted_it_is() -> None:
    mta = Mta(strict(connections_per_minute=1, cool_down_s=60))
    mta.see(0)
    mta.see(0)
    assert mta.see(1, "violation", violation="missing HELO") == []
    mta.use(strict(exemptions=exempt("rate")))
    assert one(mta.see(2, "violation", violation="missing HELO")).trigger == "protocol"


@pytest.mark.parametrize(
    "fields",
    [
        {"networks": INTERNAL},
        {"exemptions": exempt("protocol")},
        {"suspensions": (Suspension(module="protocol", until=Instant(START + S)),)},
        {"blocks": (Block(network=parse_network("192.0.2.7")),)},
    ],
)
def test_who_is_let_off_is_not_judged(fields: dict[str, Any]) -> None:
    mta = Mta(strict(**fields))
    assert mta.see(0, "violation", violation="missing HELO") == []
    assert mta.state.clients == {}


def test_internal_networks_are_judged_if_told() -> None:
    rules = strict(networks=INTERNAL, internal=True)
    assert len(Mta(rules).see(0, "violation", violation="missing HELO")) == 1


def test_a_suspension_returns_by_itself() -> None:
    mta = Mta(strict(suspensions=(Suspension(module="protocol", until=Instant(START + S)),)))
    assert mta.see(S - 1, "violation", violation="missing HELO") == []
    assert len(mta.see(S, "violation", violation="missing HELO")) == 1


def test_an_exemption_lifts_a_block_that_stands() -> None:
    mta = Mta(strict(connections_per_minute=1))
    mta.see(0, "violation", violation="missing HELO")
    mta.use(strict(connections_per_minute=1, exemptions=exempt("protocol")))
    mta.see(1)
    assert one(mta.see(2)).trigger == "rate"


def test_the_window_is_recalled_after_a_restart() -> None:
    mta = Mta(strict(threshold=2))
    mta.see(0, "violation", violation="missing HELO")
    folded = mta.again()
    for it in (mta, folded):
        assert one(it.see(HOUR - 1, "violation", violation="missing HELO")).evidence.count == 2

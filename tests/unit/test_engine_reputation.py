"""Trigger `reputation`: which answers are listings, what they weigh, how long a block by them lasts."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from streams.engine.reputation import weight_of
from streams.model.client import parse_network
from streams.model.instant import Instant
from streams.model.modules import Reputation, Zone
from streams.model.policy import Block, Policy, Suspension
from tests.unit.engine_mta import HOUR, INTERNAL, START, Mta, S, exempt, one, policy

ZEN = Zone(domain="zen.example", name="Spamhaus")
BL = Zone(domain="bl.example")


def dnsbl(zones: tuple[Zone, ...] = (ZEN, BL), **fields: Any) -> Policy:
    settings = {name: fields.pop(name) for name in list(fields) if name in Reputation.__struct_fields__}
    return policy(zones=zones, reputation=Reputation(**settings), **fields)


def test_a_listed_client_is_blocked_as_long_as_the_answer_holds_with_the_exact_words() -> None:
    decision = one(Mta(dnsbl()).answer(S, "zen.example 127.0.0.2", ttl_s=900))
    assert (decision.trigger, decision.rule, decision.action, decision.code) == (
        "reputation",
        "zen.example",
        "block",
        551,
    )
    assert decision.reason == "IP listed in DNSBL: [Spamhaus]"
    assert (decision.at, decision.until) == (START + S, START + S + 900 * S)
    assert (decision.evidence.count, decision.evidence.limit) == (1, 1)
    assert decision.evidence.note == "zen.example 127.0.0.2"
    assert decision.key == "reputation:192.0.2.7"


def test_several_zones_are_all_named_and_one_without_a_name_by_its_domain() -> None:
    decision = one(Mta(dnsbl()).answer(0, "zen.example 127.0.0.2; bl.example 127.0.0.9"))
    assert decision.reason == "IP listed in DNSBL: [bl.example], [Spamhaus]"
    assert (decision.rule, decision.evidence.count) == ("bl.example", 2)


@pytest.mark.parametrize(
    "codes",
    [
        *("127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.0", "10.0.0.1", "192.0.2.1"),
        *("", "listed", "::1", "127.0.0.256", "127.0.0.2x", "127.255.255.254,127.255.255.252"),
    ],
)
def test_errors_and_what_is_no_code_are_never_a_listing(codes: str) -> None:
    mta = Mta(dnsbl())
    assert mta.answer(0, f"zen.example {codes}") == []
    assert mta.see(1) == []


def test_of_several_codes_the_heaviest_counts_and_the_most_specific_network_weighs_a_code() -> None:
    zone = Zone(
        domain="z",
        codes=(
            (IPv4Network("127.0.0.4/32"), 5),
            (IPv4Network("127.0.0.9/32"), 0),
            (IPv4Network("127.0.0.0/24"), 2),
        ),
    )
    assert weight_of(zone, "127.0.0.2") == 2
    assert weight_of(zone, "127.0.0.2,127.0.0.4") == 5
    assert weight_of(zone, "127.0.0.9") == 0
    assert weight_of(zone, "127.0.1.1") == 0, "with codes, what is not named weighs nothing"
    assert weight_of(zone, "127.255.255.254, 127.0.0.4") == 5
    assert weight_of(Zone(domain="z", weight=3), "127.9.9.9") == 3


def test_weights_are_held_against_the_threshold() -> None:
    mta = Mta(dnsbl(threshold=2))
    assert mta.answer(0, "zen.example 127.0.0.2") == []
    assert one(mta.answer(1, "zen.example 127.0.0.2; bl.example 127.0.0.2")).evidence.count == 2


def test_a_zone_that_is_off_or_not_of_the_policy_counts_nothing() -> None:
    off = Zone(domain="zen.example", enabled=False)
    assert Mta(dnsbl(zones=(off, BL))).answer(0, "zen.example 127.0.0.2; nobody.example 127.0.0.2") == []
    assert Mta(policy()).answer(0, "zen.example 127.0.0.2") == []


def test_zone_names_are_compared_without_case_and_final_dot() -> None:
    assert one(Mta(dnsbl()).answer(0, "ZEN.Example. 127.0.0.2")).rule == "zen.example"


@pytest.mark.parametrize(("ttl_s", "holds_s"), [(0, 3600), (5, 300), (86_400 * 9, 86_400), (700, 700)])
def test_ttl_is_kept_within_the_policys_bounds_and_an_hour_where_not_said(ttl_s: int, holds_s: int) -> None:
    decision = one(Mta(dnsbl()).answer(0, "zen.example 127.0.0.2", ttl_s=ttl_s))
    assert decision.until == START + holds_s * S


def test_nothing_is_counted_while_blocked_and_the_end_is_exact() -> None:
    mta = Mta(dnsbl(connections_per_minute=1))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=600)
    assert mta.see(600 * S - 1) == []
    assert mta.see(600 * S) == [], "the first that counts"
    assert one(mta.see(600 * S + 1)).evidence.count == 2


def test_the_same_answer_again_says_nothing_until_it_holds_longer() -> None:
    mta = Mta(dnsbl())
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=600)
    assert mta.answer(0, "zen.example 127.0.0.2", ttl_s=600) == []
    assert one(mta.answer(1, "zen.example 127.0.0.2", ttl_s=600)).until == START + 600 * S + 1


def test_a_clean_round_releases_and_counts_start_afresh() -> None:
    mta = Mta(dnsbl(connections_per_minute=1))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=3600)
    decision = one(mta.answer(60 * S, ""))
    assert (decision.action, decision.rule, decision.until) == ("release", "delisted", START + 60 * S)
    assert (decision.code, decision.reason) == (0, "no longer listed")
    assert mta.answer(61 * S, "") == []
    assert mta.see(62 * S) == []
    assert len(mta.see(62 * S)) == 1


def test_a_lines_of_the_log_tells_of_one_zone_and_takes_nothing_back() -> None:
    mta = Mta(dnsbl(threshold=2))
    assert mta.see(0, "reputation", service="postscreen/dnsblog", detail="zen.example 127.0.0.2") == []
    decision = one(mta.see(1, "reputation", service="postscreen/dnsblog", detail="bl.example 127.0.0.2"))
    assert decision.reason == "IP listed in DNSBL: [bl.example], [Spamhaus]"
    assert mta.see(2, "reputation", service="postscreen/dnsblog", detail="zen.example 127.255.255.254") == []


def test_what_several_lookups_say_adds_up_for_an_hour_only() -> None:
    mta = Mta(dnsbl(threshold=2))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=86_400)
    assert mta.see(HOUR, "reputation", service="postscreen/dnsblog", detail="bl.example 127.0.0.2") == []
    mta = Mta(dnsbl(threshold=2))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=86_400)
    late = one(mta.see(HOUR - 1, "reputation", service="postscreen/dnsblog", detail="bl.example 127.0.0.2"))
    assert late.until == START + 86_400 * S


def test_addresses_of_a_client_count_a_zone_once() -> None:
    mta = Mta(dnsbl(threshold=2))
    assert mta.answer(0, "zen.example 127.0.0.2", address="2001:db8::1") == []
    assert mta.answer(1, "zen.example 127.0.0.2", address="2001:db8::2") == []
    decision = one(mta.answer(2, "bl.example 127.0.0.2", address="2001:db8::3"))
    assert (decision.client, decision.reason) == (
        "2001:db8::/64",
        "IP listed in DNSBL: [bl.example], [Spamhaus]",
    )


def test_a_clean_neighbour_in_the_64_releases_nobody() -> None:
    mta = Mta(dnsbl(wait_ms=500))
    assert one(mta.answer(0, "zen.example 127.0.0.2", ttl_s=86_400, address="2001:db8::1")).action == "block"
    assert mta.answer(2 * HOUR, "", address="2001:db8::2") == []
    assert one(mta.answer(3 * HOUR, "", address="2001:db8::1")).action == "release"


def test_where_one_address_is_clean_the_block_is_handed_over_to_the_other() -> None:
    mta = Mta(dnsbl())
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=7200, address="2001:db8::1")
    assert mta.answer(S, "bl.example 127.0.0.2", ttl_s=900, address="2001:db8::2") == []
    handed = one(mta.answer(2 * S, "", address="2001:db8::1"))
    assert (handed.action, handed.address, handed.rule) == ("block", "2001:db8::2", "bl.example")
    assert handed.until == START + 901 * S
    assert one(mta.answer(3 * S, "", address="2001:db8::2")).action == "release"


def test_a_clean_verdict_is_said_only_where_the_shim_waits_for_one() -> None:
    assert Mta(dnsbl()).answer(0, "") == []
    decision = one(Mta(dnsbl(wait_ms=500)).answer(0, "", ttl_s=300))
    assert (decision.action, decision.rule, decision.until) == ("pass", "verdict", START + 300 * S)
    below = one(Mta(dnsbl(wait_ms=500, threshold=5)).answer(0, "zen.example 127.0.0.2"))
    assert (below.action, below.evidence.count, below.evidence.limit) == ("pass", 1, 5)


def test_an_answer_that_no_longer_holds_at_the_clients_clock_is_nothing() -> None:
    mta = Mta(dnsbl(wait_ms=500))
    mta.see(600 * S)
    assert mta.answer(0, "zen.example 127.0.0.2", ttl_s=600) == mta.answer(0, "", ttl_s=600) == []
    assert one(mta.answer(1, "zen.example 127.0.0.2", ttl_s=600)).at == START + 600 * S


@pytest.mark.parametrize(
    "fields",
    [
        {"networks": INTERNAL},
        {"exemptions": exempt("dnsbl")},
        {"suspensions": (Suspension(module="dnsbl", until=Instant(START + S)),)},
        {"blocks": (Block(network=parse_network("192.0.2.7")),)},
    ],
)
def test_who_is_let_off_is_not_judged(fields: dict[str, Any]) -> None:
    mta = Mta(dnsbl(**fields))
    assert mta.answer(0, "zen.example 127.0.0.2") == []
    assert mta.state.clients == {}


def test_internal_networks_are_judged_if_told() -> None:
    assert len(Mta(dnsbl(networks=INTERNAL, internal=True)).answer(0, "zen.example 127.0.0.2")) == 1


def test_an_exemption_lifts_a_block_that_stands_and_what_comes_then_counts() -> None:
    mta = Mta(dnsbl(connections_per_minute=1))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=86_400)
    mta.use(dnsbl(connections_per_minute=1, exemptions=exempt("dnsbl")))
    assert mta.see(1) == []
    assert one(mta.see(2)).trigger == "rate"


def test_a_round_is_recalled_with_its_listings() -> None:
    mta = Mta(dnsbl(threshold=2))
    mta.answer(0, "zen.example 127.0.0.2", ttl_s=3600)
    folded = mta.again()
    for it in (mta, folded):
        found = one(it.see(1, "reputation", service="postscreen/dnsblog", detail="bl.example 127.0.0.2"))
        assert found.evidence.count == 2

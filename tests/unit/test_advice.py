"""What `explain` says of an address: the classic mistakes, each with the command that mends it."""

from typing import Final

import msgspec

from streams.engine.advice import findings, modules, standing_decisions
from streams.model.client import Client, parse_address
from streams.model.decision import Decision, Evidence, LimitWarning, Trigger
from streams.model.instant import MICROSECONDS, Instant
from streams.model.standing import PolicyIndex
from streams.wire.policy_toml import read_policy

NOW: Final = 1_678_748_400 * MICROSECONDS
ADDRESS: Final = parse_address("203.0.113.9")
ZONE: Final = (
    '[[zones]]\ndomain = "zen.example.org"\nname = "Zen"\ndelisting = "https://zen.example.org/look"\n'
)


def block(
    trigger: Trigger = "rate",
    rule: str = "requests_per_minute",
    *,
    reason: str = "exceeded connection rate limit",
    ends_s: int = 60,
    shadow: bool = False,
    address: str = ADDRESS,
) -> Decision:
    return Decision(
        id="d1",
        at=Instant(NOW - MICROSECONDS),
        until=Instant(NOW + ends_s * MICROSECONDS),
        action="block",
        client=Client(address),
        address=parse_address(address),
        trigger=trigger,
        rule=rule,
        code=551,
        reason=reason,
        evidence=Evidence(count=21, limit=20, window_s=60),
        policy="p",
        event="e1",
        session="mx1/1",
        host="mx1",
        shadow=shadow,
    )


def advice(
    policy: str, *decisions: Decision, address: str = ADDRESS, trouble: LimitWarning | None = None
) -> list[tuple[str, str]]:
    index = PolicyIndex(read_policy(policy))
    warnings: dict[tuple[str, str], LimitWarning] = {}
    if trouble:
        warnings[trouble.about, trouble.client] = trouble
    found = findings(index, parse_address(address), decisions, NOW, trouble=warnings)
    return [(it.what, it.command) for it in found]


def commands(found: list[tuple[str, str]]) -> list[str]:
    return [command for _, command in found]


def exemption(module: str, address: str, note: str = "") -> str:
    return f'[[exemptions]]\nmodule = "{module}"\naddress = "{address}"\nnote = "{note}"\n'


def test_nothing_stands() -> None:
    assert advice("") == []


def test_a_block_is_lifted_by_unblock_or_by_an_exemption_from_its_own_module() -> None:
    found = advice("", block())
    assert commands(found) == ["goaway unblock 203.0.113.9", "goaway exempt rate 203.0.113.9"]
    assert found[0][0] == (
        "refused until 2023-03-13 23:01:00 UTC: exceeded connection rate limit; to let it in now"
    )


def test_an_exemption_is_for_the_client_since_its_next_address_is_another() -> None:
    address = "2001:db8:1:2::9"
    assert commands(advice("", block(address=address), address=address)) == [
        "goaway unblock 2001:db8:1:2::9",
        "goaway exempt rate 2001:db8:1:2::/64",
    ]


def test_exempt_in_the_wrong_module() -> None:
    found = advice(exemption("dnsbl", "203.0.113.0/24"), block())
    assert (
        "it is exempt from dnsbl, but what refuses it is rate: that needs its own",
        "goaway exempt rate 203.0.113.9",
    ) in found


def test_a_single_address_where_a_network_was_meant() -> None:
    found = advice(exemption("rate", "203.0.113.7", "partner"), block())
    assert (
        "203.0.113.7 is exempt from rate (partner), a single address: it does not cover 203.0.113.9",
        "goaway exempt rate 203.0.113.0/24",
    ) in found


def test_an_entry_that_ended_is_said_to_have_ended_and_no_neighbour_s() -> None:
    ended = exemption("rate", ADDRESS, "partner") + "expires = 2023-03-13T22:00:00Z\n"
    words = (
        "203.0.113.9 was exempt from rate (partner), but that entry ended at 2023-03-13 22:00:00 UTC. "
        "To have it again"
    )
    assert advice(ended) == [(words, "goaway exempt rate 203.0.113.9")]
    assert advice(ended, address="203.0.113.10") == []
    again = ended + exemption("rate", "203.0.113.0/24")
    assert advice(again) == [], "another entry covers it"


def test_what_refuses_is_not_mended_by_an_entry_of_another_module() -> None:
    near = exemption("rate", "203.0.113.8") + exemption("dnsbl", "203.0.113.8") + ZONE
    listed = block("reputation", "zen.example.org", reason="IP listed in DNSBL: [Zen]")
    hints = [command for command in commands(advice(near, listed)) if command.endswith("/24")]
    assert hints == ["goaway exempt dnsbl 203.0.113.0/24"]
    assert len(advice(near)) == 2, "where nothing refuses, each may be what was meant"


def test_an_exempt_network_has_no_such_finding() -> None:
    assert not any("single address" in what for what, _ in advice(exemption("rate", "203.0.113.0/28")))


def test_concurrency_raised_but_rate_not() -> None:
    policy = '[[networks]]\ncidr = "203.0.113.0/24"\nconcurrent_connections = 50\n'
    found = advice(policy, block())
    assert (
        "203.0.113.0/24 raises concurrent_connections to 50, but requests_per_minute is still 20: they are "
        "two limits",
        "goaway policy set networks.203.0.113.0/24.requests_per_minute 42",
    ) in found


def test_a_block_that_an_exemption_lifts_says_what_becomes_of_the_open_session() -> None:
    listed = block("reputation", "zen.example.org", reason="IP listed in DNSBL: [Zen]")
    found = advice(ZONE + exemption("dnsbl", ADDRESS, "customer"), listed)
    ((what, command),) = found
    assert "does not refuse: exempt from dnsbl by 203.0.113.9 (customer)" in what
    assert "also in a session that is open" in what
    assert command == ""


def test_a_listing_names_the_zone_s_own_page() -> None:
    listed = block("reputation", "zen.example.org", reason="IP listed in DNSBL: [Zen]")
    assert ("[Zen] says why, and takes it off, at https://zen.example.org/look", "") in advice(ZONE, listed)


def test_an_internal_address_that_is_greylisted() -> None:
    found = advice("[greylist]\nenabled = true\n", address="10.1.2.3")
    assert found == [
        (
            "a private address, but in no network marked internal: greylist judges it",
            "goaway policy set networks.10.1.2.0/24.internal true",
        )
    ]
    inside = '[greylist]\nenabled = true\n[[networks]]\ncidr = "10.0.0.0/8"\ninternal = true\n'
    assert advice(inside, address="10.1.2.3") == []


def said(about: str, subject: str, text: str) -> LimitWarning:
    return LimitWarning(
        id="w",
        at=Instant(NOW),
        client=Client(subject),
        address=parse_address("::"),
        rule="",
        evidence=Evidence(),
        policy="",
        event="",
        host="",
        about="partner" if about == "partner" else "zone",
        text=text,
    )


def test_a_zone_that_is_out_and_one_that_works_again() -> None:
    out = said("zone", "zen.example.org", "zone [Zen] (zen.example.org) is out: it answers nothing")
    found = (
        "since 2023-03-13 23:00:00 UTC: zone [Zen] (zen.example.org) is out: it answers nothing. To do "
        "without it",
        "goaway policy set zones.zen.example.org.enabled false",
    )
    assert found in advice(ZONE, trouble=out)
    assert advice("", trouble=out) == []
    back = said("zone", "zen.example.org", "zone [Zen] (zen.example.org) works again and is asked again")
    assert advice(ZONE, trouble=back) == []


def test_a_partner_that_is_listed_and_one_that_was_cleared() -> None:
    listed = said("partner", ADDRESS, "partner ACME (203.0.113.9) is listed in [Zen]: delisting page")
    when = "since 2023-03-13 23:00:00 UTC: "
    assert advice(ZONE, trouble=listed) == [
        (
            f"{when}{listed.text}. To let it in until that is done",
            "goaway exempt dnsbl 203.0.113.9 --expires 7d",
        )
    ]
    assert advice(ZONE + exemption("dnsbl", ADDRESS), trouble=listed) == [(when + listed.text, "")]
    assert advice(ZONE, trouble=listed, address="198.51.100.1") == []
    cleared = said("partner", ADDRESS, "partner ACME (203.0.113.9) is no longer listed in [Zen]")
    assert advice(ZONE, trouble=cleared) == [(when + cleared.text, "")]


def deferred(ago_s: int, triplet: str) -> Decision:
    return msgspec.structs.replace(
        block("greylist", "first_attempt", ends_s=3600),
        at=Instant(NOW - ago_s * MICROSECONDS),
        action="defer",
        triplet=triplet,
    )


def test_first_attempts_that_wait_for_a_retry() -> None:
    on = "[greylist]\nenabled = true\n"
    ((what, command),) = advice(on, deferred(60, "a:b"), deferred(30, "a:c"))
    assert what == (
        "greylisted: 2 first attempts were put off with 451 and not retried yet; a retry passes from "
        "2023-03-13 23:09:00 UTC on, and once its message is queued the client passes. Never to put it off"
    )
    assert command == "goaway exempt greylist 203.0.113.9"
    learnt = msgspec.structs.replace(deferred(20, ""), action="pass")
    assert advice(on, deferred(60, "a:b"), learnt) == []
    assert advice(on + exemption("greylist", ADDRESS), deferred(60, "a:b")) == []


def test_a_suspension_that_was_forgotten() -> None:
    policy = (
        '[[suspensions]]\nmodule = "rate"\nuntil = 2023-03-14T23:00:00Z\nnote = "month-end"\nby = "ada"\n'
    )
    assert (
        "rate is suspended for everybody until 2023-03-14 23:00:00 UTC by ada (month-end): 24 h left, in "
        "which it refuses nobody",
        "goaway resume rate",
    ) in advice(policy)


def test_the_block_list_comes_first_and_no_exemption_lifts_it() -> None:
    policy = '[[blocks]]\naddress = "203.0.113.0/24"\nnote = "abuse"\n' + exemption("rate", ADDRESS)
    assert advice(policy)[0] == (
        "203.0.113.0/24 is on the block list (abuse); no exemption lifts that. To take all of it off",
        "goaway policy remove blocks/203.0.113.0/24",
    )


def test_shadow_is_no_refusal() -> None:
    index = PolicyIndex(read_policy(""))
    (stands,) = standing_decisions(index, ADDRESS, [block(shadow=True)], NOW)
    assert stands.lifted_by == "it was decided in shadow: recorded, nobody refused"


def test_what_is_switched_off_is_said_to_refuse_nobody() -> None:
    listed = block("reputation", "zen.example.org", reason="IP listed in DNSBL: [Zen]")
    off = ZONE + "enabled = false\n"
    assert [
        it.lifted_by for it in standing_decisions(PolicyIndex(read_policy(ZONE)), ADDRESS, [listed], NOW)
    ] == [""]
    ((what, _),) = advice(off, listed)
    assert "does not refuse: no DNSBL is asked any more" in what
    internal = '[[networks]]\ncidr = "203.0.113.0/24"\ninternal = true\n'
    ((what, _),) = advice(internal, block("protocol", "missing_helo"))
    assert "does not refuse: 203.0.113.0/24 is internal" in what


def test_what_has_ended_does_not_stand() -> None:
    assert standing_decisions(PolicyIndex(read_policy("")), ADDRESS, [block(ends_s=0)], NOW) == []


def test_blocks_stand_in_order_of_precedence() -> None:
    both = [block("protocol", "missing_helo"), block()]
    index = PolicyIndex(read_policy(""))
    stands = standing_decisions(index, ADDRESS, both, NOW)
    assert [it.decision.trigger for it in stands] == ["rate", "protocol"]


def test_how_each_module_treats_an_address() -> None:
    policy = (
        exemption("protocol", ADDRESS, "scanner")
        + '[shadow]\nrules = ["reputation"]\n'
        + ZONE
        + '[greylist]\nenabled = true\n[[networks]]\ncidr = "203.0.113.0/24"\ninternal = true\n'
    )
    assert modules(PolicyIndex(read_policy(policy)), ADDRESS, NOW) == {
        "rate": "judges it",
        "dnsbl": "let off: 203.0.113.0/24 is internal",
        "greylist": "let off: 203.0.113.0/24 is internal",
        "protocol": "exempt by 203.0.113.9 (scanner)",
    }

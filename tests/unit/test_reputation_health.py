"""A zone's breaker and its way back, the words about it, and the cache: values alone, no clock."""

import pytest

from streams.agents.reputation.answers import Answer, Trouble, silent
from streams.agents.reputation.cache import TROUBLE_S, Cache, Known
from streams.agents.reputation.health import FAILURES, UNTESTED, WILDCARD, ZoneHealth, verdict_of_test
from streams.agents.reputation.lookups import detail_of
from streams.agents.reputation.words import partner_text, zone_text, zone_warning
from streams.model.client import Address
from streams.model.event import MAX_TEXT
from streams.model.instant import Instant
from streams.model.modules import Partner, Zone
from streams.wire.frames import decode_warning, encode

ZONE = Zone(domain="bl.example", name="Example", delisting="https://bl.example/remove")
SILENT = silent("no answer in time")
REFUSING = Trouble("refusing", "it refuses", "ask otherwise")
LISTED = Answer(("127.0.0.2",), 300)


def health() -> ZoneHealth:
    return ZoneHealth(ZONE, every_s=60.0, now=100.0)


def test_silence_takes_a_zone_out_after_some_failures_in_a_row() -> None:
    one = health()
    for _ in range(3):
        assert [one.answered(Answer(trouble=SILENT), 100.0) for _ in range(FAILURES - 1)] == [False] * 4
        assert not one.answered(Answer(), 100.0)
    assert [one.answered(Answer(trouble=SILENT), 100.0) for _ in range(FAILURES)] == [False] * 4 + [True]
    assert one.out


@pytest.mark.parametrize("trouble", [REFUSING, WILDCARD, UNTESTED])
def test_what_is_certain_takes_it_out_at_once(trouble: Trouble) -> None:
    one = health()
    assert one.tested(trouble, 100.0)
    assert one.trouble == trouble


def test_error_code_to_a_question_about_a_client_takes_it_out_at_once() -> None:
    assert health().answered(Answer(trouble=REFUSING), 100.0)


def test_only_a_test_brings_it_back() -> None:
    one = health()
    one.tested(WILDCARD, 100.0)
    assert not one.answered(LISTED, 101.0)
    assert one.trouble == WILDCARD
    assert one.tested(None, 102.0)
    assert not one.answered(LISTED, 102.0)
    assert one.next_test_at == 162.0
    assert not one.tested(None, 162.0)


def test_pauses_between_tries_grow_up_to_the_pause_between_tests() -> None:
    one, now = health(), 100.0
    one.tested(WILDCARD, now)
    pauses = []
    for _ in range(6):
        pauses.append(one.next_test_at - now)
        now = one.next_test_at
        assert not one.tested(SILENT, now)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert one.trouble == SILENT


def test_doubt_is_settled_within_seconds() -> None:
    one, now = health(), 100.0
    while not one.tested(SILENT, now):
        assert one.next_test_at - now == 1.0
        now = one.next_test_at
    assert now == 100.0 + FAILURES - 1


@pytest.mark.parametrize(
    ("listed", "unlisted", "entries", "expected"),
    [
        (LISTED, Answer(), True, None),
        (LISTED, LISTED, True, WILDCARD),
        (Answer(), Answer(), True, UNTESTED),
        (Answer(), LISTED, True, WILDCARD),
        (Answer(), Answer(), False, None),
        (LISTED, LISTED, False, None),
        (Answer(trouble=SILENT), Answer(), False, SILENT),
        (LISTED, Answer(trouble=REFUSING), True, REFUSING),
    ],
)
def test_verdict_of_a_test(listed: Answer, unlisted: Answer, entries: bool, expected: Trouble | None) -> None:
    assert verdict_of_test(listed, unlisted, entries=entries) == expected


def test_words_name_the_zone_the_cause_and_what_to_do() -> None:
    said = zone_text(ZONE, WILDCARD)
    assert said.startswith("zone [Example] (bl.example) is out: it lists everybody")
    assert "What to do: " in said
    assert zone_text(ZONE, None) == "zone [Example] (bl.example) works again and is asked again"


def test_zone_warning_passes_the_wire() -> None:
    warning = zone_warning(ZONE, WILDCARD, at=Instant(1), policy="p", host="mx")
    assert decode_warning(encode(warning)) == warning
    assert (warning.about, warning.client, warning.address) == ("zone", "bl.example", "::")


def test_words_about_a_partner() -> None:
    partner = Partner(address=Address("192.0.2.7"), name="ACME")
    other = Zone(domain="other.example")
    assert (
        partner_text(partner, [ZONE], [])
        == "partner ACME (192.0.2.7) is listed in [Example]: delisting page https://bl.example/remove"
    )
    assert (
        partner_text(Partner(address=Address("192.0.2.7")), [other], [ZONE])
        == "partner 192.0.2.7 is listed in [other.example]: ask the operator of other.example; "
        "it is no longer listed in [Example]"
    )


def test_cache_forgets_the_least_recently_used() -> None:
    cache = Cache(addresses=2)
    first, second, third = (Address(f"192.0.2.{n}") for n in range(3))
    kept = cache.of(first)
    cache.of(second)
    assert cache.get(first) is kept
    cache.of(third)
    assert cache.addresses() == [first, third]
    cache.drop(first)
    cache.drop(first)
    assert len(cache) == 1


def test_answer_is_held_for_its_ttl_and_a_failure_shortly() -> None:
    known = Known()
    known.hold("a", LISTED, 10.0)
    known.hold("b", Answer(trouble=SILENT), 10.0)
    assert known.held["a"] == (("127.0.0.2",), 310.0, False)
    assert known.held["b"] == ((), 10.0 + TROUBLE_S, True)


def test_detail_is_cut_between_zones() -> None:
    many = {f"zone{n}.{'x' * 40}.example": ("127.0.0.10", "127.0.0.2") for n in range(30)}
    detail = detail_of(many)
    assert MAX_TEXT - 90 < len(detail) <= MAX_TEXT
    assert all(part.endswith(" 127.0.0.10,127.0.0.2") for part in detail.split("; "))

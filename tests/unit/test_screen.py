"""What the screen says of refusals: who is refused, and who only was, or never."""

import io
from ipaddress import ip_network

import pytest
from msgspec.structs import replace
from rich.console import Console

from streams.cli.screen import overview, refusal_line, standing, why
from streams.config import KafkaSettings
from streams.embedded.up.plan import Part
from streams.embedded.up.refusals import KEPT, Refusals
from streams.model.decision import Decision, Evidence, Trigger
from streams.model.instant import Instant
from streams.model.policy import Block, Policy, Replies, Suspension
from streams.model.standing import PolicyIndex
from streams.wire.frames import encode
from tests.policy_cases import NOW, decision

_S = 1_000_000
PLAIN = PolicyIndex(Policy())


def block(address: str = "192.0.2.1", trigger: Trigger = "rate", *, shadow: bool = False) -> Decision:
    made = decision("rate", address, NOW - _S, NOW + 60 * _S, "exceeded connection rate limit")
    return replace(made, trigger=trigger, shadow=shadow, rule="requests_per_minute", id=address)


def shown(*decisions: Decision, index: PolicyIndex = PLAIN, trouble: str = "", facts: int = 0) -> str:
    parts = [Part("worker", "runs", 1, 0, {"events": 5, "unreadable": facts})]
    out = io.StringIO()
    screen = overview(
        parts, decisions, counted="the latest 10", index=index, now=NOW, hints=(), trouble=trouble
    )
    Console(file=out, width=160).print(screen)
    return out.getvalue()


def test_who_is_refused_is_told_apart_from_who_was_and_from_who_never_was() -> None:
    suspended = PolicyIndex(Policy(suspensions=(Suspension(module="rate", until=Instant(NOW + _S)),)))
    over = replace(block(), until=Instant(NOW))
    assert standing(block(), PLAIN, NOW) == ""
    assert standing(over, PLAIN, NOW) == "over"
    assert standing(block(), suspended, NOW) == "lifted"
    assert standing(block(shadow=True), PLAIN, NOW) == "shadow"
    assert (standing(block(), None, NOW), standing(over, None, NOW)) == ("", "over"), "no policy is known"
    assert "(over)" in shown(over)
    assert "(lifted)" in shown(block(), index=suspended)
    assert "in shadow: 551" in shown(block(shadow=True))
    assert not any(it in shown(block()) for it in ("(over)", "(lifted)", "in shadow"))


def test_an_entry_of_the_block_list_is_over_when_it_is_removed() -> None:
    listed = replace(block(trigger="blocklist"), until=None)
    entry = PolicyIndex(Policy(blocks=(Block(network=ip_network("192.0.2.1/32")),)))
    assert standing(listed, entry, NOW) == ""
    assert standing(listed, PLAIN, NOW) == "over"


def test_without_kafka_it_is_not_said_that_nobody_is_refused() -> None:
    said = shown(trouble="Kafka at 127.0.0.1:1 does not answer")
    assert "not known: Kafka at 127.0.0.1:1 does not answer" in said
    assert "nobody yet" not in said
    assert "nobody yet" in shown()
    assert "the latest 10" in shown(block())


@pytest.mark.parametrize(("facts", "said"), [(0, False), (3, True)])
def test_what_a_worker_could_not_read_is_shown_where_there_is_any(facts: int, said: bool) -> None:
    assert ("unreadable 3" in shown(facts=facts)) == said


def test_a_line_bears_the_words_of_the_policy_and_the_code_of_the_decision() -> None:
    line = refusal_line(replace(block(), code=554), Replies(opening="No", enhanced_status="5.7.0"))
    assert " REFUSED 192.0.2.1: 554 5.7.0 No: exceeded connection rate limit" in line
    assert " IN SHADOW 192.0.2.1: " in refusal_line(block(shadow=True), Replies())


def test_a_release_shows_no_limit() -> None:
    released = replace(block(), action="release", rule="forgotten", evidence=Evidence(note="by ada: call"))
    assert why(released) == "forgotten: by ada: call"
    assert why(replace(released, rule="delivered", evidence=Evidence())) == "delivered"


def test_a_release_ends_the_blocks_before_it_and_those_in_shadow_are_not_counted() -> None:
    refusals = Refusals(KafkaSettings(bootstrap="127.0.0.1:1"))
    release = replace(block(), action="release", at=Instant(NOW), until=Instant(NOW), id="r")
    later = replace(block(), at=Instant(NOW + _S), id="later")
    for one in (block(), block("192.0.2.2"), release, later, block("192.0.2.3", shadow=True), block()):
        refusals.take(encode(one))
    assert [(it.id, it.until) for it in refusals.latest(9)] == [
        ("later", NOW + 60 * _S),
        ("192.0.2.1", NOW),
        ("192.0.2.2", NOW + 60 * _S),
        ("192.0.2.3", NOW + 60 * _S),
    ]
    assert (refusals.seen, refusals.refused) == (4, 3)


def test_the_last_blocks_by_time_are_kept_and_a_release_finds_its_own_at_once() -> None:
    refusals = Refusals(KafkaSettings(bootstrap="127.0.0.1:1"))
    blocks = [replace(block(f"10.0.{n // 256}.{n % 256}"), at=Instant(NOW + n)) for n in range(300)]
    for one in [*blocks[150:], *blocks[:150]]:  # two partitions, one after the other
        refusals.take(encode(one))
    assert [it.at - NOW for it in refusals.latest(999)] == list(range(299, 299 - KEPT, -1))
    assert [it.at - NOW for it in refusals.since(150)] == list(range(100, 150))
    assert len(refusals._of_key) == len(refusals._by_time) == KEPT
    release = replace(blocks[299], action="release", at=Instant(NOW + _S), until=Instant(NOW + _S), id="r")
    refusals.take(encode(release))
    assert [it.until for it in refusals.latest(2)] == [NOW + _S, blocks[298].until]

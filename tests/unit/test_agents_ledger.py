"""The ledger: which events count, which are told apart as doubles, and that recalling restores it."""

import logging
import time
from typing import Any

import msgspec
import pytest

from streams.agents.ledger import Ledger
from streams.model.client import Address, Client, parse_network
from streams.model.decision import Decision
from streams.model.event import FUTURE_US, Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Block, Limits, Policy
from streams.model.standing import PolicyIndex
from streams.wire.frames import encode_frame
from streams.wire.partition import partition_of
from tests.fixed_policy import FixedPolicy

START = 1_678_748_400 * MICROSECONDS
NEVER = 1 << 62
CLIENT = "192.0.2.7"
POLICY = Policy(
    limits=Limits(connections_per_minute=2, warn_at=0.0, cool_down_s=60),
    networks=(),
    blocks=(Block(network=parse_network("203.0.113.66"), note="by hand"),),
)


def event(number: int, *, at: int = START, kind: EventKind = "connect", **fields: Any) -> Event:
    values = {"client": Client(CLIENT), "address": Address(CLIENT), "session": f"mx/{number}", "host": "mx"}
    return Event(id=f"e{number}", at=Instant(at + number), kind=kind, **(values | fields))


def ledger(policy: Policy = POLICY) -> Ledger:
    return Ledger(FixedPolicy(PolicyIndex(policy)), 0, 1)


def decisions(it: Ledger, offset: int, events: list[Event], record_us: int = NEVER) -> list[Decision]:
    outcomes = it.process(offset, encode_frame(events), record_us=record_us).outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Decision)]


def test_decides_and_counts() -> None:
    it = ledger()
    assert decisions(it, 4, [event(1), event(2)]) == []
    found = decisions(it, 5, [event(3)])
    assert [decision.event for decision in found] == ["e3"]
    assert it.next_offset == 6
    assert (it.counts.frames, it.counts.events, it.counts.decisions, it.counts.warnings) == (2, 3, 1, 0)
    assert it.counts.last_event_at == START + 3


def test_a_frame_sent_twice_counts_once() -> None:
    it = ledger()
    frame = [event(1, source="a", position=10), event(2, source="a", position=20)]
    assert decisions(it, 0, frame) == []
    assert decisions(it, 1, frame) == []
    assert it.counts.repeated == 2
    assert [d.event for d in decisions(it, 2, [event(3, source="a", position=30)])] == ["e3"]


def test_events_of_one_line_share_their_position() -> None:
    it = ledger()
    frame = [event(number, source="a", position=10) for number in (3, 1, 2)]
    assert len(decisions(it, 0, frame)) == 1
    assert it.counts.repeated == 0
    assert it.counts.events == 3


def test_sources_are_told_apart_and_events_without_one_always_count() -> None:
    it = ledger()
    decisions(it, 0, [event(1, source="a", position=10), event(2, source="b", position=5)])
    decisions(it, 1, [event(3), event(3)])
    assert it.counts.repeated == 0
    assert it.counts.events == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"rubbish", "not an event"),
        (b"{}", "not an event"),
        (b"[" * 100_000, "not an event"),
        (encode_frame([event(9, client=Client("192.0.2.8"))]).strip(), "is not that of"),
        (encode_frame([event(9, address=Address("mail.example"))]).strip(), ""),
        (encode_frame([event(9, at=START + FUTURE_US)]).strip(), "check that clock"),
    ],
)
def test_what_cannot_be_believed_becomes_a_dead_letter(line: bytes, reason: str) -> None:
    it = ledger()
    frame = encode_frame([event(1)]) + line + b"\n" + encode_frame([event(2), event(3)])
    passed = it.process(7, frame, record_us=START)
    assert len(passed.outcomes) == 1, "the readable ones count"
    assert [(letter.source, letter.position) for letter in passed.letters] == [("smtp.events/0", 7)]
    assert reason in passed.letters[0].reason
    assert it.counts.unreadable == 1


def test_an_event_stamped_an_hour_ahead_is_still_believed() -> None:
    it = ledger()
    assert it.process(0, encode_frame([event(0, at=START + FUTURE_US)]), record_us=START).letters == []
    assert len(it.process(1, encode_frame([event(1, at=START + FUTURE_US)]), record_us=START).letters) == 1


def test_an_empty_record_is_nothing() -> None:
    it = ledger()
    passed = it.process(0, b"", record_us=NEVER)
    assert (passed.outcomes, passed.letters, it.next_offset) == ([], [], 1)


def test_a_misplaced_client_is_said_at_1_2_4_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    wrong = 1 - partition_of(CLIENT, 2)
    it = Ledger(FixedPolicy(PolicyIndex(POLICY)), wrong, 2)
    with caplog.at_level(logging.ERROR):
        for offset in range(9):
            it.process(offset, encode_frame([event(offset)]), record_us=NEVER)
    assert it.counts.misplaced == 9
    assert len(caplog.records) == 5  # at the 1st, 2nd, 3rd, 5th and 9th
    assert "murmur2" in caplog.text
    assert it.counts.decisions == 1


def test_recalling_gives_no_output_and_restores_the_block() -> None:
    live, again = ledger(), ledger()
    frames = [[event(1), event(2)], [event(3)], [event(4)]]
    taken = {d.event: [d] for offset, frame in enumerate(frames) for d in decisions(live, offset, frame)}
    for offset, frame in enumerate(frames):
        again.recall(offset, encode_frame(frame), taken, record_us=NEVER)
    assert again.next_offset == live.next_offset
    assert again.counts.decisions == 0
    later = [event(60 * MICROSECONDS + number) for number in range(4, 9)]
    assert decisions(again, 3, later) == decisions(live, 3, later) != []


def listed(number: int, at: int) -> Event:
    address = "203.0.113.66"
    return event(number, at=at, client=Client(address), address=Address(address))


def test_a_listed_client_that_is_heard_of_is_not_recorded_again_after_a_fold() -> None:
    """Its record is older than the memory; its events since are what keeps it known."""
    live, memory = ledger(), POLICY.memory_s * MICROSECONDS
    (record,) = decisions(live, 0, [listed(0, START)])
    middle = listed(1, START + memory - 1)
    assert decisions(live, 1, [middle]) == []
    last = listed(2, START + 2 * memory - 5)
    folded = ledger()
    folded.remember(record)
    folded.recall(1, encode_frame([middle]), {}, record_us=NEVER)
    assert decisions(folded, 2, [last]) == decisions(live, 2, [last]) == []


def test_a_listed_client_that_was_silent_is_recorded_again_as_without_a_fold() -> None:
    live, memory = ledger(), POLICY.memory_s * MICROSECONDS
    (record,) = decisions(live, 0, [listed(0, START)])
    late = listed(1, START + memory + 1)
    folded = ledger()
    folded.recall(0, encode_frame([listed(0, START)]), {record.event: [record]}, record_us=NEVER)
    assert decisions(folded, 1, [late]) == decisions(live, 1, [late]) != []


def test_an_entry_that_is_new_in_the_policy_is_recorded_after_a_fold() -> None:
    folded = ledger()
    folded.recall(0, encode_frame([listed(0, START)]), {}, record_us=NEVER)
    assert len(decisions(folded, 1, [listed(1, START)])) == 1


def test_a_ledger_that_is_behind_catches_up() -> None:
    """What another worker did meanwhile: its frames are recalled into a ledger that was live before."""
    live, other, memory = ledger(), ledger(), POLICY.memory_s * MICROSECONDS
    (record,) = decisions(live, 0, [listed(0, START)])
    assert decisions(other, 0, [listed(0, START)]) == [record]
    middle, last = listed(1, START + memory - 1), listed(2, START + 2 * memory - 5)
    live.process(1, encode_frame([middle]), record_us=NEVER)
    other.recall(1, encode_frame([middle]), {}, record_us=NEVER)
    assert decisions(other, 2, [last]) == decisions(live, 2, [last]) == []


def test_events_that_no_rule_counts_pass_through_recall() -> None:
    it = ledger()
    address = Address("203.0.113.66")
    frame = encode_frame([event(1, kind="helo", client=Client(address), address=address)])
    it.recall(0, frame, {}, record_us=NEVER)
    assert it.state.clients == {}


def test_a_frame_of_a_thousand_events_passes_quickly_enough_to_be_used() -> None:
    """No timing: only that none is lost on the way."""
    it = ledger(msgspec.structs.replace(POLICY, limits=Limits()))
    frame = [event(number, at=START + number * MICROSECONDS, kind="disconnect") for number in range(1000)]
    it.process(0, encode_frame(frame), record_us=time.time_ns() // 1000)
    assert it.counts.events == 1000

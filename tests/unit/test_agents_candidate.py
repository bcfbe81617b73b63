"""A candidate beside the policy in force: what it decides, what it cannot touch, how it is compared."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents import candidate as module
from streams.agents.candidate import Beside, Candidate, Tried
from streams.agents.ledger import Ledger, Passed
from streams.audit.shadow_report import blocks_of, compare, in_order, union, with_evidence, without
from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.decision import Decision, Evidence
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Limits, Policy
from streams.model.standing import PolicyIndex
from streams.wire.frames import decode_decision, encode_frame
from tests.fixed_policy import FixedPolicy
from tests.properties.histories import POLICIES, histories

START = 1_678_748_400 * MICROSECONDS
NEVER = 1 << 62
LAX = Policy(limits=Limits(connections_per_minute=9, concurrent_connections=99, warn_at=0.0), networks=())
STRICT = Policy(limits=Limits(connections_per_minute=2, concurrent_connections=99, warn_at=0.0), networks=())


class Tries:
    """What is to be tried now; a test changes it."""

    def __init__(self, number: int = 0, policy: Policy = STRICT) -> None:
        self.now = Candidate(number, PolicyIndex(policy)) if number else None

    def __call__(self) -> Candidate | None:
        return self.now


def ledger(policy: Policy, tries: Tries) -> Ledger:
    return Ledger(FixedPolicy(PolicyIndex(policy)), 0, 1, tries)


def event(number: int, address: str = "192.0.2.7") -> Event:
    return Event(
        id=f"e{number}", at=Instant(START + number), kind="connect", client=Client(address),
        address=Address(address), session=f"mx/{number}", host="mx",
    )  # fmt: skip


def process(it: Ledger, offset: int, *events: Event) -> Passed:
    return it.process(offset, encode_frame(events), record_us=NEVER)


def tried(passed: Passed) -> Tried:
    assert passed.tried is not None
    return passed.tried


def decided(policy: Policy, events: Sequence[Event]) -> list[Decision]:
    index, state = PolicyIndex(policy), State(memory_s=policy.memory_s)
    return [it for e in events for it in step(index, state, e) if isinstance(it, Decision)]


def test_it_decides_by_itself_and_only_what_is_in_force_is_an_outcome() -> None:
    it = ledger(LAX, Tries(7))
    passed = process(it, 5, event(1), event(2), event(3))
    assert passed.outcomes == []
    assert tried(passed).began == (7, START + 1)
    assert tried(passed).decisions == decided(STRICT, [event(1), event(2), event(3)])
    assert process(it, 6, event(4)).tried is None, "the candidate's own block stands"


def test_it_begins_with_the_first_frame_that_has_something_new_and_ends_likewise() -> None:
    tries = Tries()
    it = ledger(LAX, tries)
    assert process(it, 0, event(1), event(2)).tried is None
    tries.now = Candidate(3, PolicyIndex(STRICT))
    assert process(it, 1).tried is None
    assert tried(process(it, 2, event(3))) == Tried(began=(3, Instant(START + 3)), number=3)
    tries.now = Candidate(4, PolicyIndex(STRICT))
    swapped = tried(process(it, 3, event(4)))
    assert (swapped.ended, swapped.began) == ((3, START + 4), (4, START + 4))
    tries.now = None
    assert tried(process(it, 4, event(5))) == Tried(ended=(4, Instant(START + 5)))
    assert process(it, 5, event(6)).tried is None


def test_the_records_of_a_frame() -> None:
    at = Instant(START)
    (block,) = decided(STRICT, [event(1), event(2), event(3)])
    found = Tried(ended=(3, at), began=(4, at), number=4, decisions=[block]).records()
    assert [(key, of) for key, _, of in found] == [
        ("end", "3 2023-03-13T23:00:00.000000Z"),
        ("begin", "4 2023-03-13T23:00:00.000000Z"),
        ("rate:192.0.2.7", "4"),
    ]
    assert [value for _, value, _ in found][:2] == [None, None]
    assert decode_decision(found[2][1] or b"") == block


def test_a_candidate_that_fails_is_given_up_and_the_policy_in_force_decides_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> list[Decision]:
        raise ZeroDivisionError

    tries = Tries(7, LAX)
    it = ledger(STRICT, tries)
    with monkeypatch.context() as patched:
        patched.setattr(module, "step", fails)
        passed = process(it, 0, event(1), event(2), event(3))
    assert len(passed.outcomes) == 1
    assert "candidate 7 is not tried any more" in caplog.text
    assert process(it, 1, event(4)).tried is None, "it is not tried again"
    tries.now = Candidate(8, PolicyIndex(STRICT))
    assert tried(process(it, 2, event(5, "192.0.2.8"))).began == (8, START + 5)


@settings(max_examples=150, deadline=None)
@given(POLICIES, POLICIES, histories())
def test_beside_it_the_policy_in_force_decides_what_it_decides_alone(
    policy: Policy, other: Policy, events: list[Event]
) -> None:
    alone, with_other = ledger(policy, Tries()), ledger(policy, Tries(1, other))
    decisions = list[Decision]()
    for offset, one in enumerate(events):
        expected, found = process(alone, offset, one), process(with_other, offset, one)
        assert found.outcomes == expected.outcomes
        if found.tried is not None:
            decisions += found.tried.decisions
    assert decisions == decided(other, events)


@settings(max_examples=150, deadline=None)
@given(POLICIES, POLICIES, histories(late=False), st.data())
def test_a_restart_brings_its_state_back(
    policy: Policy, other: Policy, events: list[Event], data: st.DataObject
) -> None:
    """Begun anywhere, recalled from anywhere, crashed anywhere: it goes on as if undisturbed."""
    begins, cut = sorted(data.draw(st.tuples(*[st.integers(0, len(events))] * 2)))
    tries, said = Tries(), list[tuple[int, Decision]]()
    live = ledger(policy, tries)
    candidate = Candidate(1, PolicyIndex(other))
    for offset, one in enumerate(events[:cut]):
        tries.now = candidate if offset >= begins else None
        passed = process(live, offset, one)
        said += [(offset, it) for it in passed.tried.decisions] if passed.tried is not None else []
    tries.now = candidate
    if begins == cut:
        return
    again, taken = ledger(policy, tries), dict[str, list[Decision]]()
    for _, it in said:
        taken.setdefault(it.event, []).append(it)
    again.beside.resume(candidate, begins, [], taken)
    for offset, one in enumerate(events[:cut]):
        again.recall(offset, encode_frame([one]), {}, record_us=NEVER)
    for offset, one in enumerate(events[cut:], cut):
        expected, found = process(live, offset, one).tried, process(again, offset, one).tried
        assert found == expected


def test_frames_from_before_it_began_are_not_counted_after_a_restart() -> None:
    tries = Tries(2)
    it = ledger(LAX, tries)
    assert tries.now is not None
    it.beside.resume(tries.now, 3, [], {})
    for offset in range(3):
        it.recall(offset, encode_frame([event(offset)]), {}, record_us=NEVER)
    assert process(it, 3, event(3), event(4)).tried is None
    assert len(tried(process(it, 4, event(5))).decisions) == 1


def test_nothing_is_kept_while_no_candidate_is_tried() -> None:
    it = Beside(lambda: None)
    assert it.process(0, [event(1)]) is None
    assert it.clients == 0


# the comparison


def block(client: str, at_s: int, until_s: int | None, trigger: str = "rate", **more: Any) -> Decision:
    values: dict[str, Any] = {
        "id": f"{client}{at_s}{trigger}", "at": Instant(START + at_s * MICROSECONDS), "action": "block",
        "until": None if until_s is None else Instant(START + until_s * MICROSECONDS),
        "client": Client(client), "address": Address(client), "trigger": trigger, "code": 421, "reason": "",
        "rule": "connections_per_minute", "evidence": Evidence(), "policy": "", "event": "", "session": "",
        "host": "",
    }  # fmt: skip
    return Decision(**(values | more))


def during(
    candidate: Iterable[Decision],
    live: Iterable[Decision],
    before: Iterable[Decision] = (),
    end_s: int = 1000,
) -> Any:
    return compare(candidate, live, before, Instant(START), Instant(START + end_s * MICROSECONDS))


A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def test_the_same_blocks_make_no_difference() -> None:
    found = during([block(A, 10, 70)], [block(A, 10, 70)])
    assert found.differences == []
    assert (found.refused_candidate, found.refused_live, found.refused_both) == (1, 1, 1)
    assert found.triggers["rate"].same == 1


def test_who_is_refused_by_one_only_when_how_often_how_long() -> None:
    found = during([block(A, 10, 70), block(A, 100, 130)], [block(B, 5, 15)])
    by = {it.client: it for it in found.differences}
    assert (by[A].where, by[A].candidate.alone, by[A].candidate.alone_s) == ("candidate", 2, 90)
    assert by[A].candidate.spans[1] == (START + 100 * MICROSECONDS, START + 130 * MICROSECONDS)
    assert (by[B].where, by[B].live.alone_s, by[B].candidate.blocks) == ("live", 10, 0)


def test_blocks_that_overlap_differ_by_their_ends_only() -> None:
    (found,) = during([block(A, 10, 100)], [block(A, 40, 60), block(A, 90, 120)]).differences
    assert (found.where, found.candidate.alone, found.candidate.alone_s) == ("both", 0, 60)
    assert (found.live.alone, found.live.alone_s) == (0, 20)


def test_another_trigger_refuses_all_the_same() -> None:
    found = during([block(A, 10, 100, "protocol")], [block(A, 10, 100)])
    assert found.differences == []
    assert (found.triggers["protocol"].candidate, found.triggers["protocol"].same) == (1, 0)


def test_a_release_ends_its_triggers_blocks() -> None:
    release = block(A, 30, 30, action="release")
    (found,) = during([block(A, 10, 100)], [block(A, 10, 100), release]).differences
    assert (found.candidate.alone_s, found.live.refused_s) == (70, 20)


def test_what_refuses_nobody_is_none() -> None:
    assert (
        during([block(A, 10, 100, shadow=True)], [block(B, 10, 100, "greylist", action="defer")]).refused_both
        == 0
    )


def test_a_block_without_an_end_lasts_to_the_periods() -> None:
    (found,) = during([block(A, 10, None)], []).differences
    assert found.candidate.alone_s == 990


def test_who_was_blocked_before_the_candidate_began_is_left_out_until_then() -> None:
    old = block(A, -50, 100)
    found = during([block(A, 20, 300), block(A, 400, 500)], [block(A, 100, 200)], [old])
    assert found.left_out == 1
    (it,) = found.differences
    assert (it.candidate.blocks, it.candidate.alone_s, it.live.alone_s) == (1, 100, 100)
    released = during([block(A, 20, 300)], [block(A, 10, 10, action="release")], [old])
    assert released.differences[0].candidate.alone_s == 280, "unblocked at 10 s, so known from then on"


def test_known_senders_come_first_with_the_messages_it_would_cost() -> None:
    found = during([block(A, 10, 900), block(B, 10, 20), block(C, 10, 20)], [])
    assert [it.client for it in found.differences] == [A, B, C]
    at = [START + s * MICROSECONDS for s in (5, 10, 19, 20)]
    told = with_evidence(found, {Client(C): ("mail.example.org", at), Client(B): ("", at[:1])})
    assert [(it.client, it.messages, it.candidate.messages) for it in told.differences] == [
        (C, 4, 2), (B, 1, 0), (A, 0, 0),
    ]  # fmt: skip
    assert told.differences[0].legitimate
    assert not told.differences[2].legitimate
    assert in_order(told.differences) == told.differences


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda it: (min(it), max(it) + 1)))


@given(SPANS, SPANS)
def test_times_are_sets_of_seconds(mine: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    def seconds(spans: list[tuple[int, int]]) -> set[int]:
        return {s for at, until in spans for s in range(at, until)}

    one, other = union(mine), union(theirs)
    assert seconds(one) == seconds(mine)
    assert all(a[1] < b[0] for a, b in pairwise(one))
    assert seconds(without(one, other)) == seconds(mine) - seconds(theirs)


def test_a_period_cuts_blocks() -> None:
    found = blocks_of(
        [block(A, -20, 30), block(A, 50, 400), block(B, 0, 0)], START, START + 100 * MICROSECONDS
    )
    assert {
        c: [((b.at - START) // MICROSECONDS, (b.until - START) // MICROSECONDS) for b in of]
        for c, of in found.items()
    } == {A: [(0, 30), (50, 100)]}

"""The engine equals the reference, always; and what must hold of any history holds."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.ledger import Ledger
from streams.agents.policies import FixedPolicy
from streams.engine.state import State
from streams.engine.step import Outcome, step
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.wire.frames import encode_frame
from tests.properties.histories import POLICIES, histories
from tests.properties.reference import Reference

NEVER = 1 << 62


def outcomes(policy: Policy, events: list[Event]) -> list[Outcome]:
    index, state = PolicyIndex(policy), State(memory_s=policy.memory_s)
    return [outcome for event in events for outcome in step(index, state, event)]


def decisions_of(found: list[Outcome]) -> list[Decision]:
    return [outcome for outcome in found if isinstance(outcome, Decision)]


def by_event(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """As a fold has what was recorded."""
    taken: dict[str, list[Decision]] = {}
    for decision in decisions:
        taken.setdefault(decision.event, []).append(decision)
    return taken


@settings(max_examples=600, deadline=None)
@given(POLICIES, histories())
def test_engine_equals_the_reference(policy: Policy, events: list[Event]) -> None:
    reference = Reference(policy)
    assert outcomes(policy, events) == [outcome for event in events for outcome in reference.step(event)]


def recalled(policy: Policy, events: list[Event], decisions: list[Decision], start: int = 0) -> Ledger:
    """A ledger as a restarted worker has it: of what was before `start` only the decisions are known."""
    ledger, offset = Ledger(FixedPolicy(PolicyIndex(policy)), 0, 1), 0
    at = {event.id: event.at for event in events}
    for decision in decisions:
        if at[decision.event] < start:
            ledger.remember(decision)
    taken = by_event(decisions)
    for event in events:
        if event.at >= start:
            ledger.recall(offset, encode_frame([event]), taken, record_us=NEVER)
            offset += 1
    return ledger


@settings(max_examples=400, deadline=None)
@given(POLICIES, histories(), st.data())
def test_a_fold_with_the_recorded_decisions_restores_the_state(
    policy: Policy, events: list[Event], data: st.DataObject
) -> None:
    """Crash after any event: recalling, then going on, decides what an undisturbed run decides."""
    whole = outcomes(policy, events)
    cut = data.draw(st.integers(0, len(events)))
    before = outcomes(policy, events[:cut])
    ledger = recalled(policy, events[:cut], decisions_of(before))
    after = [outcome for event in events[cut:] for outcome in step(ledger.index, ledger.state, event)]
    assert before + after == whole


@settings(max_examples=400, deadline=None)
@given(POLICIES, histories(late=False), st.data())
def test_a_fold_of_the_memory_and_the_decisions_restores_the_state(
    policy: Policy, events: list[Event], data: st.DataObject
) -> None:
    """The fold starts mid-history, even inside a block; of what was before it only decisions are known."""
    cut = data.draw(st.integers(0, len(events)))
    before = outcomes(policy, events[:cut])
    start = events[cut - 1].at - policy.memory_s * 1_000_000 if cut else 0
    ledger = recalled(policy, events[:cut], decisions_of(before), start)
    after = [outcome for event in events[cut:] for outcome in step(ledger.index, ledger.state, event)]
    assert before + after == outcomes(policy, events)


@settings(max_examples=200, deadline=None)
@given(POLICIES, histories())
def test_no_two_blocks_by_limits_of_a_client_overlap(policy: Policy, events: list[Event]) -> None:
    ends: dict[str, int] = {}
    for outcome in decisions_of(outcomes(policy, events)):
        if outcome.trigger == "rate" and outcome.until is not None and not outcome.shadow:
            assert outcome.at >= ends.get(outcome.client, 0)
            assert outcome.until > outcome.at or outcome.action == "release"
            ends[outcome.client] = outcome.until


@settings(max_examples=200, deadline=None)
@given(POLICIES, histories(long=False))
def test_clients_do_not_influence_each_other(policy: Policy, events: list[Event]) -> None:
    """Apart from forgetting, which depends on the newest event of all: histories here stay within memory."""
    if events and max(e.at for e in events) - min(e.at for e in events) > policy.memory_s * 1_000_000:
        return
    together = outcomes(policy, events)
    for client in {event.client for event in events}:
        alone = outcomes(policy, [event for event in events if event.client == client])
        assert alone == [outcome for outcome in together if outcome.client == client]

"""The policies as they were: which one holds where, by markers in a stream and by the clock in a log."""

import pytest

from streams.errors import UnavailableError
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Limits, Policy
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas, KnownChange
from streams.replay.compare import compare
from streams.replay.order import Batch, Batches
from streams.replay.run import decide
from tests.unit.tune_history import SCANNER, SENDER, START, event, made

EVENTS = made()
STRICT = PolicyIndex(Policy(limits=Limits(connections_per_minute=5)))
LAX = PolicyIndex(Policy(limits=Limits(connections_per_minute=10_000)))
BASE = PolicyIndex(Policy())


def at(seconds: float) -> Instant:
    return Instant(int((START + seconds) * MICROSECONDS))


def change(number: int, seconds: float, index: PolicyIndex) -> KnownChange:
    return KnownChange(number, at(seconds), index.version)


def as_was(*changes: KnownChange, start: float = -START) -> AsWas:
    known = {it.version: it for it in (BASE, STRICT, LAX)}
    return AsWas(changes, lambda it: known[it.version], BASE, at(start))


def marker(seconds: float, number: int, index: PolicyIndex) -> Event:
    return event(seconds, "policy", "192.0.2.1", str(number), detail=f"{number} 0 {index.version}")


def batches(size: int = 100) -> Batches:
    for place in range(0, len(EVENTS), size):
        items = EVENTS[place : place + size]
        yield Batch(items, items[-1].at)


def decided(policies: AsWas, history: Batches) -> list[tuple[str, str]]:
    """Client and version of each decision."""
    return [
        (outcome.client, outcome.policy)
        for _, found in decide(policies.index, history, policies)
        for _, outcomes in found
        for outcome in outcomes
        if isinstance(outcome, Decision)
    ]


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_a_log_is_judged_by_the_policy_of_its_time(size: int) -> None:
    """The sender comes in the second hour, the scanner in the third."""
    policies = as_was(change(1, -500, LAX), change(2, 3600, STRICT), change(3, 7000, LAX))
    assert decided(policies, policies.marked(batches(size))) == [(SENDER, STRICT.version)]
    assert policies.number == 3


def test_before_the_first_change_the_base_holds_and_a_log_without_any_is_as_it_is() -> None:
    policies = as_was(change(1, 7230, LAX))
    assert decided(policies, policies.marked(batches())) == [(SCANNER, BASE.version)]
    none = as_was()
    assert [it for batch in none.marked(batches()) for it in batch.items] == EVENTS


def test_markers_of_a_log_give_way_to_the_clock() -> None:
    policies = as_was(change(1, 7000, LAX))
    early = Batch([marker(1, 1, LAX), *EVENTS], EVENTS[-1].at)
    marked = [it for batch in policies.marked(iter([early])) for it in batch.items]
    assert [it.at >= at(7000) for it in marked if it.kind == "policy"] == [True]


def test_a_second_life_of_the_topic_counts_from_one_again() -> None:
    policies = as_was(
        change(1, 10, LAX), change(2, 20, STRICT), change(1, 30, LAX), change(2, 40, STRICT), start=0
    )
    held = [policies.after(it) for it in (marker(11, 1, LAX), marker(21, 2, STRICT), marker(31, 1, LAX))]
    assert held == [LAX, STRICT, LAX]
    assert policies.after(marker(22, 2, STRICT)) is None, "a slower partition's, of the life before"
    assert policies.after(marker(32, 1, LAX)) is None
    assert policies.after(marker(41, 2, STRICT)) is STRICT
    assert policies.number == 2


def test_clocks_that_differ_do_not_hide_a_change() -> None:
    policies = as_was(change(1, 10, STRICT), start=0)
    assert policies.after(marker(9, 1, STRICT)) is STRICT


def test_a_change_that_is_not_recorded_is_said() -> None:
    policies = as_was(change(1, 10, LAX), start=0)
    with pytest.raises(UnavailableError, match="change 7 of the policy"):
        policies.after(marker(11, 7, LAX))
    assert policies.after(marker(12, 0, BASE)) is None


def test_it_is_compared_with_one_policy() -> None:
    """Strict for the sender, then no limit to speak of for the scanner."""
    policies = as_was(change(1, 0, STRICT), change(2, 7000, LAX))
    events = [it for batch in policies.marked(batches()) for it in batch.items]
    found = compare(policies, Policy(), events)
    assert (found.a, found.b) == ("as-was", BASE.version)
    assert [(it.client, it.where) for it in found.differences] == [(SENDER, "A"), (SCANNER, "B")]

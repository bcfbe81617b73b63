"""The policy's last changes: after each of them the policy is what it was then, however many came since."""

from hypothesis import given
from hypothesis import strategies as st

from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_history import KEPT_INDEXES, PolicyHistory
from streams.wire.policy_log import Change

BASE = PolicyIndex(Policy())
KEYS = ("limits", "blocks/192.0.2.1", "blocks/192.0.2.2", "exempt/rate/192.0.2.0/24")
ROWS = {
    "limits": st.integers(1, 3).map(lambda value: {"requests_per_minute": value}),
    **{key: st.sampled_from(["a", "b"]).map(lambda note: {"note": note}) for key in KEYS[1:]},
}
ENTRIES = st.fixed_dictionaries({}, optional=ROWS)
CHANGES = st.lists(st.tuples(st.integers(1, 5), ENTRIES), min_size=1, max_size=25)


def made(number: int, after: int) -> Change:
    return Change(number=number, after=after, version="", who="", at=Instant(number * 1000), what="")


def followed(
    changes: list[tuple[int, Entries]], *, first: int = 0, kept_keys: int = 200_000
) -> tuple[PolicyHistory, dict[int, Entries]]:
    history, after = PolicyHistory(BASE, kept_keys=kept_keys), first
    whole: dict[int, Entries] = {}
    for step, entries in changes:
        history.add(made(after + step, after), entries)
        after += step
        whole[after] = dict(entries)
    return history, whole


@given(CHANGES)
def test_every_change_can_be_had_back_in_any_order(changes: list[tuple[int, Entries]]) -> None:
    history, whole = followed(changes)
    numbers = list(whole)
    for number in [*reversed(numbers), *numbers]:
        assert history.at(number).policy == policy_of(whole[number])
    for number in range(numbers[-1] + 3):
        before = [known for known in numbers if known <= number]
        assert history.at(number).policy == (policy_of(whole[before[-1]]) if before else BASE.policy)
        assert history.as_of(number * 1000) == (before[-1] if before else 0)
    assert history.number == numbers[-1]
    assert history.entries == whole[numbers[-1]]


@given(CHANGES, st.integers(1, 20))
def test_what_is_forgotten_is_answered_by_the_earliest_that_is_known(
    changes: list[tuple[int, Entries]], kept_keys: int
) -> None:
    history, whole = followed(changes, kept_keys=kept_keys)
    known = {number: history.at(number).policy for number in whole}
    earliest = history.as_of(0)
    for number, policy in known.items():
        assert policy == policy_of(whole[max(number, earliest)])


@given(CHANGES)
def test_a_compacted_topic_knows_nothing_before_its_first_change(changes: list[tuple[int, Entries]]) -> None:
    history, whole = followed(changes, first=100)
    first = min(whole)
    assert history.at(0).policy == history.at(first - 1).policy == policy_of(whole[first])
    assert history.as_of(0) == first


def test_what_was_seen_before_is_passed_over() -> None:
    history, _ = followed([(5, {"limits": {"requests_per_minute": 1}})])
    history.add(made(5, 0), {})
    history.add(made(3, 0), {})
    assert history.number == 5
    assert history.at(5).policy.limits.requests_per_minute == 1


def test_policies_kept_ready_are_bounded_and_the_same_ones() -> None:
    history, whole = followed([(1, {"limits": {"requests_per_minute": n}}) for n in range(1, 30)])
    first = history.at(29)
    assert history.at(29) is first
    for number in whole:
        history.at(number)
    assert len(history._indexes) == KEPT_INDEXES

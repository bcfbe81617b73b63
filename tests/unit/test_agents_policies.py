"""Markers: the stream says which policy judged what, live and in a fold."""

import msgspec
import pytest

from streams.agents.ledger import MARKER_WAIT_S, Ledger
from streams.agents.policies import Policies
from streams.errors import UnavailableError
from streams.model.client import Address, Client
from streams.model.decision import Decision
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.marker import marker
from streams.model.policy import Limits, Policy
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.wire.frames import encode_frame
from tests.fixed_policy import FixedPolicy

START = 1_678_748_400 * MICROSECONDS
NEVER = 1 << 62
CLIENT = "192.0.2.7"
LAX = Policy(limits=Limits(connections_per_minute=9, concurrent_connections=99, warn_at=0.0), networks=())
STRICT = Policy(limits=Limits(connections_per_minute=2, concurrent_connections=99, warn_at=0.0), networks=())


class Numbered:
    """Changes by number, the way a follower has them; `waited` is what was asked for in vain."""

    def __init__(self, *policies: Policy) -> None:
        self.indexes = [PolicyIndex(it) for it in policies]
        self.made = [START - 1 + 10 * number for number in range(len(policies))]
        self.now = 0
        self.waited: list[tuple[int, float]] = []

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        return self.now, self.indexes[self.now]

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        if number >= len(self.indexes):
            self.waited.append((number, timeout_s))
            raise UnavailableError(f"change {number} does not appear", try_next="goaway policy log")
        return self.indexes[number]

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        number = max((n for n, made in enumerate(self.made) if made <= at), default=0)
        return number, self.indexes[number]


def event(number: int, *, kind: EventKind = "connect") -> Event:
    return Event(
        id=f"e{number}", at=Instant(START + number), kind=kind, client=Client(CLIENT),
        address=Address(CLIENT), session=f"mx/{number}", host="mx",
    )  # fmt: skip


def mark(number: int, *, detail: str | None = None) -> Event:
    made = marker(0, number, number - 1, "abcdef012345", START)
    return made if detail is None else msgspec.structs.replace(made, detail=detail)


def rules(it: Ledger, offset: int, *events: Event) -> list[tuple[int, int]]:
    """(count, limit) of each decision of the frame."""
    found = it.process(offset, encode_frame(events), record_us=NEVER).outcomes
    return [(d.evidence.count, d.evidence.limit) for d in found if isinstance(d, Decision)]


def test_a_fixed_policy_is_the_same_whatever_is_asked() -> None:
    index = PolicyIndex(LAX)
    fixed: Policies = FixedPolicy(index)
    assert fixed.current == fixed.as_of(START) == (0, index)
    assert fixed.at(9) is index


def test_a_follower_is_what_a_ledger_asks() -> None:
    """By its type: mypy reads this."""

    def as_policies(follower: PolicyFollower) -> Policies:
        return follower

    assert callable(as_policies)


def test_before_a_marker_the_old_policy_judges_after_it_the_new_one_and_no_count_is_lost() -> None:
    it = Ledger(Numbered(LAX, STRICT), 0, 1)
    assert rules(it, 0, event(1), event(2), event(3)) == []
    assert rules(it, 1, mark(1)) == []
    assert (it.number, it.index.policy) == (1, STRICT)
    assert rules(it, 2, event(4)) == [(4, 2)], "the three of before are in the window"


def test_a_marker_counts_inside_a_frame_too() -> None:
    it = Ledger(Numbered(LAX, STRICT, LAX), 0, 1)
    assert rules(it, 0, event(1), event(2), event(3), mark(1), event(4), mark(2), event(5)) == [(4, 2)]
    assert it.number == 2


def test_decisions_bear_the_version_of_the_policy_that_made_them() -> None:
    it = Ledger(Numbered(LAX, STRICT), 0, 1)
    found = it.process(0, encode_frame([mark(1), *map(event, (1, 2, 3))]), record_us=NEVER).outcomes
    assert [d.policy for d in found] == [STRICT.version]


@pytest.mark.parametrize("stale", [0, 1])
def test_a_stale_marker_is_passed_over(stale: int) -> None:
    it = Ledger(Numbered(LAX, STRICT), 0, 1)
    it.begin_with(1, PolicyIndex(STRICT))
    passed = it.process(0, encode_frame([mark(stale)]), record_us=NEVER)
    assert (it.number, it.index.policy, passed.letters) == (1, STRICT, [])


@pytest.mark.parametrize("detail", ["", "x", "-1 0 a", "9" * 5000, "1;2"])
def test_a_marker_that_is_garbage_becomes_a_dead_letter_and_the_rest_counts(detail: str) -> None:
    it = Ledger(Numbered(STRICT, LAX), 0, 1)
    frame = encode_frame([event(1), mark(1, detail=detail), event(2), event(3)])
    passed = it.process(7, frame, record_us=NEVER)
    assert len(passed.outcomes) == 1
    assert [(letter.source, letter.position) for letter in passed.letters] == [("smtp.events/0", 7)]
    assert (it.number, it.counts.unreadable, it.counts.events) == (0, 1, 3)
    it.recall(8, frame, {}, record_us=NEVER)
    assert it.next_offset == 9


def test_a_marker_of_a_change_that_is_not_to_be_found_is_waited_for_once_and_never_fatal() -> None:
    policies = Numbered(STRICT)
    it = Ledger(policies, 0, 1)
    passed = it.process(0, encode_frame([event(1), mark(40), event(2), event(3)]), record_us=NEVER)
    assert len(passed.outcomes) == 1
    assert ["change 40 does not appear" in letter.reason for letter in passed.letters] == [True]
    it.process(1, encode_frame([mark(40)]), record_us=NEVER)
    it.recall(2, encode_frame([mark(40)]), {}, record_us=NEVER)
    assert policies.waited == [(40, MARKER_WAIT_S), (40, 0.0), (40, 0.0)]
    assert it.number == 0
    policies.indexes += [PolicyIndex(LAX)] * 40
    it.process(3, encode_frame([mark(40)]), record_us=NEVER)
    assert it.number == 40, "it was only late"


def test_a_marker_belongs_to_every_partition_and_is_nobodys_clock() -> None:
    it = Ledger(Numbered(LAX, STRICT), 1, 7)
    it.process(0, encode_frame([mark(1)]), record_us=NEVER)
    assert (it.number, it.counts.misplaced, it.state.clients) == (1, 0, {})


@pytest.mark.parametrize("cut", range(8))
def test_a_fold_switches_at_the_same_event(cut: int) -> None:
    """Whatever the worker knows by then: what was before a marker is recalled by the policy before it."""
    limits = [Limits(connections_per_minute=n, session_idle_s=n, warn_at=0.0) for n in (9, 1, 9)]
    policies = Numbered(*(Policy(limits=it, networks=()) for it in limits))
    frames = [[event(1)], [event(2)], [mark(1)], [event(3)], [event(4)], [mark(2)], [event(5)], [event(6)]]
    live, taken = Ledger(policies, 0, 1), dict[str, list[Decision]]()
    for offset, frame in enumerate(frames[:cut]):
        for outcome in live.process(offset, encode_frame(frame), record_us=NEVER).outcomes:
            assert isinstance(outcome, Decision)
            taken.setdefault(outcome.event, []).append(outcome)
    policies.now = 2
    again = Ledger(policies, 0, 1)
    again.begin_with(*policies.as_of(START))
    for offset, frame in enumerate(frames[:cut]):
        again.recall(offset, encode_frame(frame), taken, record_us=NEVER)
    assert (again.number, again.index.version) == (live.number, live.index.version)
    for offset, frame in enumerate(frames[cut:], cut):
        encoded = encode_frame(frame)
        assert again.process(offset, encoded, record_us=NEVER) == live.process(
            offset, encoded, record_us=NEVER
        )


def test_a_policy_that_remembers_for_less_shortens_no_memory() -> None:
    long = Policy(limits=Limits(repeat_within_s=86_400))
    it = Ledger(Numbered(long, LAX), 0, 1)
    it.process(0, encode_frame([event(1), mark(1)]), record_us=NEVER)
    other = msgspec.structs.replace(
        event(0), at=Instant(START + 20 * 3600 * MICROSECONDS), client=Client("192.0.2.8"),
        address=Address("192.0.2.8"), session="mx/9",
    )  # fmt: skip
    it.process(1, encode_frame([other]), record_us=NEVER)
    before = it.state.clients[Client(CLIENT)]
    late = msgspec.structs.replace(event(2), at=other.at, kind="connect")
    it.process(2, encode_frame([late]), record_us=NEVER)
    assert it.state.clients[Client(CLIENT)] is before

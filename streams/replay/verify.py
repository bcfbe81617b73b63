"""Whether a replay decides what was decided live, id by id: each partition by itself, in its log's order.

It begins as a restarted worker begins: the frames from as far back as a client is remembered are recalled,
with the decisions recorded then; from the period's start on everything is decided again and compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from streams.errors import UnavailableError
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant
from streams.model.marker import change_named
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas
from streams.replay.recorded_log import Recorded, RecordedLog, Stretch
from streams.wire.frames import encode_frame

_ALWAYS: Final = 1 << 62
"""A record's time that no event is too far ahead of: the worker has set those aside already."""


class Judge(Protocol):
    """The worker's own ledger of a partition (`streams/agents/ledger.py`)."""

    number: int

    def begin_with(self, number: int, index: PolicyIndex) -> None: ...
    def remember(self, decision: Decision) -> None: ...
    def recall(
        self, offset: int, frame: bytes, taken: Mapping[str, Sequence[Decision]], *, record_us: int
    ) -> None: ...
    def process(self, offset: int, frame: bytes, *, record_us: int) -> Any: ...


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that is not the same on both sides; `recorded` or `replayed` is None where it lacks."""

    at: Instant
    epoch: int
    partition: int
    offset: int
    """Of the event's frame; -1: the event is not stored, so nothing could be decided about it again."""
    event: str
    client: str
    policy_number: int | None
    """None where the event is not stored."""
    recorded: Decision | None
    replayed: Decision | None


@dataclass(slots=True)
class Verdict:
    """What came of it."""

    events: int = 0
    """Decided again."""
    recalled: int = 0
    same: int = 0
    differences: list[Difference] = field(default_factory=list)
    """At most `MAX_KEPT` of them, in the order of their time."""
    different: int = 0

    def differ(self, found: Difference) -> None:
        """Take a difference in."""
        self.different += 1
        self.differences.append(found)
        if len(self.differences) > 2 * MAX_KEPT:
            self.differences.sort(key=_order)
            del self.differences[MAX_KEPT:]


MAX_KEPT: Final = 1000


def _order(it: Difference) -> tuple[Instant, int, int]:
    return it.at, it.partition, it.offset


class MarkedPolicies:
    """The policies that the markers of one stretch name, as the ledger asks for them."""

    def __init__(
        self,
        as_was: AsWas,
        markers: Sequence[tuple[int, str]],
        stretch: Stretch,
        recorded: Sequence[Recorded],
    ) -> None:
        self._as_was = as_was
        self._versions: dict[int, str] = {}
        self.missing = ""
        """The first policy that was asked for and is not recorded."""
        before, unmarked = -1, min((offset for offset, _ in markers), default=_ALWAYS)
        for offset, detail in markers:
            if (change := change_named(detail)) is not None:
                number, version = change
                self._versions.setdefault(number, version)
                if offset < stretch.begins:
                    before = max(before, number)
        if before >= 0:
            self.current = before, self.at(before)
        else:
            self.current = self._named(stretch, unmarked, recorded) or as_was.as_of(stretch.begins_at)

    def _named(
        self, stretch: Stretch, unmarked: int, recorded: Sequence[Recorded]
    ) -> tuple[int, PolicyIndex] | None:
        """What decisions from before any marker say that they were made by. What happened before a change can
        have been judged after it: a log may be older than the policy."""
        version = next(
            (it.decision.policy for it in recorded if stretch.begins <= it.offset < unmarked), None
        )
        index = None if version is None else self._as_was.of_version(version)
        if index is None:
            return None
        return min((number for number, it in self._versions.items() if it == version), default=0), index

    def at(self, number: int, timeout_s: float = 0.0) -> PolicyIndex:
        """The policy of this change."""
        try:
            return self._as_was.at(number, version=self._versions.get(number, ""))
        except UnavailableError as error:
            self.missing = self.missing or error.what
            raise

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """Number and policy of the change that was the latest then."""
        return self._as_was.as_of(at)


def verify(
    log: RecordedLog,
    as_was: AsWas,
    judge: Callable[[MarkedPolicies, Stretch], Judge],
    start: Instant,
    end: Instant,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Decide the period again and compare; `progress` is told how many events each frame had.

    What was decided in the period about an event that is not stored is a difference too.
    """
    verdict = Verdict()
    memory_s = as_was.as_of(start)[1].policy.memory_s
    warm = Instant(max(0, start - memory_s * MICROSECONDS))
    for stretch in log.stretches(warm, start, end):
        recorded = log.decisions(stretch)
        policies = MarkedPolicies(as_was, log.markers(stretch), stretch, recorded)
        _Partition(stretch, judge(policies, stretch), recorded, verdict).go(log, progress)
        if policies.missing:
            raise UnavailableError(
                f"partition {stretch.partition}: {policies.missing}", try_next="goaway policy log"
            )
    for epoch, partition, decision in log.without_event(start, end):
        verdict.differ(
            Difference(
                at=decision.at,
                epoch=epoch,
                partition=partition,
                offset=-1,
                event=decision.event,
                client=decision.client,
                policy_number=None,
                recorded=decision,
                replayed=None,
            )
        )
    verdict.differences.sort(key=_order)
    return verdict


class _Partition:
    def __init__(
        self, stretch: Stretch, judge: Judge, recorded: Sequence[Recorded], verdict: Verdict
    ) -> None:
        self._stretch, self._judge, self._verdict = stretch, judge, verdict
        self._taken: dict[str, list[Decision]] = {}
        self._waiting: dict[str, list[Recorded]] = {}
        for it in recorded:
            if it.offset < stretch.begins:
                judge.remember(it.decision)
            elif it.offset < stretch.judged:
                known = self._taken.setdefault(it.decision.event, [])
                if it.decision not in known:
                    known.append(it.decision)
            else:
                of_id = self._waiting.setdefault(it.decision.id, [])
                if it not in of_id:  # what a crash repeats is the same record again
                    of_id.append(it)

    def go(self, log: RecordedLog, progress: Callable[[int], None]) -> None:
        judge, verdict = self._judge, self._verdict
        for offset, events in log.frames(self._stretch):
            frame = encode_frame(events)
            progress(len(events))
            if offset < self._stretch.judged:
                judge.recall(offset, frame, self._taken, record_us=_ALWAYS)
                verdict.recalled += len(events)
                continue
            verdict.events += len(events)
            passed = judge.process(offset, frame, record_us=_ALWAYS)
            for outcome in passed.outcomes:
                if isinstance(outcome, Decision):
                    self._compare(offset, outcome)
        for left in self._waiting.values():
            for offset, decision in left:
                self._differ(offset, decision, None)

    def _compare(self, offset: int, replayed: Decision) -> None:
        recorded = self._waiting.pop(replayed.id, [])
        if not recorded:
            self._differ(offset, None, replayed)
        elif all(it.decision == replayed for it in recorded):
            self._verdict.same += 1
        else:
            other = next(it.decision for it in recorded if it.decision != replayed)
            self._differ(offset, other, replayed)

    def _differ(self, offset: int, recorded: Decision | None, replayed: Decision | None) -> None:
        one = recorded or replayed
        assert one is not None
        self._verdict.differ(
            Difference(
                at=one.at,
                epoch=self._stretch.epoch,
                partition=self._stretch.partition,
                offset=offset,
                event=one.event,
                client=one.client,
                policy_number=self._judge.number,
                recorded=recorded,
                replayed=replayed,
            )
        )

"""What a worker keeps of one partition of `smtp.events`, and how a frame passes through it."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.agents.candidate import Beside, Candidate, Tried
from streams.agents.judge import Judge
from streams.agents.policies import Policies
from streams.engine.state import State
from streams.engine.step import Outcome, step
from streams.errors import GoawayError, InvalidValueError
from streams.model.client import ClientPrefixes
from streams.model.deadletter import DeadLetter, dead_letter
from streams.model.decision import Decision
from streams.model.event import FUTURE_US, Event
from streams.model.marker import marked
from streams.model.standing import PolicyIndex
from streams.topics import EVENTS
from streams.wire.frames import belongs, decode_frame, encode, salvage_frame
from streams.wire.partition import partition_of

MARKER_WAIT_S: Final = 4.0
"""Longest wait for the change that a marker names; well under the worker's session timeout."""
MAX_UNKNOWN: Final = 1000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What passed through, for the status line."""

    frames: int = 0
    events: int = 0
    repeated: int = 0
    """Events that a shipper sent again after a crash."""
    unreadable: int = 0
    misplaced: int = 0
    """Events of a client that belongs to another partition."""
    decisions: int = 0
    decided: Counter[str] = field(default_factory=Counter)
    """Decisions by `TRIGGER.ACTION`; the action of one in shadow is `shadow`."""
    warnings: int = 0
    tried: int = 0
    """Decisions of a candidate."""
    last_event_at: int = 0

    def add(self, others: "Counts") -> None:
        """Take in what passed through elsewhere."""
        for name in self.__slots__:
            if name == "last_event_at":
                self.last_event_at = max(self.last_event_at, others.last_event_at)
            else:
                setattr(self, name, getattr(self, name) + getattr(others, name))


@dataclass(slots=True)
class Passed:
    """What came of one frame, in order."""

    outcomes: list[Outcome] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    tried: Tried | None = None
    """What the candidate would have decided; None where it has nothing to say."""


class Ledger:
    """State of one partition, exact for the offset `next_offset`.

    A source's positions grow from frame to frame within a partition, since a shipper sends in order and keeps
    one line's events in one frame: an event at or before what earlier frames of its source had was sent
    twice, and is skipped.
    """

    def __init__(
        self,
        policies: Policies,
        partition: int,
        partitions: int,
        candidate: Callable[[], Candidate | None] = lambda: None,
    ) -> None:
        self.policies: Final = policies
        self.number, index = policies.current
        """The number of the change whose policy judges here."""
        self.partition: Final = partition
        self.partitions: Final = partitions
        self.beside: Final = Beside(candidate)
        self.next_offset = 0
        self.counts = Counts()
        self._judge = Judge(index)
        self._unknown: set[int] = set()
        """Numbers of changes that were waited for in vain."""
        self._read: dict[str, int] = {}
        """Source → highest position of the frames so far."""

    @property
    def index(self) -> PolicyIndex:
        """The policy that judges here."""
        return self._judge.index

    @property
    def state(self) -> State:
        """What is known of the partition's clients."""
        return self._judge.state

    def begin_with(self, number: int, index: PolicyIndex) -> None:
        """Judge by this policy from here on."""
        self.number = number
        self._judge.begin_with(index)

    def _marked(self, event: Event) -> str:
        """Judge by the policy that a marker names; what a slower worker wrote late is passed over.

        Why it could not be followed, where no such change is to be found: a marker is written by whoever has
        seen the change, so one that nobody can find is not worth a standstill.
        """
        number = marked(event)
        if number <= self.number:
            return ""
        try:
            index = self.policies.at(number, 0.0 if number in self._unknown else MARKER_WAIT_S)
        except GoawayError as error:
            _log.error("partition %d: marker passed over: %s", self.partition, error.what)
            if len(self._unknown) < MAX_UNKNOWN:
                self._unknown.add(number)
            return error.what
        self.begin_with(number, index)
        return ""

    def remember(self, decision: Decision) -> None:
        """Take in a decision about an event from before the fold."""
        self._judge.remember(decision)

    def recall(
        self, offset: int, frame: bytes, taken: Mapping[str, Sequence[Decision]], *, record_us: int
    ) -> None:
        """Count a frame again that was processed before; output was given then."""
        events = self._new(self._readable(offset, frame, record_us, []))
        for event in events:
            if event.kind == "policy":
                self._marked(event)
                continue
            self._judge.recall(event, taken)
        self.beside.recall(offset, events)
        self.next_offset = offset + 1

    def process(self, offset: int, frame: bytes, *, record_us: int) -> Passed:
        """Decide about a frame's events; `record_us` is the record's own timestamp."""
        passed = Passed()
        self._judge.folded()
        index, state, outcomes = self.index, self.state, passed.outcomes
        events = self._new(self._readable(offset, frame, record_us, passed.letters))
        for event in events:
            if event.kind == "policy":
                if why := self._marked(event):
                    passed.letters.append(
                        dead_letter(f"{EVENTS}/{self.partition}", offset, why, encode(event))
                    )
                index = self.index
                continue
            found = step(index, state, event)
            if found:
                outcomes += found
        # last, so that nothing a candidate does can be felt by the policy in force
        passed.tried = self.beside.process(offset, events)
        self.next_offset = offset + 1
        counts = self.counts
        counts.frames += 1
        counts.unreadable += len(passed.letters)
        for outcome in outcomes:
            if isinstance(outcome, Decision):
                counts.decisions += 1
                counts.decided[f"{outcome.trigger}.{'shadow' if outcome.shadow else outcome.action}"] += 1
            else:
                counts.warnings += 1
        if passed.tried is not None:
            counts.tried += len(passed.tried.decisions)
        return passed

    def _readable(self, offset: int, frame: bytes, record_us: int, letters: list[DeadLetter]) -> list[Event]:
        """The frame's events that are well-formed and may be true; the rest becomes dead letters."""
        try:
            events, unreadable = decode_frame(frame), list[tuple[bytes, str]]()
        except InvalidValueError:
            events, unreadable = salvage_frame(frame)
        prefixes, latest = self.index.policy.clients, record_us + FUTURE_US
        if any(event.at > latest or not self._sane(event, prefixes) for event in events):
            sane = []
            for event in events:
                if event.at > latest:
                    unreadable.append(
                        (encode(event), "stamped over an hour after its record: check that clock")
                    )
                elif not self._sane(event, prefixes):
                    unreadable.append(
                        (encode(event), f"client {event.client!r} is not that of {event.address!r}")
                    )
                else:
                    sane.append(event)
            events = sane
        source = f"{EVENTS}/{self.partition}"
        letters += [dead_letter(source, offset, reason, line) for line, reason in unreadable]
        return events

    @staticmethod
    def _sane(event: Event, prefixes: ClientPrefixes) -> bool:
        try:
            if event.kind == "policy":
                return marked(event) >= 0
            return belongs(event, prefixes)
        except ValueError:
            return False

    def _new(self, events: list[Event]) -> list[Event]:
        """Events not seen before, with what is to be said about them said."""
        counts, read = self.counts, self._read
        new, reached = [], dict[str, int]()
        for event in events:
            if source := event.source:
                if event.position <= read.get(source, -1):
                    counts.repeated += 1
                    continue
                if event.position > reached.get(source, -1):
                    reached[source] = event.position
            if partition_of(event.client, self.partitions) != self.partition and event.kind != "policy":
                self._misplaced(event)
            new.append(event)
        read.update(reached)
        counts.events += len(new)
        if new:
            counts.last_event_at = max(counts.last_event_at, new[-1].at)
        return new

    def _misplaced(self, event: Event) -> None:
        counts = self.counts
        if counts.misplaced & (counts.misplaced - 1) == 0:  # said at 1, 2, 4, 8, …
            _log.error(
                "client %s came in partition %d but belongs to %d of %d: its counts are split. Its producer "
                "must key by client and partition by murmur2 (librdkafka: partitioner=murmur2_random)",
                event.client,
                self.partition,
                partition_of(event.client, self.partitions),
                self.partitions,
            )
        counts.misplaced += 1

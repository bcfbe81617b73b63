"""A candidate policy beside the one in force: what it would decide about the same events.

It has a state of its own in each partition, counts under its own decisions, and writes them to `smtp.shadow`,
which no shim reads. A partition's records there begin with one that says from which frame on the candidate
judges; so a restarted worker recalls its state as it does that of the policy in force. Whatever goes wrong
with a candidate ends its trial in that partition and nothing else.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.agents.judge import Judge
from streams.config import KafkaSettings
from streams.engine.step import step
from streams.errors import GoawayError
from streams.kafka import partition_counts
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import Instant, rfc3339
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.topics import BEGIN_KEY, CANDIDATE, END_KEY, SHADOW
from streams.wire.frames import encode

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that is tried, and the number of its change on `smtp.candidate`."""

    number: int
    index: PolicyIndex


@dataclass(slots=True)
class Tried:
    """What is to be written of one frame to `smtp.shadow`, in this order."""

    ended: tuple[int, Instant] | None = None
    """The candidate that judges up to this frame, itself left out; the time of the frame's first event."""
    began: tuple[int, Instant] | None = None
    """The candidate that judges from this frame on, and the time of the frame's first event."""
    number: int = 0
    decisions: list[Decision] = field(default_factory=list)

    def records(self) -> list[tuple[str, bytes | None, str]]:
        """(key, value, value of the header `goaway-candidate`)"""
        limits = ((END_KEY, self.ended), (BEGIN_KEY, self.began))
        found: list[tuple[str, bytes | None, str]] = [
            (key, None, f"{it[0]} {rfc3339(it[1])}") for key, it in limits if it is not None
        ]
        return found + [(it.key, encode(it), str(self.number)) for it in self.decisions]


@dataclass(slots=True)
class _Trial:
    number: int
    judge: Judge
    begins: int
    """Offset of the first frame that it judges."""
    taken: Mapping[str, Sequence[Decision]] = field(default_factory=dict)


class Beside:
    """The candidate's side of a ledger."""

    def __init__(self, candidate: Callable[[], Candidate | None]) -> None:
        self.candidate: Final = candidate
        """What is to be tried now."""
        self._trial: _Trial | None = None
        self._given_up = 0

    @property
    def clients(self) -> int:
        """Clients that the candidate's state remembers."""
        return len(self._trial.judge.state.clients) if self._trial is not None else 0

    def resume(
        self,
        candidate: Candidate,
        begins: int,
        before: Iterable[Decision],
        taken: Mapping[str, Sequence[Decision]],
    ) -> None:
        """Be ready to recall frames: the candidate judges from the offset `begins` on.

        `before` are its decisions from before the first frame that is recalled, `taken` those since then, by
        event.
        """
        judge = Judge(candidate.index)
        for decision in before:
            judge.remember(decision)
        self._trial = _Trial(candidate.number, judge, begins, taken)

    def recall(self, offset: int, events: Sequence[Event]) -> None:
        """Count a frame again that was judged before."""
        trial = self._trial
        if trial is None or offset < trial.begins:
            return
        try:
            for event in events:
                if event.kind != "policy":
                    trial.judge.recall(event, trial.taken)
        except Exception:
            self.give_up()

    def process(self, offset: int, events: Sequence[Event]) -> Tried | None:
        """What the candidate decides about a frame's events; None where there is nothing to write.

        A candidate begins, and ends, with the first frame in which something is new.
        """
        if (trial := self._trial) is None and self.candidate() is None:
            return None
        if not events:
            return None
        told = Tried()
        try:
            trial = self._switched(offset, events[0].at, told)
            if trial is not None and offset >= trial.begins:
                told.number = trial.number
                judge = trial.judge
                for event in events:
                    if event.kind != "policy":
                        found = step(judge.index, judge.state, event)
                        told.decisions += [it for it in found if isinstance(it, Decision)]
        except Exception:
            self.give_up()
            told.decisions.clear()
        return told if told.decisions or told.began or told.ended else None

    def give_up(self) -> None:
        """End the trial of this candidate here; to be called while its exception is handled."""
        number = self._trial.number if self._trial is not None else 0
        _log.exception("candidate %d is not tried any more in one partition; nothing else is touched", number)
        self._given_up, self._trial = number, None

    def _switched(self, offset: int, at: Instant, told: Tried) -> _Trial | None:
        wanted, trial = self.candidate(), self._trial
        if trial is not None:
            trial.judge.folded()
            if trial.taken:
                trial.taken = {}
            if wanted is not None and wanted.number == trial.number:
                return trial
            told.ended = (trial.number, at)
            self._trial = None
        if wanted is not None and wanted.number != self._given_up:
            told.began = (wanted.number, at)
            self._trial = _Trial(wanted.number, Judge(wanted.index), offset)
        return self._trial


class Candidates:
    """The candidate as `smtp.candidate` has it, followed in a thread."""

    def __init__(self, settings: KafkaSettings, partitions: int) -> None:
        self._settings = settings
        self._partitions = partitions
        self._latest: Candidate | None = None
        self._follower = PolicyFollower(settings, Policy(), self._changed, topic=CANDIDATE)

    def current(self) -> Candidate | None:
        """What is to be tried; None where nothing is."""
        if self._latest is not None and self._follower.caught_up and not self._follower.number:
            self._latest = None  # a broker in memory came back empty
        return self._latest

    def start(self, timeout_s: float) -> None:
        """Begin to follow; waits for what is there already, so that a restarted worker goes on with it."""
        self._follower.start()
        if partition_counts(self._settings).get(CANDIDATE) and not self._follower.wait_until_caught_up(
            timeout_s
        ):
            _log.warning("%s could not be read in %.0f s: a candidate begins afresh", CANDIDATE, timeout_s)

    def stop(self) -> None:
        """End the thread."""
        self._follower.stop()

    def _changed(self, number: int, index: PolicyIndex) -> None:
        self._latest = Candidate(number, index) if self._follower.entries and self._can_be_written() else None
        if self._latest is None:
            _log.info("no candidate is tried")
        else:
            _log.info("candidate %d, version %s, is tried", number, index.version)

    def _can_be_written(self) -> bool:
        try:
            found = partition_counts(self._settings).get(SHADOW, 0)
        except GoawayError as error:
            _log.error("the candidate is not tried: %s", error)
            return False
        if found < self._partitions:
            _log.error(
                "the candidate is not tried: %s has %d partitions and needs %d. Try: goaway topics create",
                SHADOW,
                found,
                self._partitions,
            )
        return found >= self._partitions

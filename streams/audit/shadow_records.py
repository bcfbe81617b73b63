"""What the trial of a candidate has left on Kafka: where it judged, what it decided, what was decided then.

Both sides' decisions carry the offset of the frame that brought them about, so what belongs to the trial is
told by offsets, partition by partition, not by clocks.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message, TopicPartition

from streams.config import KafkaSettings
from streams.errors import InvalidValueError, UnavailableError
from streams.kafka import partition_counts
from streams.model.decision import Decision
from streams.model.instant import Instant, parse_instant
from streams.recorded import records
from streams.topics import BEGIN_KEY, CANDIDATE_HEADER, DECISIONS, END_KEY, OFFSET_HEADER, SHADOW
from streams.wire.frames import decode_decision

MAX_DECISIONS: Final = 2_000_000
"""Decisions of a trial that are held at once, at most: bounds the memory."""
_AFTER_END_S: Final = 2.0
"""Longest time for records that were written meanwhile."""
_STALL_S: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stretch:
    """Where a candidate judged one partition of `smtp.events`."""

    begins: int
    """Offset of the first frame."""
    since: Instant
    """Time of its first event."""
    ends: int | None = None
    """Offset of the first frame that it did not judge; None where no worker has written of an end."""
    until: Instant | None = None
    afresh: list[Instant] = field(default_factory=list)
    """When its state was lost, and it began again."""


@dataclass(slots=True)
class Trial:
    """One candidate, by the number of its change on `smtp.candidate`."""

    number: int
    stretches: dict[int, Stretch] = field(default_factory=dict)
    """By partition."""
    candidate: list[Decision] = field(default_factory=list)
    """Its decisions, each once, partition by partition in the log's order."""
    live: list[Decision] = field(default_factory=list)
    """What was decided of the same frames."""
    before: list[Decision] = field(default_factory=list)
    """The latest decision of each key from before."""


def read_trial(settings: KafkaSettings, number: int) -> Trial | None:
    """The trial of this candidate, or of the latest before it; None where no worker has written of one.

    `UnavailableError` where Kafka is away, or holds more of it than fits in memory.
    """
    trials: dict[int, Trial] = {}
    seen: set[tuple[int, str, str]] = set()
    for message in _read(settings, SHADOW):
        head = _header(message, CANDIDATE_HEADER).split(" ", 1)
        if not head[0].isdecimal() or not 0 < int(head[0]) <= number:
            continue
        trial = trials.setdefault(int(head[0]), Trial(int(head[0])))
        if (key := _key(message)) in (BEGIN_KEY, END_KEY):
            _limit(trial, message, key, head[-1])
        elif (found := _decision(message)) is not None and _once(seen, trial.number, found):
            trial.candidate.append(found)
    begun = [it for it in trials.values() if it.stretches]
    if not begun:
        return None
    trial = max(begun, key=lambda it: it.number)
    _read_live(settings, trial)
    return trial


def _limit(trial: Trial, message: Message, key: str, at: str) -> None:
    partition, offset = message.partition() or 0, _offset(message)
    try:
        moment = parse_instant(at)
    except InvalidValueError:
        return
    stretch = trial.stretches.get(partition)
    if key == END_KEY and stretch is not None:
        stretch.ends, stretch.until = offset, moment
    elif key == BEGIN_KEY and stretch is None:
        trial.stretches[partition] = Stretch(offset, moment)
    elif key == BEGIN_KEY and stretch is not None and offset > stretch.begins:
        stretch.afresh.append(moment)


def _read_live(settings: KafkaSettings, trial: Trial) -> None:
    seen: set[tuple[int, str, str]] = set()
    before: dict[str, Decision] = {}
    for message in _read(settings, DECISIONS):
        stretch = trial.stretches.get(message.partition() or 0)
        offset = _offset(message)
        if stretch is None or (stretch.ends is not None and offset >= stretch.ends):
            continue
        found = _decision(message)
        if found is None:
            continue
        if offset < stretch.begins:
            if found.until is None or found.until > stretch.since:
                before[found.key] = found
            else:
                before.pop(found.key, None)
        elif _once(seen, 0, found):
            trial.live.append(found)
    trial.before = list(before.values())


def _once(seen: set[tuple[int, str, str]], number: int, decision: Decision) -> bool:
    """Whether it is new: what a crash repeats is the same decision again."""
    name = (number, decision.id, decision.action)
    if name in seen:
        return False
    if len(seen) >= MAX_DECISIONS:
        raise UnavailableError(
            f"the candidate's trial has more than {MAX_DECISIONS:,} decisions", try_next="goaway shadow stop"
        )
    seen.add(name)
    return True


def _key(message: Message) -> str:
    key = message.key() or b""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key


def _header(message: Message, name: str) -> str:
    value = dict(message.headers() or ()).get(name) or b""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _offset(message: Message) -> int:
    text = _header(message, OFFSET_HEADER)
    return int(text) if text.isdecimal() else -1


def _decision(message: Message) -> Decision | None:
    """A decision that refuses or ends that; None for all else."""
    value = message.value()
    if not value:
        return None
    try:
        found = decode_decision(value)
    except InvalidValueError as error:
        _log.warning(
            "%s/%s offset %s: %s", message.topic(), message.partition(), message.offset(), error.what
        )
        return None
    return found if found.action in ("block", "release") and not found.shadow else None


def _read(settings: KafkaSettings, topic: str) -> Iterator[Message]:
    """Every record of a topic, up to where its partitions end now."""
    count = partition_counts(settings).get(topic, 0)
    if not count:
        raise UnavailableError(
            f"Kafka at {settings.bootstrap} has no topic {topic}", try_next="goaway topics create"
        )
    places = [TopicPartition(topic, partition, 0) for partition in range(count)]
    yield from records(settings, places, stall_s=_STALL_S, after_end_s=_AFTER_END_S)

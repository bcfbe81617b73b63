"""Bring a ledger to an offset: read what was processed before, as far back as a client is remembered, and
recall it.

Reads with a plain consumer in a thread, beside Faust's own. "Latest" is never asked for the end of the fold:
the caller names the offset that Faust is about to process, so the state fits it exactly.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.agents.ledger import Ledger
from streams.config import KafkaSettings
from streams.errors import GoawayError, InvalidValueError, UnavailableError
from streams.kafka import TIMEOUT_S, onlooker, unavailable
from streams.model.decision import Decision
from streams.topics import BEGIN_KEY, CANDIDATE_HEADER, DECISIONS, EVENTS, OFFSET_HEADER, SHADOW
from streams.wire.frames import decode_decision, decode_frame

_SILENCE_S: Final = 0.2
_STALL_S: Final = 30.0
_log = logging.getLogger(__name__)


class Missed(NamedTuple):
    """A frame before the one that Faust delivered, which nobody is known to have processed."""

    offset: int
    frame: bytes
    record_us: int


def bring_to(ledger: Ledger, settings: KafkaSettings, group: str, offset: int) -> list[Missed]:
    """Make the ledger, new or behind, ready for `offset` of its partition, or `UnavailableError`.

    What the group has committed was processed: it is recalled. What lies between that and `offset` is handed
    back, to be processed first: whether Faust, which drops its buffers in a rebalance, always goes back to
    the committed offset is not relied upon. For a ledger that is only behind, all that is missing is handed
    back.
    """
    started = time.monotonic()
    # under the group's name, to ask for its offsets; it never subscribes, so it is no member
    consumer = onlooker(settings, group, wait_ms=20)
    read = 0
    try:
        if not ledger.next_offset:
            read = _recall(consumer, ledger, offset)
        missing = _frames(consumer, ledger.partition, ledger.next_offset, offset)
        missed = [Missed(_offset(it), it.value() or b"", record_us(it)) for it in missing]
    except KafkaException as error:
        raise unavailable(settings, error.args[0].str()) from error
    finally:
        consumer.close()
    if read:
        _log.info(
            "partition %d: folded %d frames up to offset %d, %d clients, in %.2f s",
            ledger.partition,
            read,
            ledger.next_offset,
            len(ledger.state.clients),
            time.monotonic() - started,
        )
    if missed:
        _log.warning(
            "partition %d: %d frames before offset %d had been left out",
            ledger.partition,
            len(missed),
            offset,
        )
    return missed


def _recall(consumer: Consumer, ledger: Ledger, offset: int) -> int:
    """Fold up to what the group has committed, at most to `offset`; how many frames that were."""
    place = TopicPartition(EVENTS, ledger.partition)
    low, _ = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
    committed = consumer.committed([place], timeout=TIMEOUT_S)[0].offset
    end = min(offset, max(low, committed))
    start = _fold_start(consumer, ledger, low, end)
    # where nothing was committed it is the frame to be processed first: a dead worker may have judged it
    first = next(_frames(consumer, ledger.partition, start, max(end, start + 1)), None)
    if first is not None:
        # a marker follows its change at once, so the change that was the latest then judged these frames
        ledger.begin_with(*ledger.policies.as_of(record_us(first)))
    recorded = list(_decisions(consumer, ledger.partition))
    taken: dict[str, list[Decision]] = {}
    for at, decision in recorded:
        if start <= at < end and decision not in taken.setdefault(decision.event, []):
            taken[decision.event].append(decision)
    for at, decision in recorded:
        if at < start:
            ledger.remember(decision)
    _resume_candidate(consumer, ledger, start, end)
    read = 0
    for message in _frames(consumer, ledger.partition, start, end):
        ledger.recall(_offset(message), message.value() or b"", taken, record_us=record_us(message))
        read += 1
    ledger.next_offset = end
    return read


def record_us(message: Message) -> int:
    """The record's own timestamp in microseconds; the far future where it has none."""
    kind, stamp_ms = message.timestamp()
    return stamp_ms * 1000 if kind else 1 << 62


def _offset(message: Message) -> int:
    offset = message.offset()
    return offset if offset is not None else -1


def _decisions(consumer: Consumer, partition: int) -> Iterator[tuple[int, Decision]]:
    """Every decision recorded for this partition, with the offset of the frame that brought it about."""
    for message in _read(consumer, TopicPartition(DECISIONS, partition, 0), end=None):
        if (decision := _decision(message)) is not None:
            yield int(_headers(message).get(OFFSET_HEADER, b"-1")), decision


def _decision(message: Message) -> Decision | None:
    value = message.value()
    if value is None:
        return None
    try:
        return decode_decision(value)
    except InvalidValueError as error:
        _log.error("%s/%s offset %s: %s", message.topic(), message.partition(), message.offset(), error.what)
        return None


def _headers(message: Message) -> dict[str, Any]:
    return dict(message.headers() or [])


def _resume_candidate(consumer: Consumer, ledger: Ledger, start: int, end: int) -> None:
    """Ready the candidate's side for the same frames; where that fails, a candidate begins afresh."""
    candidate = ledger.beside.candidate()
    if candidate is None:
        return
    begins, recorded = -1, list[tuple[int, Decision]]()
    try:
        for message in _read(consumer, TopicPartition(SHADOW, ledger.partition, 0), end=None):
            headers = _headers(message)
            if headers.get(CANDIDATE_HEADER, b"").split(b" ")[0] != str(candidate.number).encode():
                continue
            offset = int(headers.get(OFFSET_HEADER, b"-1"))
            if message.key() == BEGIN_KEY.encode():
                begins = offset
            elif (decision := _decision(message)) is not None:
                recorded.append((offset, decision))
        if begins < 0:
            return
        before = [it for offset, it in recorded if begins <= offset < start]
        taken: dict[str, list[Decision]] = {}
        for offset, it in recorded:
            if max(begins, start) <= offset < end and it not in taken.setdefault(it.event, []):
                taken[it.event].append(it)
        ledger.beside.resume(candidate, begins, before, taken)
    except (KafkaException, GoawayError, ValueError) as error:
        _log.warning("partition %d: the candidate begins afresh: %s", ledger.partition, error)


def _frames(consumer: Consumer, partition: int, start: int, end: int) -> Iterator[Message]:
    if start < end:
        yield from _read(consumer, TopicPartition(EVENTS, partition, start), end=end)


def _fold_start(consumer: Consumer, ledger: Ledger, low: int, end: int) -> int:
    """The first offset not older than the policy's memory: by record time, checked against event time.

    Event time may run slower than record time (a history shipped slowly), and the embedded broker's answers
    are not to be relied upon: where the first frame found is not older than the memory, the fold starts at
    the beginning. Exact where hosts ship their logs less than an hour behind; what arrives later than that
    after a restart may be counted without its predecessors.
    """
    if end <= low:
        return end
    last = next(_frames(consumer, ledger.partition, end - 1, end), None)
    if last is None:
        return low
    memory_us = ledger.index.policy.memory_s * 1_000_000
    wanted = TopicPartition(EVENTS, ledger.partition, max(0, (record_us(last) - memory_us) // 1000))
    found = consumer.offsets_for_times([wanted], timeout=TIMEOUT_S)[0].offset
    if not low < found < end:
        return low
    first = next(_frames(consumer, ledger.partition, found, end), None)
    oldest, newest = _event_time(first), _event_time(last)
    return found if oldest is not None and newest is not None and oldest <= newest - memory_us else low


def _event_time(message: Message | None) -> int | None:
    if message is None:
        return None
    try:
        events = decode_frame(message.value() or b"")
    except InvalidValueError:
        return None
    return events[0].at if events else None


def _read(consumer: Consumer, place: TopicPartition, *, end: int | None) -> Iterator[Message]:
    """Records from `place` up to `end`, or to where the partition ends now.

    Without an end, the partition's end must be met with silence after it: the embedded broker's "latest"
    may lack the tail of the last batch.
    """
    consumer.assign([place])
    quiet_since = time.monotonic()
    met_end = False
    while True:
        message = consumer.poll(0.02)
        if message is None:
            silence = time.monotonic() - quiet_since
            if end is None and met_end and silence > _SILENCE_S:
                return
            if silence > _STALL_S:
                raise UnavailableError(
                    f"{place.topic}/{place.partition} gave nothing for {_STALL_S:.0f} s",
                    try_next="goaway doctor",
                )
            continue
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if end is not None and _offset(message) >= end:
                return
            met_end = True
            continue
        quiet_since, met_end = time.monotonic(), False
        if end is not None and _offset(message) >= end:
            return
        yield message
        if end is not None and _offset(message) == end - 1:
            return

"""A range of `smtp.events` as a history: the partitions merged by time, up to where each ends now.

Event time bounds the range. What happened in it can have been recorded long after it, so every partition is
read to its end; it begins where records were made at `start`, since nothing is recorded before it happens.
"""

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.config import KafkaSettings
from streams.errors import UnavailableError
from streams.kafka import TIMEOUT_S, events_partitions, onlooker, unavailable
from streams.model.event import Event
from streams.model.instant import Instant
from streams.replay.counts import ReadCounts
from streams.replay.expected import ANYTHING, Expected
from streams.replay.extent import Extent
from streams.replay.json_lines import WHEN, events_and_lines, looked_at
from streams.replay.order import Batch, Batches, BlockOrder, Source, block_of, event_order, merged
from streams.topics import EVENTS

_AT_ONCE: Final = 200
_SILENCE_S: Final = 0.3
"""The embedded broker's "latest" may lack a batch's tail: an end must be met with silence after it."""
_STALL_S: Final = 30.0


class KafkaRange:
    """Events with `start <= at < end` of all partitions, one consumer a partition."""

    def __init__(
        self,
        settings: KafkaSettings,
        start: Instant,
        end: Instant,
        counts: ReadCounts,
        expected: Expected = ANYTHING,
    ) -> None:
        self._settings = settings
        self._expected = expected
        self._start, self._end = start, end
        self._counts = counts
        self.extent = Extent()

    def batches(self) -> Batches:
        """The range as one history."""
        try:
            partitions = events_partitions(self._settings)
            sources = [Source(0, self._partition(number)) for number in range(partitions)]
            yield from merged(sources, event_order)
        except KafkaException as error:
            raise unavailable(self._settings, error.args[0].str()) from error

    def _partition(self, number: int) -> Iterator[Batch[Event]]:
        consumer = onlooker(self._settings, "goaway-replay", wait_ms=20, queued_max_messages_kbytes=8192)
        try:
            place = TopicPartition(EVENTS, number)
            low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
            wanted = TopicPartition(EVENTS, number, max(0, int(self._start) // 1000))
            first = consumer.offsets_for_times([wanted], timeout=TIMEOUT_S)[0].offset
            begins = min(max(first if first >= 0 else high, low), high)
            self.extent.total = (self.extent.total or 0) + high - begins
            consumer.assign([TopicPartition(EVENTS, number, begins)])
            order = BlockOrder()
            for frames in self._frames(consumer, number):
                content = b"".join(frames)
                _, stamps = looked_at(content, WHEN)
                events, _ = events_and_lines(content, stamps.ats, self._counts, self._expected)
                yield from order.add(block_of([it for it in events if self._start <= it.at < self._end]))
            yield from order.rest()
        finally:
            consumer.close()

    def _frames(self, consumer: Consumer, number: int) -> Iterator[list[bytes]]:
        heard, met_end = time.monotonic(), False
        while True:
            frames: list[bytes] = []
            for message in consumer.consume(_AT_ONCE, 0.05):
                error, value = message.error(), message.value()
                if error is None:
                    heard, met_end = time.monotonic(), False
                    self.extent.done += 1
                    if value:
                        frames.append(value if value.endswith(b"\n") else value + b"\n")
                elif error.code() == KafkaError._PARTITION_EOF:
                    met_end = True
                else:
                    raise KafkaException(error)
            if frames:
                yield frames
                heard = time.monotonic()  # the reader may have been away for long
                continue
            silence = time.monotonic() - heard
            if met_end and silence > _SILENCE_S:
                return
            if silence > _STALL_S:
                raise UnavailableError(
                    f"{EVENTS}/{number} gave nothing for {_STALL_S:.0f} s", try_next="goaway doctor"
                )

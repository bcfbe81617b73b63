"""The sink's side of Kafka: reads assigned partitions without a group, and any stretch of them again."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)

from streams.audit.ledger import Span
from streams.audit.rows import Record
from streams.config import KafkaSettings
from streams.errors import UnavailableError
from streams.kafka import TIMEOUT_S, admin, onlooker, partition_counts, unavailable
from streams.model.instant import Instant
from streams.topics import POLICY
from streams.wire.policy_log import CHANGE_HEADER

_RECORDS_AT_ONCE: Final = 500
_FETCH_AHEAD_KB: Final = 32 * 1024
_NO_ID: Final = "A" * 22
"""How a broker without topic ids writes one: 16 zero bytes in base64."""

_log = logging.getLogger(__name__)


class LogReader:
    """A consumer that is told where to read. Raises `UnavailableError` where Kafka does not answer."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = admin(settings)
        self._consumer = onlooker(
            settings,
            "goaway-sink",
            wait_ms=100,
            enable_auto_offset_store=False,
            auto_offset_reset="error",
            queued_max_messages_kbytes=_FETCH_AHEAD_KB,
        )

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has; a topic that is missing is an error."""
        counts = partition_counts(self._settings)
        missing = [topic for topic in topics if topic not in counts]
        if missing:
            raise UnavailableError(
                f"Kafka at {self._settings.bootstrap} has no topic {', '.join(missing)}",
                try_next="goaway topics create",
            )
        return {topic: counts[topic] for topic in topics}

    def topic_id(self, topic: str) -> str:
        """Kafka's id of the topic; empty where the broker has none."""
        try:
            described = self._admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)
            found = str(described[topic].result(timeout=2 * TIMEOUT_S).topic_id)
        except (KafkaException, TimeoutError) as error:
            fault = error.args[0] if error.args else error
            if isinstance(fault, KafkaError) and fault.code() in (
                KafkaError.UNSUPPORTED_VERSION,
                KafkaError._UNSUPPORTED_FEATURE,
            ):
                return ""
            raise unavailable(self._settings, fault) from error
        return "" if found.startswith(_NO_ID) else found

    def assign(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Read these partitions from these offsets on; None is the oldest record there is."""
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING if offset is None else offset)
                for (topic, partition), offset in positions.items()
            ]
        )

    def read(self, timeout_s: float) -> list[Record]:
        """What has arrived, at most a few hundred records; an empty list after `timeout_s`."""
        return [
            _record(message)
            for message in self._consumer.consume(_RECORDS_AT_ONCE, timeout_s)
            if message.error() is None or self._mended(message)
        ]

    def _mended(self, message: Any) -> bool:
        """Deal with an event that is no record: always False, or an error."""
        code = message.error().code()
        if code == KafkaError._AUTO_OFFSET_RESET:
            self._reposition(message.topic(), message.partition(), message.offset())
        elif code not in (KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            raise unavailable(self._settings, message.error().str())
        return False

    def _reposition(self, topic: str, partition: int, _offset: int) -> None:
        """The offset is not in the log any more: go on where the log begins, or ends if it is shorter."""
        place = TopicPartition(topic, partition)
        wanted = self._consumer.position([place])[0].offset
        low, high = self._ends(place)
        go_on = high if wanted > high else low
        if wanted >= 0:
            _log.error(
                "%s/%d: offset %d is not kept any more; storing goes on at %d",
                topic,
                partition,
                wanted,
                go_on,
            )
        self._consumer.seek(TopicPartition(topic, partition, go_on))

    def _ends(self, place: TopicPartition) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise unavailable(self._settings, error.args[0].str()) from error
        return low, high

    def behind(self, positions: Mapping[tuple[str, int], int | None]) -> int:
        """Records that Kafka is known to hold beyond these positions; as of the last fetch."""
        total = 0
        for (topic, partition), offset in positions.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            start = max(low, 0) if offset is None else offset
            total += max(0, high - start) if high > 0 else 0
        return total

    def read_again(self, topic: str, spans: Iterable[Span], *, timeout_s: float = 60.0) -> list[Record]:
        """The records of these spans that are still there, in the order of partition and offset.

        Ends where every partition has yielded its last record, or says that it has none that far.
        Replaces the assignment.
        """
        open_spans = {span.partition: span for span in spans}
        self.assign({(topic, span.partition): span.first for span in open_spans.values()})
        found: list[Record] = []
        give_up = time.monotonic() + timeout_s
        while open_spans:
            if time.monotonic() > give_up:
                raise unavailable(self._settings, f"{topic}: records that were there do not come")
            for message in self._consumer.consume(_RECORDS_AT_ONCE, 0.5):
                span = open_spans.get(message.partition())
                if span is None:
                    continue
                if message.error() is not None:
                    at_end = message.error().code() == KafkaError._PARTITION_EOF
                    if not self._mended(message) and at_end and message.offset() > span.last:
                        del open_spans[span.partition]
                    continue
                if message.offset() <= span.last:
                    found.append(_record(message))
                if message.offset() >= span.last:
                    del open_spans[span.partition]
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def holds(self, topic: str, span: Span, *, timeout_s: float = 5.0) -> bool:
        """Whether the log reaches the end of this span. The record itself is asked for where the broker's
        own word for the log's end says no: Tansu's is the last batch's first offset + 1.
        """
        _, high = self._ends(TopicPartition(topic, span.partition))
        if high > span.last:
            return True
        self.assign({(topic, span.partition): span.last})
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            for message in self._consumer.consume(1, 0.2):
                if message.error() is None:
                    return bool(message.offset() >= span.last)
                if message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    return False
        return False


def _record(message: Any) -> Record:
    _, taken_ms = message.timestamp()
    topic = message.topic()
    record = Record(
        topic, message.partition(), message.offset(), Instant(max(0, taken_ms) * 1000), message.value()
    )
    if topic != POLICY:  # elsewhere neither key nor headers say anything that the value does not
        return record
    change = dict(message.headers() or ()).get(CHANGE_HEADER)
    return replace(record, key=message.key(), change=change)

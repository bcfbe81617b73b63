"""Waits until the worker has done what an administrator's event asks: its releases on `smtp.decisions`."""

import time
from collections.abc import Collection
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.config import KafkaSettings
from streams.errors import InvalidValueError, UnavailableError
from streams.kafka import TIMEOUT_S, onlooker, partition_counts, unavailable
from streams.topics import DECISIONS
from streams.wire.frames import decode_decision

_AT_ONCE: Final = 1000


class Releases:
    """Decisions from the moment on at which this was made: to be made before the events are sent."""

    def __init__(self, settings: KafkaSettings) -> None:
        """`UnavailableError` where Kafka is away or has no such topic."""
        self._settings = settings
        count = partition_counts(settings).get(DECISIONS, 0)
        if not count:
            raise UnavailableError(
                f"Kafka at {settings.bootstrap} has no topic {DECISIONS}", try_next="goaway topics create"
            )
        self._consumer = onlooker(settings, "goaway-look", wait_ms=20)
        try:
            places = [TopicPartition(DECISIONS, number) for number in range(count)]
            for place in places:
                _, place.offset = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
            self._consumer.assign(places)
        except KafkaException as error:
            self._consumer.close()
            raise unavailable(settings, error.args[0].str()) from error

    def missing(self, events: Collection[str], patience_s: float) -> set[str]:
        """Those of the events (by id) of which no release has come when the time is up. Ends the look."""
        left, deadline = set(events), time.monotonic() + patience_s
        try:
            while left and time.monotonic() < deadline:
                for message in self._consumer.consume(_AT_ONCE, 0.05):
                    error, value = message.error(), message.value()
                    if error is None and value:
                        left.discard(_released_by(value))
                    elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise unavailable(self._settings, error.str())
        except KafkaException as error:
            raise unavailable(self._settings, error.args[0].str()) from error
        finally:
            self._consumer.close()
        return left


def _released_by(value: bytes) -> str:
    """Id of the event that brought this release about; empty for what is none."""
    try:
        decision = decode_decision(value)
    except InvalidValueError:
        return ""
    return decision.event if decision.action == "release" else ""

"""What the stage has to say, on its way to Kafka: events in frames by partition, warnings one a record.

Nothing here waits: Kafka away is no reason for a look-up to stand still. What is not delivered in time is
counted and told back.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError, Producer

from streams.config import KafkaSettings
from streams.kafka import client_config
from streams.model.decision import LimitWarning
from streams.model.event import Event
from streams.topics import EVENTS, WARNINGS
from streams.wire.frames import encode, encode_frame
from streams.wire.partition import partition_of

_GATHER_S: Final = 0.002
"""Events of one partition that come within it share a frame."""
_FRAME: Final = 500
_EXPIRE_MS: Final = 60_000
_POLL_S: Final = 0.05
_log = logging.getLogger(__name__)


class Outbox:
    """A producer beside the loop. `on_lost` is called inside the loop with each event that did not arrive."""

    def __init__(self, settings: KafkaSettings, partitions: int, on_lost: Callable[[Event], None]) -> None:
        self.lost = 0
        """Events and warnings that did not reach Kafka."""
        self._partitions = partitions
        self._on_lost = on_lost
        self._frames: dict[int, list[Event]] = {}
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            client_config(
                settings, linger_ms=1, acks="all", message_timeout_ms=_EXPIRE_MS, partitioner="murmur2_random"
            ),
            logger=_log,
        )

    def event(self, event: Event) -> None:
        """Send an event to its client's partition."""
        partition = partition_of(event.client, self._partitions)
        frame = self._frames.setdefault(partition, [])
        frame.append(event)
        if len(frame) == 1:
            self._loop.call_later(_GATHER_S, self._send, partition)
        elif len(frame) >= _FRAME:
            self._send(partition)

    def warning(self, warning: LimitWarning) -> None:
        """Send a warning, and write it into the log."""
        _log.warning("%s", warning.text)
        self._produce(WARNINGS, encode(warning), [], key=warning.client.encode())

    def _send(self, partition: int) -> None:
        events = self._frames.pop(partition, None)
        if events:
            self._produce(EVENTS, encode_frame(events), events, partition=partition)

    def _produce(self, topic: str, value: bytes, events: list[Event], **where: Any) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                self._gone(events, error.str())

        try:
            self._producer.produce(topic, value, on_delivery=delivered, **where)
        except BufferError:
            self._gone(events, "too much waits for Kafka")

    def _gone(self, events: list[Event], why: str) -> None:
        if self.lost == 0:
            _log.error("%s: not delivered (%s); looked up again at the next connect", EVENTS, why)
        self.lost += max(1, len(events))
        for event in events:
            self._on_lost(event)

    async def poll_for_ever(self) -> None:
        """Learn what was delivered."""
        while True:
            self._producer.poll(0)
            await asyncio.sleep(_POLL_S)

    def flush(self, timeout_s: float) -> None:
        """Send what is there, and wait for it."""
        for partition in list(self._frames):
            self._send(partition)
        self._producer.flush(timeout_s)

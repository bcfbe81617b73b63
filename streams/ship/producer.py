"""Frames and dead letters → Kafka, and what was acknowledged of them."""

import time
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.config import KafkaSettings
from streams.kafka import client_config
from streams.model.deadletter import DeadLetter
from streams.ship.framing import Frame
from streams.topics import DEADLETTERS, EVENTS, SOURCE_HEADER
from streams.wire.frames import encode

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_RECORDS: Final = 20_000
"""Unacknowledged bytes and records at which reading stops."""

AWAY_AFTER_S: Final = 3.0
"""Kafka counts as away when the oldest record has waited this long for its acknowledgement."""


class Outbox:
    """An idempotent producer that remembers what is still unacknowledged.

    Records of one partition arrive in the order they were sent, each once, as long as this producer
    lives; nothing times out. A record that Kafka refuses sets `failure`: nothing after it may be taken
    for delivered, and whoever sends starts again from the last saved place with a new outbox.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = Producer(
            client_config(
                settings,
                client_id="goaway-ship",
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=0,
                message_timeout_ms=0,
                queue_buffering_max_kbytes=2 * MAX_BYTES // 1024,
                queue_buffering_max_messages=2 * MAX_RECORDS,
                socket_timeout_ms=10_000,
            )
            | {"error_cb": self._on_error}
        )
        self._outstanding: dict[int, tuple[int, float]] = {}
        self.sent = 0
        """Number of the last record sent; the first is 1."""
        self.bytes = 0
        """Unacknowledged bytes."""
        self.failure = ""

    @property
    def records(self) -> int:
        """Unacknowledged records."""
        return len(self._outstanding)

    @property
    def full(self) -> bool:
        """Whether to stop reading."""
        return self.bytes >= MAX_BYTES or len(self._outstanding) >= MAX_RECORDS

    def send_frame(self, frame: Frame) -> None:
        """Send to the frame's own partition, with its source as a header."""
        number = self._note(len(frame.value))
        self._producer.produce(
            EVENTS,
            frame.value,
            frame.client,
            partition=frame.partition,
            on_delivery=partial(self._delivered, number),
            headers={SOURCE_HEADER: frame.source},
        )

    def send_letter(self, letter: DeadLetter) -> None:
        """Send to `smtp.deadletters`, keyed by the letter's source."""
        value = encode(letter)
        number = self._note(len(value))
        self._producer.produce(
            DEADLETTERS, value, letter.source, on_delivery=partial(self._delivered, number)
        )

    def _note(self, size: int) -> int:
        self.sent += 1
        self.bytes += size
        self._outstanding[self.sent] = (size, time.monotonic())
        return self.sent

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = self.failure or f"{message.topic()}: {error.str()}"
            return
        size, _ = self._outstanding.pop(number)
        self.bytes -= size

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failure = self.failure or error.str()

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take in acknowledgements; waits up to `timeout_s` for the first."""
        self._producer.poll(timeout_s)

    @property
    def oldest(self) -> int:
        """Number of the oldest unacknowledged record; 0 when there is none."""
        return next(iter(self._outstanding), 0)

    def settled(self, number: int) -> bool:
        """Whether every record up to and including this one is acknowledged."""
        return next(iter(self._outstanding), self.sent + 1) > number

    def away(self, now: float) -> bool:
        """Whether the oldest record waits too long; `now` on the monotonic clock."""
        oldest = next(iter(self._outstanding.values()), None)
        return oldest is not None and now - oldest[1] > AWAY_AFTER_S

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged, at most so long; whether it was."""
        self._producer.flush(timeout_s)
        return not self._outstanding and not self.failure

    def discard(self) -> None:
        """Give up what is unacknowledged."""
        try:
            self._producer.purge()
            self._producer.flush(0.5)
        except KafkaException:
            pass

"""The policy's topic in a writer's hands: read to its end, written, read on for what became of the change.

Reading a record twice does no harm here, so the producer is a plain one with one request at a time: an
idempotent one has its first record wait half a second or more for its own number.
"""

import logging
import time
from collections.abc import Iterable
from secrets import randbelow
from typing import Any, Final, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from streams.config import KafkaSettings
from streams.errors import UnavailableError
from streams.kafka import client_config, onlooker, partition_counts, unavailable, unusable
from streams.model.instant import Instant
from streams.topics import POLICY
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import (
    CHANGE_HEADER,
    COMMIT_KEY,
    Change,
    PolicyLog,
    decode_number,
    encode_change,
    encode_entry,
    encode_number,
)

Replaced = dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]]
"""Key → its row before a change and after it; None: no row."""

TIMEOUT_S: Final = 15.0
"""Longest wait for Kafka, at each step."""
_LOOK_S: Final = 2.0
_AWAY_S: Final = 4.0
"""Longest wait for a Kafka that does not answer at first."""

_log = logging.getLogger(__package__)  # for its readers it is the writer that speaks


class PolicyTopic:
    """`smtp.policy`, or `smtp.candidate`, as a writer sees it: read to its end, written, read on.

    A context manager.
    """

    def __init__(self, settings: KafkaSettings, name: str = POLICY) -> None:
        """`SettingsError` where the settings cannot be used, `UnavailableError` where there is no topic."""
        self.name: Final = name
        self.replaced: dict[int, Replaced] = {}
        """What each accepted change that was read did to its keys, where what it follows is known."""
        self.first: Change | None = None
        """The change that the topic began with; None where it was compacted since."""
        self._settings = settings
        self._log = PolicyLog()
        self._touched: dict[int, set[str]] = {}
        self._failures: list[str] = []
        self._acknowledged = -1
        """Offset of the latest record that Kafka has."""
        try:
            self._producer = Producer(
                client_config(
                    settings,
                    acks="all",
                    linger_ms=5,
                    max_in_flight=1,
                    message_timeout_ms=int(TIMEOUT_S * 1000),
                    queue_buffering_max_messages=1_000_000,
                ),
                logger=_log,
            )
        except (KafkaException, ValueError) as error:
            raise unusable(error) from error
        self._consumer = onlooker(settings, "goaway-policy", wait_ms=10, auto_offset_reset="earliest")
        try:
            found = self._topic_is_there()
        except UnavailableError:
            self._consumer.close()
            raise
        if not found:
            self._consumer.close()
            raise UnavailableError(
                f"Kafka at {settings.bootstrap} has no topic {self.name}", try_next="goaway topics create"
            )
        self._consumer.assign([TopicPartition(self.name, 0, OFFSET_BEGINNING)])

    def _topic_is_there(self) -> bool:
        """Asked through the consumer: knowing the topic's place it begins half a second earlier."""
        try:
            topic = self._consumer.list_topics(self.name, timeout=_LOOK_S).topics[self.name]
        except KafkaException:
            return bool(
                partition_counts(self._settings, timeout_s=_AWAY_S).get(self.name)
            )  # it tells why, where it cannot
        return topic.error is None and bool(topic.partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> PolicyLog:
        """What holds at the topic's end; a second time, from where the first one stopped."""
        deadline = time.monotonic() + TIMEOUT_S
        while (record := self._next(deadline)) is not None:
            self._feed(record)
        return self._log

    def write(self, after: Entries, *, who: str, what: str, note: str, spread: int = 0) -> Change | None:
        """Write a change that leaves these entries; None where it is not in force as it was meant."""
        log = self._log
        records = log.records_for(after)
        change = Change(
            number=log.next_number + (randbelow(spread) if spread else 0),
            after=log.number,
            version=policy_of(after).version,
            who=who,
            at=Instant(time.time_ns() // 1000),
            what=what,
            note=note,
            entries=len(records),
        )
        self._produce(
            change, ((key, None if row is None else encode_entry(row)) for key, row in records.items())
        )
        # on its own: it must not be there without one of its entries
        self._produce(change, [(COMMIT_KEY, encode_change(change))])
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            record = self._next(deadline)
            taken = self._feed(record) if record is not None else None
            if record is not None and record.offset() >= self._acknowledged:
                return change if taken is not None and log.entries == after else None

    def _produce(self, change: Change, records: Iterable[tuple[str, bytes | None]]) -> None:
        header = [(CHANGE_HEADER, encode_number(change.number))]
        try:
            for key, value in records:
                self._producer.produce(
                    self.name, value, key, partition=0, headers=header, on_delivery=self._delivered
                )
        except (KafkaException, BufferError) as error:
            raise unavailable(self._settings, error) from error
        left = self._producer.flush(TIMEOUT_S + 1)
        if left or self._failures:
            raise unavailable(self._settings, self._failures[0] if self._failures else "no acknowledgement")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error.str())
        else:
            self._acknowledged = message.offset() or 0

    def _next(self, deadline: float) -> Any:
        """The next record; None at the end of what there is."""
        while (left := deadline - time.monotonic()) > 0:
            record = self._consumer.poll(min(left, 0.5))
            if record is None:
                continue
            error = record.error()
            if error is None:
                return record
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise unavailable(self._settings, error.str())
        raise unavailable(self._settings, f"{self.name} was not read to its end in {TIMEOUT_S:g} s")

    def _feed(self, record: Any) -> Change | None:
        number = decode_number(dict(record.headers() or ()).get(CHANGE_HEADER))
        key = (record.key() or b"").decode("utf-8", "replace")
        before = dict(self._log.entries) if key == COMMIT_KEY else {}
        follows = self._log.number
        if key != COMMIT_KEY:
            self._touched.setdefault(number, set()).add(key)
        change = self._log.feed(key, record.value(), number)
        if change is not None:
            after = self._log.entries
            keys = self._touched.pop(change.number, set())
            if not change.after:
                self.first = change
            elif change.after == follows:  # else the change before it was compacted away
                self.replaced[change.number] = {key: (before.get(key), after.get(key)) for key in keys}
        return change

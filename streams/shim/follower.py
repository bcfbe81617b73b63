"""Follows `smtp.decisions` from its beginning into what is known, in a thread of its own.

Kafka away, topic missing, record unreadable: each is said once in words and never ends the thread. What is
known stays until it expires, so the shim goes on answering, and then lets mail through.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from streams.config import KafkaSettings
from streams.errors import InvalidValueError
from streams.kafka import NO_TOPIC, onlooker
from streams.model.instant import Instant
from streams.shim.known import Known
from streams.shim.reply import printable
from streams.topics import DECISIONS
from streams.wire.frames import decode_decision

KafkaState = Literal["starting", "connected", "away", "no topic"]

FETCH_WAIT_MS: Final = 10
"""Longest time a broker may sit on a fetch: bounds what a decision waits for on brokers that only look
for news when the time is up."""

POLL_S: Final = 0.1
LOOK_S: Final = 1.0
"""Pause between looks at a Kafka that is away, or at a topic that is missing."""
PARTITIONS_S: Final = 60.0
"""Pause between looks at how many partitions the topic has."""

_log = logging.getLogger(__name__)


class DecisionFollower:
    """The follower's thread and what it has seen. Its attributes may be read from any thread."""

    def __init__(self, settings: KafkaSettings, known: Known, now: Callable[[], int]) -> None:
        """`now` is the wall clock in microseconds. `SettingsError` where the settings cannot be used."""
        self.state: KafkaState = "starting"
        self.caught_up = False
        self.decisions = 0
        self.unreadable = 0
        self.last_decision_at: Instant | None = None
        self._settings = settings
        self._known = known
        self._now = now
        self._behind: dict[int, int] = {}
        """Partitions whose records of before the start are still being read, with their end then."""
        self._partitions = 0
        self._cluster = ""
        """Kafka's own name. Another one is another log: a broker in memory that came back empty."""
        self._look_at = 0.0
        self._why = ""
        """What librdkafka last complained of: a refused connection, a wrong password, a bad certificate."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._consumer = onlooker(
            settings,
            "goaway-shim",
            wait_ms=FETCH_WAIT_MS,
            auto_offset_reset="earliest",
            fetch_error_backoff_ms=100,
            error_cb=self._on_error,
        )

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for it, a few seconds at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception:
                # enforcement must outlive whatever this was; what is known keeps answering meanwhile
                _log.exception("following %s failed; trying again in %g s", DECISIONS, LOOK_S)
                self._partitions = 0
                self._stop.wait(LOOK_S)
        self._consumer.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            if time.monotonic() >= self._look_at:
                self._look()
            record = self._consumer.poll(POLL_S)
            if record is None:
                self._known.purge(self._now())
                continue
            error = record.error()
            if error is None:
                self._connected()
                self._take(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._connected()
                self._reached(record.partition(), record.offset())
            elif error.code() in NO_TOPIC:
                self._no_topic()
            else:
                _log.warning("Kafka at %s: %s", self._settings.bootstrap, error.str())

    def _take(self, record: Any) -> None:
        value = record.value()
        if value is not None:
            now = self._now()
            try:
                decision = decode_decision(value)
                self._known.take(decision, now)
            except InvalidValueError as error:
                self.unreadable += 1
                where = f"{DECISIONS}[{record.partition()}] offset {record.offset()}"
                _log.warning("%s cannot be read and is passed over: %s", where, error.what[:200])
            else:
                self.decisions += 1
                if self.last_decision_at is None or decision.at > self.last_decision_at:
                    self.last_decision_at = decision.at
            if self.decisions % 1000 == 0:
                self._known.purge(now)
        if self._behind:
            self._reached(record.partition(), record.offset() + 1)

    def _reached(self, partition: int, position: int) -> None:
        """Note that a partition was read up to here; say so once when all that lay there was read."""
        if position < self._behind.get(partition, 0):
            return
        self._behind.pop(partition, None)
        if not self._behind and not self.caught_up:
            self.caught_up = True
            self._known.purge(self._now())
            _log.info("caught up: %d decisions, %d standing", self.decisions, len(self._known.table))

    def _look(self) -> None:
        """See whether Kafka answers and the topic is there; assign its partitions when they are new."""
        try:
            cluster = self._consumer.list_topics(DECISIONS, timeout=LOOK_S)
        except KafkaException as error:
            self._away(error.args[0].str())
            return
        found = cluster.topics[DECISIONS]
        if found.error is not None or not found.partitions:
            self._no_topic()
            return
        self._connected()
        self._look_at = time.monotonic() + PARTITIONS_S
        name = cluster.cluster_id or ""
        if name != self._cluster:
            self._partitions, self._cluster = 0, name
        if len(found.partitions) != self._partitions:
            self._assign(len(found.partitions))

    def _assign(self, count: int) -> None:
        """Read every partition from its beginning; reading a decision twice changes nothing."""
        partitions = [TopicPartition(DECISIONS, number, OFFSET_BEGINNING) for number in range(count)]
        self._behind = {}
        for partition in partitions:
            try:
                _, end = self._consumer.get_watermark_offsets(partition, timeout=LOOK_S)
            except KafkaException as error:
                self._away(error.args[0].str())
                return
            self._behind[partition.partition] = end
        self._consumer.assign(partitions)
        self._partitions = count

    def _connected(self) -> None:
        if self.state == "connected":
            return
        _log.info("connected to Kafka at %s, following %s", self._settings.bootstrap, DECISIONS)
        self.state = "connected"

    def _no_topic(self) -> None:
        if self.state != "no topic":
            _log.warning(
                "Kafka at %s has no topic %s, so all mail is let through. Try: goaway topics create",
                self._settings.bootstrap,
                DECISIONS,
            )
        self.state = "no topic"
        self._partitions = 0
        self._look_at = time.monotonic() + LOOK_S

    def _away(self, why: str) -> None:
        if self.state != "away":
            _log.warning(
                "Kafka at %s does not answer (%s): answering from the %d decisions known, until they expire",
                self._settings.bootstrap,
                printable(why, 200),
                len(self._known.table),
            )
        self.state = "away"
        self._look_at = time.monotonic() + LOOK_S

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._why = error.str()
            return
        self._away(self._why or error.str())

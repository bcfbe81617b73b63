"""The topic, read from its beginning whatever becomes of Kafka; each thing that becomes of it is said once.

    starting ──answers, has the topic──▶ connected ◀──▶ away · no topic

A broker in memory that comes back empty has another name than before, and is read from the beginning again.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from streams.config import KafkaSettings
from streams.kafka import NO_TOPIC, onlooker
from streams.topics import POLICY

ReadingState = Literal["starting", "connected", "away", "no topic"]

FETCH_WAIT_MS: Final = 10
"""Longest time a broker may sit on a fetch: bounds what a change waits for on brokers that only look for news
when the time is up."""
POLL_S: Final = 0.1
LOOK_S: Final = 1.0
"""Pause between looks at a Kafka that is away, or at a topic that is missing."""

_log = logging.getLogger(__package__)  # for its readers it is the follower that speaks


class Reading:
    """A consumer of a topic of one partition, without a group. Used by one thread; `state` by any.

    `on_beginning(renewed)` is called before records are read from the first one on: whether they are those of
    a log that was not read before. `version` tells which policy is in force.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        *,
        on_beginning: Callable[[bool], None],
        version: Callable[[], str],
    ) -> None:
        """`SettingsError` where the settings cannot be used."""
        self.state: ReadingState = "starting"
        self._settings = settings
        self._topic = topic
        self._of_kafka = logging.WARNING if topic == POLICY else logging.DEBUG
        """Level of what the follower of the policy says too."""
        self._on_beginning = on_beginning
        self._version = version
        self._cluster = ""
        """Kafka's own name. Another one is another log: a broker in memory that came back empty."""
        self._assigned = False
        self._look_at = 0.0
        self._why = ""
        self._consumer = onlooker(
            settings,
            "goaway-policy",
            wait_ms=FETCH_WAIT_MS,
            auto_offset_reset="earliest",
            fetch_error_backoff_ms=100,
            error_cb=self._on_error,
        )

    def next(self) -> Any:
        """The next record, or the message (its `error()` says so) that the end of what there is was reached;
        None where neither comes within `POLL_S`."""
        if not self._assigned or self.state != "connected":
            self._look()
        record = self._consumer.poll(POLL_S)
        if record is None:
            return None
        error = record.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return record
        if error.code() in NO_TOPIC:
            self._no_topic()
        else:
            _log.warning("Kafka at %s: %s", self._settings.bootstrap, error.str())
        return None

    def begin_again(self) -> None:
        """Read from the beginning with the next look."""
        self._assigned = False

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()

    def _look(self) -> None:
        """See whether Kafka answers and the topic is there; read it from its start where it is a new one."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        try:
            cluster = self._consumer.list_topics(self._topic, timeout=LOOK_S)
        except KafkaException as error:
            self._away(error.args[0].str())
            return
        found = cluster.topics[self._topic]
        if found.error is not None or not found.partitions:
            self._no_topic()
            return
        if self.state != "connected":
            _log.info("connected to Kafka at %s, following %s", self._settings.bootstrap, self._topic)
            self.state = "connected"
        name = cluster.cluster_id or ""
        if name != self._cluster or not self._assigned:
            self._begin(name)

    def _begin(self, cluster: str) -> None:
        self._on_beginning(cluster != self._cluster)
        self._cluster = cluster
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._assigned = True

    def _no_topic(self) -> None:
        if self.state != "no topic":
            _log.log(
                self._of_kafka,
                "Kafka at %s has no topic %s: policy %s stays in force. Try: goaway topics create",
                self._settings.bootstrap,
                self._topic,
                self._version(),
            )
        self.state = "no topic"
        self._assigned, self._cluster = False, ""

    def _away(self, why: str) -> None:
        if self.state != "away":
            _log.log(
                self._of_kafka,
                "Kafka at %s does not answer (%s): policy %s stays in force",
                self._settings.bootstrap,
                ascii(why)[1:-1][:200],
                self._version(),
            )
        self.state = "away"

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._why = error.str()
            return
        self._away(self._why or error.str())

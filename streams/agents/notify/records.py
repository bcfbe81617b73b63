"""The stage's side of Kafka: records in, offsets back once they are delivered, its own warnings out."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.agents.notify.progress import Commit, Place, Progress
from streams.config import KafkaSettings
from streams.kafka import client_config, unusable
from streams.model.decision import LimitWarning
from streams.topics import DECISIONS, WARNINGS
from streams.wire.frames import encode

GROUP: Final = "goaway-notify"
TOPICS: Final = (WARNINGS, DECISIONS)
SESSION_S: Final = 6.0
_AT_ONCE: Final = 1000
_TIMEOUT_S: Final = 5.0
_FETCH_AHEAD_KB: Final = 8 * 1024

_log = logging.getLogger(__name__)


class Records:
    """A member of the group `goaway-notify`. `told` gets the ids that the group told beyond its offsets.

    First start of the group: it begins with what is written from then on. `SettingsError` where the settings
    cannot be used.
    """

    def __init__(
        self, settings: KafkaSettings, progress: Progress, told: Callable[[Iterable[str]], None]
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._told = told
        self._why = ""
        self.away = True
        """Whether Kafka does not answer (yet)."""
        self.partitions = 0
        """Partitions of both topics that are ours."""
        self._broken = False
        self._consumer = self._open()
        self._producer = Producer(
            client_config(
                settings,
                client_id="goaway-notify",
                message_timeout_ms=0,
                queue_buffering_max_messages=1000,
                error_cb=lambda _: None,
            ),
            logger=_log,
        )

    def read(self, timeout_s: float) -> list[tuple[Place, int, bytes]]:
        """Records that lie there: place, offset, value. Waits so long where there are none."""
        if self._broken:
            self._reopen()
        found: list[tuple[Place, int, bytes]] = []
        try:
            records = self._consumer.consume(num_messages=_AT_ONCE, timeout=timeout_s)
        except KafkaException as error:
            self._say_away(error.args[0].str())
            self._broken = True
            return found
        if self._broken:  # the assignment failed; what was read meanwhile begins who knows where
            return found
        for record in records:
            fault = record.error()
            if fault is None:
                self._connected()
                if record.value() is not None:
                    found.append(((record.topic(), record.partition()), record.offset(), record.value()))
            elif fault.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
                self._say_away("topics are missing. Try: goaway topics create")
            else:
                self._say_away(fault.str())
        return found

    def commit(self, commits: Iterable[Commit]) -> None:
        """Commit without waiting; one that fails is made again with the next."""
        if places := [_partition(commit) for commit in commits]:
            try:
                self._consumer.commit(offsets=places, asynchronous=True)
            except KafkaException as error:
                self._on_commit(error.args[0], places)

    def record(self, warning: LimitWarning) -> None:
        """Put a warning of ours on `smtp.warnings`, when Kafka is there; beyond a bound it is left out."""
        with contextlib.suppress(BufferError):
            self._producer.produce(WARNINGS, encode(warning), warning.client)
        self._producer.poll(0)

    def close(self, commits: Iterable[Commit]) -> None:
        """Commit, and leave the group; a few seconds at most."""
        self._producer.flush(2.0)
        if not self.away and (places := [_partition(commit) for commit in commits]):
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=places, asynchronous=False)
        self._consumer.close()

    def _open(self) -> Consumer:
        config = client_config(
            self._settings,
            group_id=GROUP,
            client_id="goaway-notify",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(SESSION_S * 1000),
            heartbeat_interval_ms=2000,
            queued_max_messages_kbytes=_FETCH_AHEAD_KB,
            fetch_wait_max_ms=100,
            error_cb=self._on_error,
            topic_metadata_refresh_interval_ms=10_000,
        )
        try:
            consumer = Consumer({**config, "on_commit": self._on_commit}, logger=_log)
            consumer.subscribe(list(TOPICS), on_assign=self._on_assign, on_revoke=self._on_revoke)
        except (KafkaException, ValueError) as error:
            raise unusable(error) from error
        return consumer

    def _reopen(self) -> None:
        self._consumer.close()
        self._broken = False
        self._consumer = self._open()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            begun = []
            for known in consumer.committed(partitions, timeout=_TIMEOUT_S) if partitions else ():
                place = (known.topic, known.partition)
                if known.offset >= 0:
                    start, told = self._progress.assigned(place, known.offset, known.metadata or "")
                    self._told(told)
                    begun.append(TopicPartition(*place, start))
                else:
                    _, end = consumer.get_watermark_offsets(known, timeout=_TIMEOUT_S, cached=False)
                    begun.append(_partition(self._progress.begins(place, end)))
                    # at once: what comes from now on must not be skipped by the next start
                    consumer.commit(offsets=[begun[-1]], asynchronous=False)
            consumer.assign(begun)
            self.partitions = len(begun)
            self._connected()
        except KafkaException as error:
            self._broken = True
            self._say_away(error.args[0].str())

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self.partitions = 0
        self._progress.revoked((it.topic, it.partition) for it in partitions)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for it in partitions:
            if error is not None or it.error is not None:
                self._progress.failed((it.topic, it.partition))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._why = error.str()
        else:
            self._say_away(self._why or error.str())

    def _connected(self) -> None:
        if self.away:
            _log.info("connected to Kafka at %s", self._settings.bootstrap)
        self.away = False

    def _say_away(self, why: str) -> None:
        if not self.away or self._why != why:
            _log.warning("Kafka at %s: %s", self._settings.bootstrap, ascii(why)[1:200])
        self.away, self._why = True, why


def _partition(commit: Commit | Any) -> TopicPartition:
    return TopicPartition(*commit.place, commit.offset, commit.metadata)

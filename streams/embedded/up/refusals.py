"""The latest blocks, for a person to look at: follows `smtp.decisions` beside the shim."""

import logging
import threading
import time
from collections import deque
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from msgspec.structs import replace

from streams.config import KafkaSettings
from streams.errors import InvalidValueError
from streams.kafka import onlooker
from streams.model.decision import Decision
from streams.topics import DECISIONS
from streams.wire.frames import decode_decision

KEPT: Final = 200
_log = logging.getLogger(__name__)


class Refusals(threading.Thread):
    """Keeps the last blocks by time, each with the end that it has come to; `latest` is safe to read from any
    thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(name="refusals", daemon=True)
        self._settings = settings
        self._ids: set[str] = set()
        self._kept: deque[Decision] = deque(maxlen=KEPT)
        self._stop = threading.Event()
        self._trouble = threading.Event()
        self.seen = 0
        """Distinct blocks so far, those in shadow too."""
        self.refused = 0
        """Of these, those not in shadow."""

    def run(self) -> None:
        """Follow until `stop`; a broker that is away or starts anew is waited for."""
        while not self._stop.is_set():
            try:
                self._follow()
            except KafkaException as error:
                _log.debug("decisions cannot be followed now: %s", error)
                self._stop.wait(1.0)

    def stop(self) -> None:
        """End the thread soon."""
        self._stop.set()

    def latest(self, count: int) -> list[Decision]:
        """The last decisions, newest first."""
        return sorted(self._kept, key=lambda decision: -decision.at)[:count]

    def since(self, number: int) -> list[Decision]:
        """Decisions seen after the first `number`, in order of arrival, as far as they are kept."""
        kept = list(self._kept)
        return kept[len(kept) - min(len(kept), self.seen - number) :] if self.seen > number else []

    def _follow(self) -> None:
        consumer = onlooker(
            self._settings,
            "goaway-screen",
            wait_ms=100,
            auto_offset_reset="earliest",
            error_cb=lambda _: self._trouble.set(),
        )
        try:
            found = consumer.list_topics(DECISIONS, timeout=5)
            topics = found.topics
            partitions = sorted(topics[DECISIONS].partitions) if DECISIONS in topics else []
            if not partitions:
                self._stop.wait(0.5)
                return
            consumer.assign([TopicPartition(DECISIONS, number, 0) for number in partitions])
            self._trouble.clear()
            while not self._stop.is_set():
                message = consumer.poll(0.2)
                if self._trouble.is_set():
                    # a broker in memory that came back is another cluster: its offsets begin at 0 again
                    if consumer.list_topics(DECISIONS, timeout=2).cluster_id != found.cluster_id:
                        return
                    self._trouble.clear()
                if message is not None and message.error() is None and (value := message.value()):
                    self._take(value)
        finally:
            consumer.close()

    def _take(self, value: bytes) -> None:
        try:
            decision = decode_decision(value)
        except InvalidValueError:
            return
        if decision.action == "release":
            self._release(decision)
        elif decision.id not in self._ids and decision.action == "block":
            if len(self._ids) > 100 * KEPT:
                self._ids = {kept.id for kept in self._kept}
            self._ids.add(decision.id)
            self._kept.append(decision)
            self.seen += 1
            self.refused += not decision.shadow

    def _release(self, release: Decision) -> None:
        for place, kept in enumerate(self._kept):
            if (
                kept.key == release.key
                and kept.at <= release.at
                and (kept.until is None or kept.until > release.at)
            ):
                self._kept[place] = replace(kept, until=release.at)


def recent(settings: KafkaSettings, count: int, *, wait_s: float = 2.0) -> list[Decision]:
    """The latest decisions that can be read within `wait_s`."""
    follower = Refusals(settings)
    follower.start()
    deadline, quiet_since, seen = time.monotonic() + wait_s, time.monotonic(), 0
    while time.monotonic() < deadline and time.monotonic() - quiet_since < wait_s / 2:
        time.sleep(0.05)
        if follower.seen != seen:
            seen, quiet_since = follower.seen, time.monotonic()
    follower.stop()
    return follower.latest(count)

"""The latest blocks, for a person to look at: follows `smtp.decisions` beside the shim."""

import logging
import threading
import time
from heapq import heappop, heappush
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from msgspec.structs import replace

from streams.config import KafkaSettings
from streams.errors import InvalidValueError, UnavailableError
from streams.kafka import onlooker, partition_counts
from streams.model.decision import Decision
from streams.recorded import records
from streams.topics import DECISIONS
from streams.wire.frames import decode_decision

KEPT: Final = 200
READ_S: Final = 10.0
"""How long `recent` reads at most."""
_FOLLOWED_S: Final = 0.5
"""For how long records that come after the ends are read too."""
_log = logging.getLogger(__name__)


class Refusals(threading.Thread):
    """Keeps the last blocks by time, each with the end that it has come to; `latest` is safe to read from any
    thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(name="refusals", daemon=True)
        self._settings = settings
        self._ids: set[str] = set()
        self._kept: dict[str, tuple[int, Decision]] = {}
        """Id → its number and the block, in order of arrival."""
        self._by_time: list[tuple[int, str]] = []
        """A heap of what is kept: partitions are read one after the other, so what comes last may be old."""
        self._of_key: dict[str, list[str]] = {}
        """Key → ids of those that are kept."""
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
        kept = [decision for _, decision in list(self._kept.values())]
        return sorted(kept, key=lambda decision: -decision.at)[:count]

    def since(self, number: int) -> list[Decision]:
        """Decisions seen after the first `number`, in order of arrival, as far as they are kept."""
        return [decision for place, decision in list(self._kept.values()) if place > number]

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
                    self.take(value)
        finally:
            consumer.close()

    def take(self, value: bytes) -> None:
        """Take one record's value in; what is no decision is passed over."""
        try:
            decision = decode_decision(value)
        except InvalidValueError:
            return
        if decision.action == "release":
            self._release(decision)
        elif decision.id not in self._ids and decision.action == "block":
            if len(self._ids) > 100 * KEPT:
                self._ids = set(self._kept)
            self._ids.add(decision.id)
            self._keep(decision, self.seen + 1)
            self.seen += 1
            self.refused += not decision.shadow

    def _keep(self, block: Decision, number: int) -> None:
        self._kept[block.id] = number, block
        heappush(self._by_time, (block.at, block.id))
        self._of_key.setdefault(block.key, []).append(block.id)
        if len(self._kept) > KEPT:
            _, gone = self._kept.pop(heappop(self._by_time)[1])
            ids = self._of_key[gone.key]
            ids.remove(gone.id)
            if not ids:
                del self._of_key[gone.key]

    def _release(self, release: Decision) -> None:
        for name in self._of_key.get(release.key, ()):
            number, kept = self._kept[name]
            if kept.at <= release.at and (kept.until is None or kept.until > release.at):
                self._kept[name] = number, replace(kept, until=release.at)


def recent(settings: KafkaSettings, count: int, *, longest_s: float = READ_S) -> tuple[list[Decision], bool]:
    """The latest blocks, newest first, and whether all were read: up to the partitions' ends.

    `UnavailableError` where Kafka is away.
    """
    known = Refusals(settings)
    places = [
        TopicPartition(DECISIONS, number, 0) for number in range(partition_counts(settings).get(DECISIONS, 0))
    ]
    if not places:
        return [], True
    begun = time.monotonic()
    try:
        for message in records(settings, places, longest_s=longest_s, after_end_s=_FOLLOWED_S):
            if value := message.value():
                known.take(value)
    except UnavailableError:
        if time.monotonic() - begun < longest_s:
            raise
        return known.latest(count), False
    return known.latest(count), True

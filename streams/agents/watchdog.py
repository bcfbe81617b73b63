"""Notices a worker that stands still: records wait, and the offset does not move.

A Kafka consumer inside Faust can die in silence. The process is then ended, loudly, and its supervisor
starts another; nothing is lost, since the offset was not committed.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.config import KafkaSettings
from streams.kafka import client_config
from streams.topics import EVENTS

PATIENCE_S: Final = 30.0
LOOK_EVERY_S: Final = 3.0
EXIT_CODE: Final = 75
"""EX_TEMPFAIL: start me again."""

NEVER_JOINED: Final = -1
"""Stands for the partition in a stall of a worker that was never told which partitions it has."""

_log = logging.getLogger(__name__)


def end_process(partition: int, waited_s: float) -> None:
    """Say it and go; the interpreter's own shutdown could hang on the thread that stands still."""
    if partition == NEVER_JOINED:
        _log.critical("no partitions were assigned for %.0f s; ending", waited_s)
    else:
        _log.critical(
            "partition %d: records wait and none was processed for %.0f s; ending", partition, waited_s
        )
    logging.shutdown()
    os._exit(EXIT_CODE)


class Watchdog(threading.Thread):
    """Looks every few seconds from a connection of its own, so that it does not die of the same cause.

    `positions` tells the next offset of each partition that this worker has: None where nothing of it was
    processed yet (it then stands at what `group` has committed); None altogether before any assignment.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        positions: Callable[[], Mapping[int, int | None] | None],
        *,
        patience_s: float = PATIENCE_S,
        on_stall: Callable[[int, float], None] = end_process,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._settings = settings
        self._group = group
        self._positions = positions
        self._patience_s = patience_s
        self._on_stall = on_stall
        self._moved: dict[int, tuple[int, float]] = {}
        self._away = False
        self.lag = 0
        """Records that wait, over all partitions of this worker, at the last look."""

    def run(self) -> None:
        """Look for as long as the process lives."""
        # it never subscribes, so it is no member of the group
        consumer = Consumer(client_config(self._settings, **{"group.id": self._group}), logger=_log)
        while True:
            time.sleep(min(LOOK_EVERY_S, self._patience_s / 3))
            try:
                self.look(consumer, time.monotonic())
            except KafkaException as error:
                self._moved.clear()
                if not self._away:
                    _log.error("Kafka at %s is away: %s", self._settings.bootstrap, error.args[0].str())
                self._away = True
            else:
                if self._away:
                    _log.warning("Kafka at %s is back", self._settings.bootstrap)
                self._away = False

    def look(self, consumer: Consumer, now: float) -> None:
        """Compare positions with the partitions' ends; call `on_stall` where one has stood still too long."""
        told = self._positions()
        positions = {NEVER_JOINED: None} if told is None else dict(told)
        lag = 0
        for partition, position in positions.items():
            stands, end = (0, 1) if partition == NEVER_JOINED else self._place(consumer, partition, position)
            if partition != NEVER_JOINED:
                lag += max(0, end - stands)
            else:
                consumer.list_topics(EVENTS, timeout=5)  # it is only held against a Kafka that answers
            stood = self._moved.get(partition)
            if stood is None or stood[0] != stands or end <= stands:
                self._moved[partition] = (stands, now)
            elif now - stood[1] > self._patience_s:
                self._on_stall(partition, now - stood[1])
        self.lag = lag
        for gone in self._moved.keys() - positions.keys():
            del self._moved[gone]

    @staticmethod
    def _place(consumer: Consumer, partition: int, position: int | None) -> tuple[int, int]:
        """Where the worker stands in a partition, and where that ends."""
        place = TopicPartition(EVENTS, partition)
        low, end = consumer.get_watermark_offsets(place, timeout=5, cached=False)
        if position is None:
            committed = consumer.committed([place], timeout=5)[0].offset
            position = committed if committed >= 0 else low
        return position, end

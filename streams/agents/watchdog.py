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

_log = logging.getLogger(__name__)


def end_process(partition: int, waited_s: float) -> None:
    """Say it and go; the interpreter's own shutdown could hang on the thread that stands still."""
    _log.critical("partition %d: records wait and none was processed for %.0f s; ending", partition, waited_s)
    logging.shutdown()
    os._exit(EXIT_CODE)


class Watchdog(threading.Thread):
    """Looks every few seconds from a connection of its own, so that it does not die of the same cause."""

    def __init__(
        self,
        settings: KafkaSettings,
        positions: Callable[[], Mapping[int, int]],
        *,
        patience_s: float = PATIENCE_S,
        on_stall: Callable[[int, float], None] = end_process,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._settings = settings
        self._positions = positions
        self._patience_s = patience_s
        self._on_stall = on_stall
        self._moved: dict[int, tuple[int, float]] = {}
        self.lag = 0
        """Records that wait, over all partitions of this worker, at the last look."""

    def run(self) -> None:
        """Look for as long as the process lives."""
        consumer = Consumer(client_config(self._settings, **{"group.id": "goaway-watchdog"}), logger=_log)
        while True:
            time.sleep(min(LOOK_EVERY_S, self._patience_s / 3))
            try:
                self.look(consumer, time.monotonic())
            except KafkaException as error:
                _log.warning("the watchdog cannot see Kafka: %s", error.args[0].str())
                self._moved.clear()

    def look(self, consumer: Consumer, now: float) -> None:
        """Compare positions with the partitions' ends; call `on_stall` where one has stood still too long."""
        positions = dict(self._positions())
        lag = 0
        for partition, position in positions.items():
            _, end = consumer.get_watermark_offsets(
                TopicPartition(EVENTS, partition), timeout=5, cached=False
            )
            lag += max(0, end - position)
            stood = self._moved.get(partition)
            if stood is None or stood[0] != position or end <= position:
                self._moved[partition] = (position, now)
            elif now - stood[1] > self._patience_s:
                self._on_stall(partition, now - stood[1])
        self.lag = lag
        for gone in self._moved.keys() - positions.keys():
            del self._moved[gone]

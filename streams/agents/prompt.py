"""Faust's own waits, cut: between a start and the first event, between an event and its decision.

Faust 0.15 has no settings for these, so its classes are extended at the places it names for that.
"""

import logging
from typing import Any, Final

from faust.tables.manager import TableManager
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

FETCH_WAIT_MS: Final = 20
"""How long the broker may hold back an empty answer. Faust asks for 1 500 ms; Apache Kafka answers as soon as
there is something, but the embedded broker only looks again after half of it."""


# Faust's services log their coming and going under the module of their class
logging.getLogger(__name__).setLevel(logging.WARNING)


class _ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when the consumer starts
        return consumer


class _Consumer(Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class PromptTransport(Transport):  # type: ignore[misc]
    """The aiokafka transport, with `FETCH_WAIT_MS`."""

    Consumer = _Consumer


class NoTables(TableManager):  # type: ignore[misc]
    """Faust waits a second for tables to be declared; this app has none."""

    async def on_start(self) -> None:
        """As Faust's, without the second."""
        await self._update_channels()
        await self.recovery.start()

"""The Faust app `decide`: frames in, decisions and warnings out.

At least once: a frame is acknowledged after its output was, and output has ids derived from its events, so
what a crash repeats is the same record again. A partition's ledger is rebuilt whenever the offset that Faust
delivers is not the one the ledger is exact for: after a start, a rebalance, a crash.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

import faust
from faust.types.auth import SASLMechanism

from streams.agents.fold import OFFSET_HEADER, bring_to
from streams.agents.ledger import Ledger, Passed
from streams.config import KafkaSettings
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS
from streams.model.standing import PolicyIndex
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, WARNINGS
from streams.wire.frames import encode

GROUP: Final = "goaway-decide"
SESSION_TIMEOUT_S: Final = 8.0
"""Faust's own default is 60 s: a dead worker's partitions would stand still for a minute."""

_log = logging.getLogger(__name__)


class Ledgers:
    """The ledgers of the partitions that this worker has, each exact for the offset it is asked for."""

    def __init__(self, index: PolicyIndex, settings: KafkaSettings, partitions: int) -> None:
        self.index: Final = index
        self.by_partition: dict[int, Ledger] = {}
        self._settings = settings
        self._partitions = partitions

    async def at(self, partition: int, offset: int) -> Ledger:
        """The ledger exact for this offset: as it stands, caught up, or built anew."""
        ledger = self.by_partition.get(partition)
        if ledger is not None and ledger.next_offset == offset:
            return ledger
        if ledger is None or ledger.next_offset > offset:
            counts = ledger.counts if ledger else None
            ledger = Ledger(self.index, partition, self._partitions)
            ledger.counts = counts or ledger.counts
        if ledger.next_offset != offset:
            await asyncio.to_thread(bring_to, ledger, self._settings, offset)
        self.by_partition[partition] = ledger
        return ledger

    def drop(self, partitions: set[int]) -> None:
        """Forget partitions that went to another worker."""
        for partition in partitions:
            self.by_partition.pop(partition, None)


def _credentials(settings: KafkaSettings) -> Any:
    if settings.security == "PLAINTEXT":
        return None
    import ssl

    context = None
    if settings.security.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.ca or None)
    if settings.security == "SSL":
        return faust.SSLCredentials(context=context)
    return faust.SASLCredentials(
        username=settings.user,
        password=settings.password,
        ssl_context=context,
        mechanism=SASLMechanism(settings.mechanism),
    )


def make_app(
    settings: KafkaSettings, ledgers: Ledgers, *, partitions: int, datadir: str, instance: str = ""
) -> faust.App:
    """The app, not started. ARCHITECTURE.md has the reasons for each setting that is not Faust's default."""
    app = faust.App(
        GROUP,
        broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=SESSION_TIMEOUT_S / 4,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance or None,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_batch_size=1,
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        datadir=datadir,
        key_serializer="raw",
        value_serializer="raw",
    )

    def topic(name: str) -> Any:
        return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    events, decisions, warnings, letters = map(topic, (EVENTS, DECISIONS, WARNINGS, DEADLETTERS))

    async def emit(ledger: Ledger, offset: int, passed: Passed) -> None:
        """Send what came of a frame and wait until Kafka has it."""
        sent: list[Awaitable[Any]] = []
        for outcome in passed.outcomes:
            if isinstance(outcome, Decision):
                where, key = decisions, f"{outcome.trigger}:{outcome.client}"
            else:
                where, key = warnings, str(outcome.client)
            sent.append(
                await where.send(
                    key=key.encode(),
                    value=encode(outcome),
                    partition=ledger.partition,
                    headers={OFFSET_HEADER: str(offset).encode()},
                )
            )
        for letter in passed.letters:
            sent.append(await letters.send(key=letter.source.encode(), value=encode(letter)))
        await asyncio.gather(*sent)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def decide(stream: Any) -> None:
        # acknowledged by hand: Faust would also acknowledge a frame whose agent was cancelled or failed
        async for event in stream.noack().events():
            message = event.message
            ledger = await ledgers.at(message.partition, message.offset)
            stamp_us = int(message.timestamp * MICROSECONDS) if message.timestamp else 1 << 62
            passed = ledger.process(message.offset, event.value or b"", record_us=stamp_us)
            if passed.outcomes or passed.letters:
                await emit(ledger, message.offset, passed)
            event.ack()

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def revoked(_: Any, gone: Any, **__: Any) -> None:
        ledgers.drop({place.partition for place in gone if place.topic == EVENTS})

    return app

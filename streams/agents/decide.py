"""The Faust app `decide`: frames in, decisions and warnings out.

At least once: a frame is acknowledged after its output was, and output has ids derived from its events, so
what a crash repeats is the same record again. A partition's ledger is rebuilt whenever the offset that Faust
delivers is not the one the ledger is exact for: after a start, a rebalance, a crash.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import faust

from streams.agents.candidate import Candidate, Tried
from streams.agents.fold import Missed, bring_to
from streams.agents.ledger import Counts, Ledger, Passed
from streams.agents.policies import Policies
from streams.agents.stage import SESSION_TIMEOUT_S, end_at_once, raw_topic, stamp_us
from streams.agents.stage import make_app as stage_app
from streams.config import KafkaSettings
from streams.model.decision import Decision
from streams.model.marker import marker
from streams.model.standing import PolicyIndex
from streams.topics import (
    CANDIDATE_HEADER,
    DEADLETTERS,
    DECISIONS,
    EVENTS,
    OFFSET_HEADER,
    SHADOW,
    WARNINGS,
)
from streams.wire.frames import encode, encode_frame

GROUP: Final = "goaway-decide"
MARK_EVERY_S: Final = 0.02
"""How often the worker looks for a policy that its partitions are not marked with."""


class Ledgers:
    """The ledgers of the partitions that this worker has, each exact for the offset it is asked for."""

    def __init__(
        self,
        policies: Policies,
        settings: KafkaSettings,
        partitions: int,
        candidate: Callable[[], Candidate | None] = lambda: None,
    ) -> None:
        self.policies: Final = policies
        self.candidate: Final = candidate
        self.by_partition: dict[int, Ledger] = {}
        self.gone: Final = Counts()
        """What passed through partitions that went to another worker: a counter never goes back."""
        self.assigned: set[int] | None = None
        """Partitions of this worker; None until it was told."""
        self._settings = settings
        self._partitions = partitions
        self._folding = False
        self._marked: dict[int, int] = {}
        """Partition → number of the change whose marker was written into it last."""

    def unmarked(self) -> list[tuple[int, int, int, PolicyIndex]]:
        """Partitions that need a marker: (partition, number, number before it, policy).

        Each partition is marked when it is taken over, too, so that markers are never far apart in a stream.
        """
        number, index = self.policies.current
        found = []
        for partition in sorted(self.assigned or ()):
            before = self._marked.get(partition, -1)
            if number > 0 and before < number:
                ledger = self.by_partition.get(partition)
                found.append((partition, number, ledger.number if ledger else max(before, 0), index))
        return found

    def has_marked(self, partition: int, number: int) -> None:
        """Note that the marker of this change was written."""
        self._marked[partition] = number

    def positions(self) -> dict[int, int | None] | None:
        """For the watchdog: see there. Empty while a fold runs, which watches over itself."""
        if self.assigned is None or self._folding:
            return {} if self._folding else None
        ledgers = dict(self.by_partition)
        return {
            number: ledgers[number].next_offset if number in ledgers else None for number in self.assigned
        }

    async def at(self, partition: int, offset: int) -> tuple[Ledger, list[Missed]]:
        """The ledger exact for this offset, as it stands or built anew, once these frames were processed."""
        ledger = self.by_partition.get(partition)
        if ledger is not None and ledger.next_offset == offset:
            return ledger, []
        if ledger is None or ledger.next_offset > offset:
            counts = ledger.counts if ledger else None
            ledger = Ledger(self.policies, partition, self._partitions, self.candidate)
            ledger.counts = counts or ledger.counts
        missed: list[Missed] = []
        if ledger.next_offset != offset:
            self._folding = True
            try:
                missed = await asyncio.to_thread(bring_to, ledger, self._settings, GROUP, offset)
            finally:
                self._folding = False
        self.by_partition[partition] = ledger
        return ledger, missed

    def drop(self, partitions: set[int]) -> None:
        """Forget partitions that went to another worker."""
        self.assigned = (self.assigned or set()) - partitions
        for partition in partitions:
            self._marked.pop(partition, None)
            if (ledger := self.by_partition.pop(partition, None)) is not None:
                self.gone.add(ledger.counts)


async def emit_tried(topic: Any, ledger: Ledger, offset: int, tried: Tried) -> None:
    """Send what a candidate decided; where that fails, its trial ends in this partition, and nothing else."""
    try:
        sent: list[Awaitable[Any]] = [
            await topic.send(
                key=key.encode(),
                value=value,
                partition=ledger.partition,
                headers={OFFSET_HEADER: str(offset).encode(), CANDIDATE_HEADER: of.encode()},
            )
            for key, value, of in tried.records()
        ]
        await asyncio.gather(*sent)
    except Exception:
        ledger.beside.give_up()


def make_app(
    settings: KafkaSettings,
    ledgers: Ledgers,
    *,
    partitions: int,
    datadir: str,
    instance: str = "",
    session_timeout_s: float = SESSION_TIMEOUT_S,
) -> faust.App:
    """The app, not started."""
    app = stage_app(
        settings,
        GROUP,
        partitions=partitions,
        datadir=datadir,
        instance=instance,
        session_timeout_s=session_timeout_s,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_batch_size=1,
    )
    events, decisions, warnings, letters, shadow = (
        raw_topic(app, name) for name in (EVENTS, DECISIONS, WARNINGS, DEADLETTERS, SHADOW)
    )

    async def emit(ledger: Ledger, offset: int, passed: Passed) -> None:
        """Send what came of a frame and wait until Kafka has it."""
        sent: list[Awaitable[Any]] = []
        for outcome in passed.outcomes:
            if isinstance(outcome, Decision):
                where, key = decisions, outcome.key
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
        if passed.tried is not None:
            await emit_tried(shadow, ledger, offset, passed.tried)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def decide(stream: Any) -> None:
        # acknowledged by hand: Faust would also acknowledge a frame whose agent was cancelled or failed
        async for event in stream.noack().events():
            try:
                message = event.message
                ledger, missed = await ledgers.at(message.partition, message.offset)
                this = Missed(message.offset, event.value or b"", stamp_us(message.timestamp))
                for frame in (*missed, this):
                    passed = ledger.process(frame.offset, frame.frame, record_us=frame.record_us)
                    if passed.outcomes or passed.letters or passed.tried is not None:
                        await emit(ledger, frame.offset, passed)
            except Exception as error:
                end_at_once(error)
            event.ack()

    @app.task  # type: ignore[untyped-decorator]
    async def mark() -> None:
        """Write the marker of a new policy as soon as the follower has it."""
        while not app.should_stop:
            for partition, number, after, index in ledgers.unmarked():
                event = marker(partition, number, after, index.version, time.time_ns() // 1000)
                sent = await events.send(value=encode_frame([event]), partition=partition)
                await sent
                ledgers.has_marked(partition, number)
            await asyncio.sleep(MARK_EVERY_S)

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def assigned(_: Any, got: Any, **__: Any) -> None:
        ledgers.assigned = {place.partition for place in got if place.topic == EVENTS}

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def revoked(_: Any, gone: Any, **__: Any) -> None:
        ledgers.drop({place.partition for place in gone if place.topic == EVENTS})

    return app

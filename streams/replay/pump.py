"""A history into `smtp.events`, as if it happened now: load for a pipeline that is to be tested or measured.

Each event gets an id of its own run and no source, so neither worker nor sink takes it for one it has. What
is no client's doing (markers, an administrator's word) is left out.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec.structs import replace

from streams.config import KafkaSettings
from streams.kafka import client_config, events_partitions, unavailable
from streams.model.client import Client
from streams.model.decision import derived_id
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.replay.order import Batches
from streams.topics import EVENTS
from streams.wire.frames import encode
from streams.wire.partition import partition_of

FRAME_EVENTS: Final = 200
_TICK_S: Final = 0.01
"""How long an event may wait for company where the speed is finite."""
_TIMEOUT_S: Final = 30.0
_MOST_WAITING: Final = 20_000
"""Records that are under way at once: bounds the memory."""
_LEFT_OUT: Final = frozenset(("policy", "forget", "learnt"))


@dataclass(slots=True)
class Pumped:
    """What was sent."""

    events: int = 0
    frames: int = 0
    seconds: float = 0.0
    behind_s: float = 0.0
    """How far behind its pace it was at worst."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Event time of the history → of now: `begins` + (at - `first`) / `speed`."""

    first: int
    begins: int
    speed: float = 1.0
    run: str = ""

    def of(self, event: Event) -> Event:
        """The event as it is sent."""
        at = self.begins + round((event.at - self.first) / self.speed)
        return replace(
            event, id=derived_id(event.id, self.run), at=Instant(max(0, at)), source="", position=0
        )


@dataclass(slots=True)
class _Frame:
    clients: set[Client] = field(default_factory=set)
    lines: list[bytes] = field(default_factory=list)


class Pump:
    """Sends. Every event goes to its client's partition; each partition's are in the history's order."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.pumped = Pumped()
        self._settings = settings
        self._partitions = events_partitions(settings)
        self._failures: list[str] = []
        self._frames: dict[int, _Frame] = {}
        self._producer = Producer(
            client_config(
                settings,
                client_id="goaway-replay",
                acks="all",
                compression_type="lz4",
                linger_ms=2,
                max_in_flight=1,
                message_timeout_ms=int(_TIMEOUT_S * 1000),
                queue_buffering_max_messages=2 * _MOST_WAITING,
            )
        )

    def run(self, batches: Batches, shift: Shift, *, paced: bool) -> Pumped:
        """Send all; `paced`: each when its new time has come. `UnavailableError` where Kafka fails."""
        started = time.monotonic()
        pumped = self.pumped
        for events in self._due(batches, shift, paced, started):
            for event in events:
                self._add(shift.of(event))
            if paced:
                self._close_all()
            self._producer.poll(0)
            pumped.events += len(events)
            pumped.seconds = time.monotonic() - started
        self._close_all()
        left = self._producer.flush(_TIMEOUT_S)
        if left or self._failures:
            raise unavailable(self._settings, self._failures[0] if self._failures else "no acknowledgement")
        pumped.seconds = time.monotonic() - started
        return pumped

    def _due(self, batches: Batches, shift: Shift, paced: bool, started: float) -> Iterator[list[Event]]:
        """Events in portions, each when it is due."""
        for batch in batches:
            events = [event for event in batch.items if event.kind not in _LEFT_OUT]
            if not paced:
                yield events
                continue
            place = 0
            while place < len(events):
                ahead_s = (events[place].at - shift.first) / shift.speed / MICROSECONDS
                late_s = time.monotonic() - started - ahead_s
                if late_s < 0:
                    time.sleep(min(-late_s, 1.0))
                    continue
                self.pumped.behind_s = max(self.pumped.behind_s, late_s)
                until = shift.first + (ahead_s + late_s + _TICK_S) * shift.speed * MICROSECONDS
                end = place + 1
                while end < len(events) and events[end].at < until:
                    end += 1
                yield events[place:end]
                place = end

    def _add(self, event: Event) -> None:
        partition = partition_of(event.client, self._partitions)
        frame = self._frames.setdefault(partition, _Frame())
        frame.clients.add(event.client)
        frame.lines.append(encode(event))
        if len(frame.lines) >= FRAME_EVENTS:
            self._close(partition)

    def _close_all(self) -> None:
        for partition in list(self._frames):
            self._close(partition)

    def _close(self, partition: int) -> None:
        frame = self._frames.pop(partition)
        key = next(iter(frame.clients)) if len(frame.clients) == 1 else None
        value = b"\n".join(frame.lines) + b"\n"
        while len(self._producer) >= _MOST_WAITING:
            self._producer.poll(0.1)
            if self._failures:
                raise unavailable(self._settings, self._failures[0])
        try:
            self._producer.produce(EVENTS, value, key, partition=partition, on_delivery=self._delivered)
        except (KafkaException, BufferError) as error:
            raise unavailable(self._settings, error) from error
        self.pumped.frames += 1

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error.str())

"""Events that do not come from a log (an administrator's, `greylist learn`'s) → `smtp.events`.

Reading one twice does no harm, so a plain producer serves: an idempotent one has its first record wait half a
second or more for its number. One request at a time keeps the order where one has to be repeated.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.config import KafkaSettings
from streams.kafka import client_config, events_partitions, unavailable
from streams.model.client import Address, Client
from streams.model.decision import derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.topics import EVENTS
from streams.wire.frames import MAX_FRAME_BYTES, encode
from streams.wire.partition import partition_of

TIMEOUT_S: Final = 15.0
"""Longest wait for Kafka's acknowledgements."""
FRAME_EVENTS: Final = 200
_PORTION: Final = 20_000
"""Events that are under way at once: bounds the memory."""


def administrators_event(
    kind: Literal["forget", "learnt"],
    client: Client,
    address: Address,
    at: Instant,
    detail: str,
    ptr: str = "",
) -> Event:
    """An administrator's word about a client, as an event: it has its place in the order of things."""
    return Event(
        id=derived_id(kind, client, str(at)),
        at=at,
        kind=kind,
        client=client,
        address=address,
        session="",
        host="",
        ptr=ptr,
        detail=detail,
    )


def send_events(settings: KafkaSettings, events: Iterable[Event]) -> int:
    """Put events into their clients' partitions, in their order, and wait until Kafka has them; how many.

    `UnavailableError` where not all were acknowledged; those before may be there, and sending them again does
    no harm.
    """
    partitions = events_partitions(settings)
    failures: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer(
        client_config(
            settings,
            acks="all",
            linger_ms=0,
            max_in_flight=1,
            message_timeout_ms=int(TIMEOUT_S * 1000),
            compression_type="lz4",
            queue_buffering_max_messages=2 * _PORTION,
        )
    )
    sent, waiting = 0, iter(events)
    while portion := list(islice(waiting, _PORTION)):
        for partition, client, frame in _frames(portion, partitions):
            try:
                producer.produce(EVENTS, frame, client, partition=partition, on_delivery=delivered)
            except (KafkaException, BufferError) as error:
                raise unavailable(settings, error) from error
        if producer.flush(TIMEOUT_S + 1) or failures:
            raise unavailable(settings, failures[0] if failures else "no acknowledgement")
        sent += len(portion)
    return sent


@dataclass(slots=True)
class _Growing:
    clients: set[Client] = field(default_factory=set)
    lines: list[bytes] = field(default_factory=list)
    size: int = 0


def _frames(events: Iterable[Event], partitions: int) -> Iterator[tuple[int, Client | None, bytes]]:
    """(partition, the client where there is one only, frame) of these events; each partition in order."""
    growing: dict[int, _Growing] = {}

    def close(partition: int) -> tuple[int, Client | None, bytes]:
        frame = growing.pop(partition)
        return partition, frame.clients.pop() if len(frame.clients) == 1 else None, b"".join(frame.lines)

    for event in events:
        partition, line = partition_of(event.client, partitions), encode(event) + b"\n"
        frame = growing.get(partition)
        if frame and (frame.size + len(line) > MAX_FRAME_BYTES or len(frame.lines) >= FRAME_EVENTS):
            yield close(partition)
        frame = growing.setdefault(partition, _Growing())
        frame.clients.add(event.client)
        frame.lines.append(line)
        frame.size += len(line)
    for partition in list(growing):
        yield close(partition)

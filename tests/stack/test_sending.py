"""Events that are sent by hand, on real brokers: in their client's partition, in order, acknowledged."""

from collections import Counter

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.config import KafkaSettings
from streams.errors import UnavailableError
from streams.kafka import client_config, create_topics, events_partitions
from streams.model.client import ClientPrefixes, parse_address
from streams.model.decision import derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.sending import FRAME_EVENTS, send_events
from streams.topics import EVENTS
from streams.wire.frames import MAX_FRAME_BYTES, decode_frame
from streams.wire.partition import partition_of

START = 1_772_582_400_000_000


def _event(run: str, number: int, clients: int) -> Event:
    address = parse_address(f"2001:db8:{number % clients:x}::1")
    return Event(
        id=derived_id(run, str(number)),
        at=Instant(START + number),
        kind="forget",
        client=ClientPrefixes().client_of(address),
        address=address,
        session="",
        host="",
        detail=f"{run} {'x' * 200}",
    )


def _frames(settings: KafkaSettings, run: str) -> list[tuple[int, bytes | None, list[Event]]]:
    """(partition, key, events) of every record that has events of this run."""
    consumer = Consumer(
        client_config(settings, group_id="tests", enable_auto_commit=False, enable_partition_eof=True)
    )
    count = events_partitions(settings)
    consumer.assign([TopicPartition(EVENTS, number, 0) for number in range(count)])
    found, ended = [], 0
    while ended < count:
        record = consumer.poll(20)
        assert record is not None
        error = record.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            ended += 1
            continue
        value, partition = record.value(), record.partition()
        assert value is not None
        assert partition is not None
        assert len(value) <= MAX_FRAME_BYTES
        events = decode_frame(value)
        if events[0].detail.startswith(run):
            key = record.key()
            found.append((partition, key.encode() if isinstance(key, str) else key, events))
    consumer.close()
    return found


def test_events_go_to_their_clients_partition_in_order(broker: str, topic: str) -> None:
    settings = KafkaSettings(bootstrap=broker)
    create_topics(settings)
    events = [_event(topic, number, clients=100) for number in range(25_000)]
    assert send_events(settings, iter(events)) == len(events)
    frames = _frames(settings, topic)
    count = events_partitions(settings)
    for partition, key, inside in frames:
        assert {partition_of(event.client, count) for event in inside} == {partition}
        clients = {event.client for event in inside}
        assert key == (clients.pop().encode() if len(clients) == 1 else None)
        assert len(inside) <= FRAME_EVENTS
    for partition in range(count):
        sent = [event for event in events if partition_of(event.client, count) == partition]
        assert [event for place, _, inside in frames for event in inside if place == partition] == sent


def test_one_event_is_one_record_with_its_client_as_key(broker: str, topic: str) -> None:
    settings = KafkaSettings(bootstrap=broker)
    create_topics(settings)
    event = _event(topic, 1, clients=10)
    assert send_events(settings, [event]) == 1
    assert send_events(settings, []) == 0
    assert _frames(settings, topic) == [
        (partition_of(event.client, events_partitions(settings)), event.client.encode(), [event])
    ]


def test_sent_twice_is_the_same_twice(broker: str, topic: str) -> None:
    settings = KafkaSettings(bootstrap=broker)
    create_topics(settings)
    events = [_event(topic, number, clients=3) for number in range(10)]
    send_events(settings, events)
    send_events(settings, events)
    counted = Counter(event.id for _, _, inside in _frames(settings, topic) for event in inside)
    assert set(counted.values()) == {2}


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:9"])
def test_kafka_away_is_an_error_not_a_loss(bootstrap: str) -> None:
    with pytest.raises(UnavailableError, match=bootstrap):
        send_events(KafkaSettings(bootstrap=bootstrap), [_event("away", 1, 1)])

"""What `goaway status` reads of the latest blocks, on real brokers: up to the ends, or it says so."""

from typing import Final

from confluent_kafka import Producer
from msgspec.structs import replace

from streams.config import KafkaSettings
from streams.embedded.broker import Broker
from streams.embedded.up.refusals import recent
from streams.kafka import client_config
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant
from streams.topics import DECISIONS
from streams.wire.frames import encode
from tests.policy_cases import NOW, decision

PARTITIONS: Final = 2
RELEASES: Final = 40_000


def made(number: int) -> Decision:
    address = f"10.0.{number // 256}.{number % 256}"
    return decision("rate", address, NOW + number * MICROSECONDS, NOW + 10**6 * MICROSECONDS)


def write(settings: KafkaSettings, partition: int, decisions: list[Decision]) -> None:
    producer = Producer(client_config(settings, queue_buffering_max_messages=10**6))
    for it in decisions:
        producer.produce(DECISIONS, encode(it), key=it.key, partition=partition)
    assert producer.flush(30) == 0


def test_the_latest_are_found_behind_many_releases(own_broker: Broker) -> None:
    settings = KafkaSettings(bootstrap=own_broker.address)
    assert recent(settings, 10) == ([], True)
    release = replace(made(1), action="release", at=Instant(NOW), until=Instant(NOW))
    releases = [replace(release, id=str(number)) for number in range(RELEASES)]
    write(settings, 0, [*(made(n) for n in range(250)), *releases, made(500)])
    write(settings, 1, [made(n) for n in range(250, 500)])
    found, complete = recent(settings, 10)
    assert complete
    assert [it.id for it in found] == [made(n).id for n in range(500, 490, -1)]
    assert recent(settings, 10, longest_s=0)[1] is False

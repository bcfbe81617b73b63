"""What `smtp.decisions` and `smtp.warnings` hold about one client or subject, read once, for a person."""

import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.config import KafkaSettings
from streams.errors import InvalidValueError
from streams.kafka import TIMEOUT_S, events_partitions, onlooker, partition_counts, unavailable
from streams.model.client import Client
from streams.model.decision import Decision, LimitWarning
from streams.topics import DECISIONS, WARNINGS
from streams.wire.frames import decode_decision, decode_warning
from streams.wire.partition import partition_of

_SILENCE_S: Final = 0.3
"""The embedded broker's "latest" may lack a batch's tail: an end must be met with silence after it."""
_LONGEST_S: Final = 20.0
_AT_ONCE: Final = 1000
_LATEST: Final = 50_000
"""Warnings read per partition, from its end."""


def decisions_of(settings: KafkaSettings, client: Client) -> list[Decision]:
    """The latest decision of each key of this client, by time; `UnavailableError` where Kafka is away.

    Reads the one partition in which the client's decisions are, from its beginning.
    """
    partition = partition_of(client, events_partitions(settings))
    latest: dict[str, Decision] = {}
    mark = client.encode()

    def wanted(value: bytes) -> bool:
        return mark in value

    for value in _read(settings, [TopicPartition(DECISIONS, partition, 0)], wanted):
        try:
            decision = decode_decision(value)
        except InvalidValueError:
            continue
        if decision.client == client and decision.at >= latest.get(decision.key, decision).at:
            latest[decision.key] = decision
    return sorted(latest.values(), key=lambda decision: decision.at)


def trouble(settings: KafkaSettings) -> dict[tuple[str, str], LimitWarning]:
    """The latest warning about each zone, partner and stage, by (about, subject)."""
    count = partition_counts(settings).get(WARNINGS, 0)
    latest: dict[tuple[str, str], LimitWarning] = {}
    places = [TopicPartition(WARNINGS, number) for number in range(count)]
    for value in _read(settings, places, lambda value: b'"about"' in value):
        try:
            warning = decode_warning(value)
        except InvalidValueError:
            continue
        name = (warning.about, warning.client)
        if warning.about != "limit" and warning.at >= latest.get(name, warning).at:
            latest[name] = warning
    return latest


def _read(
    settings: KafkaSettings, places: list[TopicPartition], wanted: Callable[[bytes], bool]
) -> Iterator[bytes]:
    """Values that are wanted; a place without an offset is read from `_LATEST` records before its end."""
    for message in records(settings, places, longest_s=_LONGEST_S):
        value = message.value()
        if value and wanted(value):
            yield value


def records(
    settings: KafkaSettings,
    places: list[TopicPartition],
    *,
    longest_s: float = inf,
    stall_s: float = inf,
    after_end_s: float = inf,
) -> Iterator[Message]:
    """Every record up to the partitions' present ends; `UnavailableError` where Kafka is away.

    A place without an offset is read from `_LATEST` records before its end. Takes `longest_s` at most, and
    waits `stall_s` for a record while an end was not met: beyond either, `UnavailableError`. Where all ends
    were met and records go on coming, they are followed for `after_end_s`.
    """
    consumer = onlooker(settings, "goaway-look", wait_ms=20)
    try:
        for place in places:
            if place.offset < 0:
                low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
                place.offset = max(low, high - _LATEST)
        consumer.assign(places)
        ended: set[int | None] = set()
        begun = heard = time.monotonic()
        all_ended = inf
        while True:
            for message in consumer.consume(_AT_ONCE, 0.05):
                error = message.error()
                if error is None:
                    heard = time.monotonic()
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise KafkaException(error)
            now = time.monotonic()
            if len(ended) == len(places):
                all_ended = min(all_ended, now)
                if now - heard > _SILENCE_S or now - all_ended > after_end_s:
                    return
            elif now - heard > stall_s:
                raise unavailable(settings, f"{places[0].topic} gave nothing for {stall_s:.0f} s")
            if now - begun > longest_s:
                raise unavailable(settings, f"{longest_s:.0f} s were not enough to read it")
    except KafkaException as error:
        raise unavailable(settings, error.args[0].str()) from error
    finally:
        consumer.close()

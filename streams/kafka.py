"""Kafka client settings, topic creation, and how far a topic reaches: shared by every stage."""

import logging
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from streams.config import KafkaSettings
from streams.errors import UnavailableError
from streams.topics import DEFAULT_PARTITIONS, EVENTS, TOPICS

TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)


def client_config(settings: KafkaSettings, **extra: object) -> dict[str, Any]:
    """librdkafka's configuration for these settings; `extra` in its own names with `_` for `.`."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "security.protocol": settings.security,
        "client.id": "goaway",
        # librdkafka reports every unreachable broker to stderr by itself; stages say it once, in words
        "log_level": 2,
        "reconnect.backoff.max.ms": 2000,
        "allow.auto.create.topics": False,
    }
    if settings.security.startswith("SASL"):
        config |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.user,
            "sasl.password": settings.password,
        }
    if settings.ca:
        config["ssl.ca.location"] = settings.ca
    return config | {name.replace("_", "."): value for name, value in extra.items()}


def admin(settings: KafkaSettings) -> AdminClient:
    """An admin client; it does not connect until asked something."""
    return AdminClient(client_config(settings), logger=_log)


def unavailable(settings: KafkaSettings, error: object) -> UnavailableError:
    """The error for a Kafka that does not answer, without its secrets."""
    return UnavailableError(
        f"Kafka at {settings.bootstrap} does not answer ({error})", try_next="goaway doctor"
    )


def partition_counts(settings: KafkaSettings, *, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """Partitions of every topic there is."""
    try:
        metadata = admin(settings).list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise unavailable(settings, error.args[0].str()) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def events_partitions(settings: KafkaSettings) -> int:
    """Partitions of `smtp.events`, or `UnavailableError` with the command that creates it."""
    found = partition_counts(settings).get(EVENTS, 0)
    if not found:
        raise UnavailableError(
            f"Kafka at {settings.bootstrap} has no topic {EVENTS}", try_next="goaway topics create"
        )
    return found


def create_topics(
    settings: KafkaSettings, *, partitions: int = DEFAULT_PARTITIONS, replication: int = 1
) -> list[str]:
    """Create the topics that are missing; names of those created. Existing ones are left as they are."""
    existing = partition_counts(settings)
    wanted = [
        NewTopic(spec.name, spec.partitions or partitions, replication, config=dict(spec.config))
        for spec in TOPICS
        if spec.name not in existing
    ]
    if not wanted:
        return []
    created = []
    client = admin(settings)  # kept until the end: its futures die with it
    for name, future in client.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
        try:
            future.result(timeout=2 * TIMEOUT_S)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UnavailableError(
                    f"topic {name} could not be created ({error.args[0].str()})",
                    try_next="goaway topics show",
                ) from error
    return created

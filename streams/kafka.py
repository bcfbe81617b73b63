"""Kafka client settings, topic creation, and how far a topic reaches: shared by every stage."""

import logging
import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from streams.config import KafkaSettings, not_answering
from streams.errors import SettingsError, UnavailableError
from streams.topics import DEFAULT_PARTITIONS, EVENTS, TOPICS

TIMEOUT_S: Final = 10.0
_FETCH_PAUSE_MS: Final = 20
"""How long librdkafka fetches nothing once enough waits to be read. Its default of a second is longer than
all of that lasts: the sink spent half of its time with nothing to read."""

_HOPELESS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)
"""Waiting longer does not help against these."""
NO_TOPIC: Final = frozenset(
    {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
"""What a consumer is told where the topic it reads is not there, or not any more."""

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
    return config | {
        name if name.endswith("_cb") else name.replace("_", "."): value for name, value in extra.items()
    }


def unavailable(settings: KafkaSettings, error: object) -> UnavailableError:
    """The error for a Kafka that does not answer, without its secrets."""
    return not_answering(f"Kafka at {settings.bootstrap}", str(error), settings.looked_for)


def onlooker(settings: KafkaSettings, name: str, *, wait_ms: int, **extra: object) -> Consumer:
    """A consumer that is told where to read: it joins no group and commits nothing.

    `name` is for Kafka's own logs (librdkafka demands one). `wait_ms` is the longest time a broker may sit on
    an empty answer: it bounds what a record, and the news of a partition's end, waits for on brokers that
    only look for news when the time is up. `SettingsError` where the settings cannot be used.
    """
    config = client_config(
        settings,
        group_id=name,
        enable_auto_commit=False,
        enable_partition_eof=True,
        fetch_wait_max_ms=wait_ms,
        fetch_queue_backoff_ms=_FETCH_PAUSE_MS,
        **extra,
    )
    try:
        return Consumer(config, logger=_log)
    except (KafkaException, ValueError) as error:
        raise unusable(error) from error


def unusable(error: object) -> SettingsError:
    """The error for settings that no client can be made of."""
    return SettingsError(
        f"Kafka settings cannot be used ({error})", try_next="check the GOAWAY_KAFKA_* variables"
    )


class Admin:
    """An admin client that knows why a broker is not reached.

    librdkafka's calls only say that time ran out; the cause (a wrong password, a certificate that is not
    trusted) goes to the error callback, and is what a person must read.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._causes: list[KafkaError] = []
        self.client = AdminClient(client_config(settings, error_cb=self._causes.append), logger=_log)

    def unavailable(self, error: object) -> UnavailableError:
        """`error`, or the cause that the client learnt of."""
        telling = [cause for cause in self._causes if cause.code() != KafkaError._ALL_BROKERS_DOWN]
        return unavailable(self._settings, telling[0].str() if telling else error)

    def partition_counts(self, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
        """Partitions of every topic there is, or `UnavailableError`."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                metadata = self.client.list_topics(timeout=max(0.1, min(1.0, left)))
                break
            except KafkaException as error:
                self.client.poll(0)
                refused = any(cause.code() in _HOPELESS for cause in self._causes)
                if left <= 0 or refused:
                    raise self.unavailable(error.args[0].str()) from error
        return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def admin(settings: KafkaSettings) -> AdminClient:
    """An admin client; it does not connect until asked something. Keep it until its futures are done."""
    return AdminClient(client_config(settings), logger=_log)


def partition_counts(settings: KafkaSettings, *, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """Partitions of every topic there is."""
    return Admin(settings).partition_counts(timeout_s)


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
    """Create the topics that are missing and wait until they are seen; names of those created.

    Existing ones are left as they are.
    """
    kafka = Admin(settings)
    existing = kafka.partition_counts()
    wanted = [
        NewTopic(spec.name, spec.partitions or partitions, replication, config=dict(spec.config))
        for spec in TOPICS
        if spec.name not in existing
    ]
    if not wanted:
        return []
    created = []
    for name, future in kafka.client.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
        try:
            future.result(timeout=2 * TIMEOUT_S)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UnavailableError(
                    f"topic {name} could not be created ({error.args[0].str()})",
                    try_next="goaway topics show",
                ) from error
    deadline = time.monotonic() + TIMEOUT_S
    while not {spec.name for spec in TOPICS} <= kafka.partition_counts().keys():  # metadata lags creation
        if time.monotonic() > deadline:
            raise unavailable(settings, "the topics just created do not appear")
        time.sleep(0.05)
    return created

"""Real brokers for tests: the same test on Tansu and on Apache Kafka, each started once a run.

`broker` gives a test the bootstrap address, `running_broker` the broker itself. Topics are shared between
tests, so a test takes a name of its own from `topic`.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from streams.config import KafkaSettings
from streams.embedded.broker import ApacheBroker, Broker, open_broker
from streams.errors import MissingPartError
from streams.kafka import create_topics

CLIENT = {"log_level": 2}
"""librdkafka settings of every test client: no lines on stderr about a broker that is away on purpose."""

BOTH = [
    pytest.param("tansu", marks=pytest.mark.needs("tansu")),
    pytest.param("apache", marks=pytest.mark.needs("java")),
]
"""Parameters of a test or fixture that runs on either broker."""


def start_or_skip(broker: Broker) -> None:
    """Start it; skip, with the reason that a user would be told, where a part of it cannot be had.

    The skip is named at the end of the run, and fails it where every part is required.
    """
    try:
        broker.start()
    except MissingPartError as error:
        pytest.skip(str(error))


@contextmanager
def own_tansu(folder: Path) -> Iterator[KafkaSettings]:
    """A Tansu with the topics, for as long as the context lasts."""
    broker = open_broker("tansu", folder=folder)
    start_or_skip(broker)
    try:
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        yield settings
    finally:
        broker.stop()


@pytest.fixture(scope="session", params=BOTH)
def running_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """Tansu, then Apache Kafka: one process of each for the whole run."""
    broker = open_broker(request.param, folder=tmp_path_factory.mktemp(request.param))
    start_or_skip(broker)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def broker(running_broker: Broker) -> str:
    """Bootstrap address, `127.0.0.1:PORT`."""
    return running_broker.address


@pytest.fixture
def own_partitions(request: pytest.FixtureRequest) -> int:
    """Partitions of `own_broker`'s topics: the module's `PARTITIONS`."""
    partitions: int = request.module.PARTITIONS
    return partitions


@pytest.fixture(params=BOTH)
def own_broker(request: pytest.FixtureRequest, tmp_path: Path, own_partitions: int) -> Iterator[Broker]:
    """A broker of this test alone, with our topics, empty: a test may stop it."""
    broker = open_broker(request.param, folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(bootstrap=broker.address), partitions=own_partitions)
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheBroker]:
    """An Apache Kafka that also listens with TLS and SASL, of this module alone: a test may kill it."""
    broker = ApacheBroker(tmp_path_factory.mktemp("secure"), secure=True)
    start_or_skip(broker)
    yield broker
    broker.stop()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test uses; the topic is not created."""
    return f"{request.node.originalname}-{secrets.token_hex(4)}"


def make_topic(address: str, name: str, *, partitions: int = 1, config: dict[str, str] | None = None) -> None:
    """Create a topic, or fail."""
    client = AdminClient({"bootstrap.servers": address, **CLIENT})
    wanted = NewTopic(name, partitions, 1, config=config or {})
    client.create_topics([wanted], operation_timeout=10)[name].result(timeout=20)
    # Apache Kafka answers before its metadata shows the topic
    deadline = time.monotonic() + 10
    while name not in client.list_topics(timeout=10).topics and time.monotonic() < deadline:
        time.sleep(0.02)


def cmdline(pid: int) -> str:
    """A process's command line, as any user of the machine can read it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()

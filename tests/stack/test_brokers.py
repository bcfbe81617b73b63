"""Both brokers, as real processes: what they keep, what they refuse, and that nothing is left behind."""

import dataclasses
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from streams.config import KafkaSettings
from streams.embedded.broker import ApacheBroker, Broker, TansuBroker, jars, open_broker
from streams.embedded.broker.apache_settings import server_properties
from streams.embedded.broker.process import free_port, log_tail
from streams.errors import MissingPartError, UnavailableError, UsageError
from streams.kafka import client_config, partition_counts
from tests.stack.brokers import BOTH, CLIENT, cmdline, make_topic, start_or_skip

WAIT_S = 20.0


def produce(address: str, topic: str, values: list[str], **extra: object) -> None:
    """Produce to partition 0 and have every record acknowledged."""
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, **CLIENT, **extra})
    for value in values:
        producer.produce(
            topic, value.encode(), partition=0, callback=lambda e, _: failed.append(e) if e else None
        )
    assert producer.flush(WAIT_S) == 0
    assert failed == []


def consumer(address: str, group: str) -> Consumer:
    """A consumer that commits only when told."""
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # Tansu lets the first member of a group wait for half of it
            "session.timeout.ms": 6000,
            **CLIENT,
        }
    )


def read(reader: Consumer, count: int) -> list[str]:
    """That many values, or as many as come in time."""
    values: list[str] = []
    deadline = time.monotonic() + WAIT_S
    while len(values) < count and time.monotonic() < deadline:
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            value = message.value()
            assert value is not None
            values.append(value.decode())
    return values


def gone(pid: int, *, within_s: float) -> bool:
    """Whether the process ended in time; one that nobody has reaped counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_records_of_an_idempotent_producer_come_back_in_order(broker: str, topic: str) -> None:
    make_topic(broker, topic)
    sent = [f"record {n}" for n in range(2000)]
    produce(broker, topic, sent)
    reader = consumer(broker, f"all-{topic}")
    reader.assign([TopicPartition(topic, 0, 0)])
    assert read(reader, len(sent)) == sent
    reader.close()


def test_a_compacted_topic_with_four_partitions(running_broker: Broker, topic: str) -> None:
    make_topic(running_broker.address, topic, partitions=4, config={"cleanup.policy": "compact"})
    assert partition_counts(KafkaSettings(running_broker.address))[topic] == 4
    asked = ConfigResource(ResourceType.TOPIC, topic)
    client = AdminClient({"bootstrap.servers": running_broker.address, **CLIENT})
    told = client.describe_configs([asked])[asked].result(timeout=WAIT_S)
    assert told["cleanup.policy"].value == "compact"


def test_a_group_resumes_where_it_committed(broker: str, topic: str) -> None:
    make_topic(broker, topic)
    sent = [str(n) for n in range(100)]
    produce(broker, topic, sent)
    first = consumer(broker, f"group-{topic}")
    first.subscribe([topic])
    assert read(first, 40) == sent[:40]
    first.commit(offsets=[TopicPartition(topic, 0, 40)], asynchronous=False)
    first.close()
    second = consumer(broker, f"group-{topic}")
    second.subscribe([topic])
    assert read(second, 60) == sent[40:]
    second.close()


def test_only_tansu_makes_a_topic_by_being_asked_for_it(running_broker: Broker, topic: str) -> None:
    produced: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": running_broker.address, "message.timeout.ms": 2000, **CLIENT})
    producer.produce(topic, b"x", callback=lambda error, _: produced.append(error))
    producer.flush(WAIT_S)
    made = topic in partition_counts(KafkaSettings(running_broker.address))
    if running_broker.name == "tansu":
        # should a later Tansu refuse too, its docstring is to say so
        assert produced == [None]
        assert made
    else:
        assert produced[0] is not None
        assert not made


def test_it_listens_on_loopback_only(running_broker: Broker) -> None:
    pid = running_broker.pid
    assert pid is not None
    sockets = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    listening = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                listening.add(cells[1].partition(":")[0])
    assert listening
    assert listening <= loopback


def test_its_memory_is_told(running_broker: Broker) -> None:
    assert 5_000_000 < running_broker.rss_bytes() < 1_000_000_000


@pytest.mark.parametrize("kind", BOTH)
def test_killed_and_started_again(
    kind: str, tmp_path: Path, topic: str, request: pytest.FixtureRequest
) -> None:
    victim: Broker
    if kind == "apache":
        victim = request.getfixturevalue("secure_broker")
    else:
        victim = TansuBroker(tmp_path)
        start_or_skip(victim)
    make_topic(victim.address, topic)
    sent = [f"acknowledged {n}" for n in range(500)]
    produce(victim.address, topic, sent)
    address, pid = victim.address, victim.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while victim.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not victim.alive()
    assert victim.rss_bytes() == 0
    victim.start()
    assert victim.address == address
    if victim.durable:
        reader = consumer(address, f"after-{topic}")
        reader.assign([TopicPartition(topic, 0, 0)])
        assert read(reader, len(sent)) == sent
        reader.close()
    else:
        assert topic not in partition_counts(KafkaSettings(address))
        victim.stop()


@pytest.mark.needs("java")
def test_tls_and_sasl_with_the_right_password(secure_broker: ApacheBroker, topic: str) -> None:
    settings = secure_broker.secure_settings
    make_topic(secure_broker.address, topic)
    producer = Producer(client_config(settings, enable_idempotence=True))
    producer.produce(topic, b"over TLS")
    assert producer.flush(WAIT_S) == 0
    reader = Consumer(client_config(settings, group_id=topic, auto_offset_reset="earliest"))
    reader.subscribe([topic])
    assert read(reader, 1) == ["over TLS"]
    reader.close()


@pytest.mark.needs("java")
@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"password": "wrong"}, KafkaError._AUTHENTICATION, "invalid credentials"),
        ({"ca": ""}, KafkaError._SSL, "certificate verify failed"),
    ],
)
def test_a_wrong_secret_is_told_and_does_not_hang(
    secure_broker: ApacheBroker, wrong: dict[str, str], code: int, words: str
) -> None:
    settings = dataclasses.replace(secure_broker.secure_settings, **wrong)
    told: list[KafkaError] = []
    client = AdminClient(client_config(settings) | {"error_cb": told.append})
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        client.poll(0.1)
    assert told[0].code() == code
    assert words in told[0].str()
    assert settings.password not in told[0].str()
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        partition_counts(settings, timeout_s=2)
    assert time.monotonic() - began < 5


@pytest.mark.needs("java")
def test_no_secret_is_readable_by_others(secure_broker: ApacheBroker) -> None:
    settings = secure_broker.secure_settings
    assert settings.password not in repr(settings)
    folder = Path(settings.ca).parent
    keystore_password = (folder / "keystore-password").read_text()
    private = [folder / "password", folder / "keystore-password", folder / "keystore.p12"]
    for path in [*private, folder.parent / "server.properties"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert secure_broker.pid is not None
    logs = "".join(log.read_text() for log in folder.parent.glob("*.log"))
    for secret in (settings.password, keystore_password):
        assert secret not in cmdline(secure_broker.pid)
        assert secret not in logs


@pytest.mark.parametrize("starter", ["a thread that ends", "the main thread"])
@pytest.mark.needs("tansu")
def test_it_ends_with_its_starter_and_not_before(tmp_path: Path, starter: str) -> None:
    script = (
        "import pathlib, sys, threading, time\n"
        "from streams.embedded.broker import TansuBroker\n"
        "broker = TansuBroker(pathlib.Path(sys.argv[1]))\n"
        "run = threading.Thread(target=broker.start) if 'ends' in sys.argv[2] else None\n"
        "(run.start(), run.join()) if run else broker.start()\n"
        "time.sleep(0.3)\n"
        "print(broker.pid, broker.alive(), flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), starter]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, alive = parent.stdout.readline().split()
        assert alive == "True"
        parent.kill()
        assert gone(int(pid), within_s=5)


@pytest.mark.needs("tansu")
def test_stopping_twice_and_starting_twice_are_harmless(tmp_path: Path) -> None:
    broker = TansuBroker(tmp_path)
    broker.stop()
    broker.start()
    pid = broker.pid
    broker.start()
    assert broker.pid == pid
    broker.stop()
    broker.stop()
    assert not broker.alive()


@pytest.mark.parametrize("kind", BOTH)
def test_a_taken_port_is_named(kind: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        broker = open_broker(kind, folder=tmp_path, port=port)
        with pytest.raises(UnavailableError, match=f"port {port} of 127.0.0.1"):
            start_or_skip(broker)
    assert not broker.alive()


@pytest.mark.needs("java")
def test_a_kafka_that_cannot_start_says_why(tmp_path: Path) -> None:
    meta = tmp_path / "records" / "meta.properties"
    meta.parent.mkdir()
    meta.write_text("version=1\ncluster.id=abc\nnode.id=7\n")
    broker = ApacheBroker(tmp_path)
    with pytest.raises(
        UnavailableError, match=r"ended while starting \(.*Stored node id 7.*less .*kafka\.log"
    ):
        start_or_skip(broker)
    assert not broker.alive()


@pytest.mark.needs("java")
def test_a_folder_in_use_by_another_kafka_is_told(secure_broker: ApacheBroker) -> None:
    folder = Path(secure_broker.secure_settings.ca).parent.parent
    second = ApacheBroker(folder)
    with pytest.raises(UnavailableError, match="already running on"):
        second.start()
    assert second.pid is None
    assert secure_broker.alive()


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tansu, apache or HOST:PORT"):
        open_broker("redpanda", folder=tmp_path)


def test_missing_java_and_mvn_are_named_with_the_way_to_get_them(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    with pytest.raises(MissingPartError, match=r"no java.*apt-get install default-jre-headless"):
        jars.find_java(environ=nothing)
    with pytest.raises(MissingPartError, match=r"no mvn to fetch them.*apt-get install maven"):
        jars.kafka_jars(nothing)


def fake_program(folder: Path, name: str, script: str) -> dict[str, str]:
    """An environment whose PATH holds that one program."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.8.0_392", False), ("11.0.2", False), ("17.0.15", True), ("25", True)]
)
def test_java_is_old_enough(tmp_path: Path, version: str, accepted: bool) -> None:
    environ = fake_program(tmp_path, "java", f"echo 'openjdk version \"{version}\"' >&2")
    if accepted:
        assert jars.find_java(environ=environ) == str(tmp_path / "java")
    else:
        with pytest.raises(MissingPartError, match="needs Java 17"):
            jars.find_java(environ=environ)


def test_a_failed_fetch_says_why_and_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    environ = fake_program(tmp_path, "mvn", "printf '\\033[31m[ERROR] no route\\033[0m to host\\n'; exit 1")
    with pytest.raises(MissingPartError, match=r"could not fetch Apache Kafka .*\(no route to host\)"):
        jars.kafka_jars(environ)
    assert not jars.is_complete(jars.cache_folder(environ))
    assert [p.suffix for p in (tmp_path / "cache" / "goaway").iterdir()] == [".lock"]


def test_fetched_jars_are_used_without_mvn_until_one_is_cut_short(tmp_path: Path) -> None:
    version = jars.kafka_version()
    fetch = (
        'for a in "$@"; do case $a in -DoutputDirectory=*) out="${a#*=}";; esac; done\n'
        f'echo content >"$out/kafka_2.13-{version}.jar"'
    )
    environ = fake_program(tmp_path, "mvn", fetch)
    folder = jars.kafka_jars(environ)
    offline = environ | {"PATH": ""}
    assert jars.kafka_jars(offline) == folder
    (folder / f"kafka_2.13-{version}.jar").write_text("cut")
    with pytest.raises(MissingPartError, match="no mvn"):
        jars.kafka_jars(offline)
    assert jars.kafka_jars(environ) == folder
    assert jars.kafka_jars(offline) == folder


def test_paths_survive_java_properties(tmp_path: Path) -> None:
    text = server_properties(records=tmp_path / "a\\é😀", port=1, controller_port=2, secure=None)
    assert f"log.dirs={tmp_path}/a" + r"\\\u00e9\ud83d\ude00" in text.splitlines()


def test_a_log_tail_is_bounded_and_printable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10**6 + b"\n\x1b[31mred\xff\nlast\n\tat a.b.C(D.java)\n")
    said = log_tail(log)
    assert said.endswith("last")
    assert len(said) < 700
    assert said.isprintable()
    log.write_text("INFO a\n2026 ERROR no space left (x)\nINFO closing\n" + "INFO closed\n" * 9)
    assert log_tail(log) == "2026 ERROR no space left (x)"
    assert log_tail(tmp_path / "none") == "its log cannot be read"


def test_free_ports_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass

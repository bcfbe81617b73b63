"""The worker on real brokers: what it decides is what the engine decides, however often it is killed.

Each test has topics of its own: a broker of its own, since a worker reads `smtp.events`.
"""

import random
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.config import KafkaSettings
from streams.embedded.broker import ApacheBroker, Broker
from streams.kafka import client_config, create_topics
from streams.topics import EVENTS
from streams.wire.frames import decode_dead_letter, encode_frame
from streams.wire.partition import partition_of
from tests.stack.brokers import start_or_skip
from tests.stack.worker_load import PARTITIONS, POLICY, Load, Outputs, event, make_load, send
from tests.stack.worker_process import APACHE_SESSION_S, EMBEDDED_SESSION_S, WorkerProcess

STOP_S = 10.0


def worker(broker: Broker, folder: Path, instance: str = "") -> WorkerProcess:
    session_s = APACHE_SESSION_S if broker.name == "apache" else EMBEDDED_SESSION_S
    return WorkerProcess(folder, broker.address, policy=POLICY, instance=instance, session_s=session_s)


def assert_equal(outputs: Outputs, load: Load) -> None:
    missing, extra = load.expected.keys() - outputs.found.keys(), outputs.found.keys() - load.expected.keys()
    assert not missing, f"{len(missing)} of {len(load.expected)} are missing, {len(extra)} too many"
    assert not extra, [outputs.found[key] for key in list(extra)[:3]]
    assert outputs.found == load.expected


def test_decides_what_the_engine_decides(own_broker: Broker, tmp_path: Path) -> None:
    settings, load = KafkaSettings(bootstrap=own_broker.address), make_load(1)
    assert len(load.expected) > 250
    send(settings, load.frames)
    outputs = Outputs(settings)
    with worker(own_broker, tmp_path) as running:
        outputs.wait_for(load.expected)
        assert_equal(outputs, load)
        assert len(outputs.letters) == load.letters
        letters = [decode_dead_letter(value) for value in outputs.letters]
        assert {letter.source.partition("/")[0] for letter in letters} == {EVENTS}
        assert len({letter.reason.partition("'")[0] for letter in letters}) >= 4
        running.wait_for("unreadable", load.letters)  # the status is a second old, and what waits three
        facts = running.wait_for("records_waiting", 0)
        assert int(facts["misplaced"] or 0) > 0
        assert int(facts["repeated"] or 0) > 0
        started = time.monotonic()
        assert running.terminate(STOP_S) == 0
        print(f"SIGTERM took {time.monotonic() - started:.1f} s")
    assert "belongs to" in running.log.read_text()
    outputs.close()


@pytest.mark.parametrize("seed", [2, 3])
def test_killed_again_and_again_it_decides_the_same(own_broker: Broker, tmp_path: Path, seed: int) -> None:
    """Frames are sent in portions while the worker is killed at moments of chance."""
    settings, load, chance = KafkaSettings(bootstrap=own_broker.address), make_load(seed), random.Random(seed)
    outputs = Outputs(settings)
    cuts = sorted(chance.sample(range(len(load.frames)), 5))
    with worker(own_broker, tmp_path, instance="w1") as running:
        for start, end in zip([0, *cuts], [*cuts, len(load.frames)], strict=True):
            send(settings, load.frames[start:end], load.stamps_ms[start:end])
            before = outputs.records
            deadline = time.monotonic() + 30
            while outputs.records == before and time.monotonic() < deadline:
                outputs.take(0.05)
            outputs.take(0.5 + chance.random() * 2.5)  # offsets are committed each second
            running.kill()
            running.start()
        outputs.wait_for(load.expected)
    assert_equal(outputs, load)
    outputs.close()


def test_another_worker_takes_over(own_broker: Broker, tmp_path: Path) -> None:
    settings, load = KafkaSettings(bootstrap=own_broker.address), make_load(4)
    outputs = Outputs(settings)
    half = len(load.frames) // 2
    with worker(own_broker, tmp_path) as one, worker(own_broker, tmp_path) as other:
        one.wait_for_partitions(2)
        other.wait_for_partitions(2)
        send(settings, load.frames[:half], load.stamps_ms[:half])
        outputs.take(0.3)
        one.kill()
        send(settings, load.frames[half:], load.stamps_ms[half:])
        other.wait_for_partitions(PARTITIONS)
        outputs.wait_for(load.expected)
    assert_equal(outputs, load)
    outputs.close()


def test_a_worker_that_ends_in_order_loses_nothing(own_broker: Broker, tmp_path: Path) -> None:
    """SIGTERM in the middle of the load, and two more workers that share what is left."""
    settings, load = KafkaSettings(bootstrap=own_broker.address), make_load(5)
    outputs = Outputs(settings)
    send(settings, load.frames, load.stamps_ms)
    with worker(own_broker, tmp_path) as running:
        while not outputs.records and running.ended() is None:
            outputs.take(0.02)
        assert running.terminate(STOP_S) == 0
    with worker(own_broker, tmp_path) as one, worker(own_broker, tmp_path) as other:
        outputs.wait_for(load.expected)
        assert one.terminate(STOP_S) == 0
        assert other.terminate(STOP_S) == 0
    assert_equal(outputs, load)
    outputs.close()


@pytest.mark.needs("java")
def test_with_tls_and_sasl(tmp_path: Path) -> None:
    broker = ApacheBroker(tmp_path / "broker", secure=True)
    start_or_skip(broker)
    try:
        settings = broker.secure_settings
        create_topics(settings, partitions=PARTITIONS)
        load = make_load(6, events=3000)
        outputs = Outputs(settings)
        with WorkerProcess(tmp_path, settings, policy=POLICY, instance="w1") as running:
            send(settings, load.frames)
            outputs.take(3.0)
            running.kill()
            running.start()
            outputs.wait_for(load.expected)
            assert running.terminate(STOP_S) == 0
        assert_equal(outputs, load)
        assert settings.password not in running.log.read_text()
        outputs.close()
    finally:
        broker.stop()


@pytest.mark.needs("java")
def test_outlives_a_broker_that_is_away(tmp_path: Path) -> None:
    """Said once, and once that it is back; whether the worker goes on or ends with 75 to be started again."""
    broker = ApacheBroker(tmp_path / "broker")
    start_or_skip(broker)
    settings, load = KafkaSettings(bootstrap=broker.address), make_load(7, events=6000)
    create_topics(settings, partitions=PARTITIONS)
    outputs = Outputs(settings)
    half = len(load.frames) // 2
    with WorkerProcess(tmp_path, settings, policy=POLICY, instance="w1") as running:
        send(settings, load.frames[:half], load.stamps_ms[:half])
        running.wait_for_partitions(PARTITIONS)
        broker.stop()
        time.sleep(12)
        broker.start()
        send(settings, load.frames[half:], load.stamps_ms[half:])
        deadline = time.monotonic() + 90
        while not outputs.found.keys() >= load.expected.keys() and time.monotonic() < deadline:
            outputs.take(0.2)
            if running.ended() is not None:
                assert running.ended() == 75, running.log.read_text()
                running.start()
        outputs.take(1.0)
        said = running.log.read_text()
    assert_equal(outputs, load)
    assert said.count("is away") <= 1, said
    assert len(said.splitlines()) < 40, said
    outputs.close()


def test_a_decision_comes_at_once(own_broker: Broker, tmp_path: Path) -> None:
    """Not a measurement (see benchmarks): that no wait of half a second stands in the way."""
    settings = KafkaSettings(bootstrap=own_broker.address)
    outputs = Outputs(settings)
    with worker(own_broker, tmp_path) as running:
        running.wait_for_partitions(PARTITIONS)
        took = []
        for number in range(1, 11):
            now, address = time.time_ns() // 1000, f"192.0.2.{number}"
            events = [event(f"{number}-{n}", now - 100 + n, "connect", address, f"mx/{n}") for n in range(10)]
            send(settings, [(partition_of(address, PARTITIONS), encode_frame(events))])
            began = time.monotonic()
            while not any(found.client == address for found in outputs.found.values()):
                outputs.take(0.005)
                assert time.monotonic() < began + 10, running.log.read_text()
            took.append(time.monotonic() - began)
        assert sorted(took)[5] < 0.25, took
    outputs.close()


def test_sigstop_is_a_dead_worker(own_broker: Broker, tmp_path: Path) -> None:
    """One that hangs as a whole loses its partitions to another after its session timeout."""
    settings, load = KafkaSettings(bootstrap=own_broker.address), make_load(8, events=4000)
    outputs = Outputs(settings)
    with worker(own_broker, tmp_path) as one, worker(own_broker, tmp_path) as other:
        one.wait_for_partitions(2)
        other.wait_for_partitions(2)
        subprocess.run(["kill", "-STOP", str(one.pid)], check=True)
        send(settings, load.frames, load.stamps_ms)
        other.wait_for_partitions(PARTITIONS)
        outputs.wait_for(load.expected)
        subprocess.run(["kill", "-CONT", str(one.pid)], check=True)
        outputs.take(3.0)
    assert_equal(outputs, load)
    outputs.close()


def test_the_group_of_a_stopped_worker_is_left(own_broker: Broker, tmp_path: Path) -> None:
    """Everything was committed at the end, so the next one has nothing to repeat."""
    settings, load = KafkaSettings(bootstrap=own_broker.address), make_load(9, events=3000)
    outputs = Outputs(settings)
    send(settings, load.frames, load.stamps_ms)
    with worker(own_broker, tmp_path) as running:
        outputs.wait_for(load.expected)
        assert running.terminate(STOP_S) == 0
    reader = Consumer(client_config(settings, **{"group.id": "goaway-decide"}))
    places = [TopicPartition(EVENTS, number) for number in range(PARTITIONS)]
    committed = {place.partition: place.offset for place in reader.committed(places, timeout=10)}
    reader.close()
    sent = {number: sum(1 for p, _ in load.frames if p == number) for number in range(PARTITIONS)}
    assert committed == sent
    outputs.close()

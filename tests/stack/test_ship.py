"""The shipper on real brokers: killed, kept waiting, started too early; no line is lost."""

import gzip
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.config import KafkaSettings, Settings
from streams.embedded.broker import Broker, open_broker
from streams.kafka import create_topics, events_partitions
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.ship.counts import ShipCounts
from streams.ship.identity import head_at, source_of
from streams.ship.producer import MAX_BYTES
from streams.ship.run import follow, ship_once
from streams.status import StatusFile
from streams.topics import DEADLETTERS, EVENTS, SOURCE_HEADER
from streams.wire.frames import decode_dead_letter, decode_frame
from tests.stack.brokers import BOTH, CLIENT, start_or_skip
from tests.stack.ship_process import ShipProcess
from tests.unit.ship_logs import WrittenLog, expected, log_line

SEED = 20230314
KILLS = 10
MOST_KILLS = 60
"""Of kills at random some are at a moment that matters, sooner or later: then something was sent twice."""


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=broker)
    create_topics(settings)
    return settings


@pytest.fixture(params=BOTH)
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may stop; not started yet."""
    broker = open_broker(request.param, folder=tmp_path / "broker")
    yield broker
    if broker.pid is not None and broker.alive():
        os.kill(broker.pid, signal.SIGCONT)
    broker.stop()


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    folder = tmp_path / "log"
    folder.mkdir()
    return WrittenLog(folder / "mail.log")


@contextmanager
def shipping(address: str, tmp_path: Path, *files: Path) -> Iterator[ShipProcess]:
    shipper = ShipProcess(address, tmp_path / "state", *files)
    shipper.start()
    try:
        yield shipper
    finally:
        shipper.kill()


def records(settings: KafkaSettings, topic: str, partitions: int) -> Iterator[tuple[int, str, bytes]]:
    """(partition, source header, value) of every record there is now, in the order of each partition."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap, "group.id": "tests", "enable.partition.eof": True, **CLIENT}
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    ended: set[int] = set()
    deadline = time.monotonic() + 60
    while len(ended) < partitions and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            ended.add(message.partition())
            continue
        headers = dict(message.headers() or [])
        yield message.partition(), headers.get(SOURCE_HEADER, b"").decode(), message.value()
    consumer.close()


def shipped(settings: KafkaSettings, of_host: str = "mx") -> list[tuple[int, list[Event]]]:
    """Frames of a host's log with their partitions."""
    frames = []
    for partition, source, value in records(settings, EVENTS, events_partitions(settings)):
        events = decode_frame(value)
        assert {event.source for event in events} == {source}
        if events[0].host == of_host:
            frames.append((partition, events))
    return frames


def ids(frames: list[tuple[int, list[Event]]]) -> set[str]:
    return {event.id for _, events in frames for event in events}


def doubles(frames: list[tuple[int, list[Event]]]) -> int:
    """How many events were sent again."""
    return sum(len(events) for _, events in frames) - len(ids(frames))


def kept_by_worker(frames: list[tuple[int, list[Event]]]) -> list[str]:
    """What is left when each partition drops what its source has shown before, by position."""
    last: dict[tuple[int, str], int] = {}
    kept = []
    for partition, events in frames:
        seen = last.get((partition, events[0].source), -1)
        kept += [event.id for event in events if event.position > seen]
        last[partition, events[0].source] = max(seen, events[-1].position)
    return kept


def wait_until(true: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def lines_read(shipper: ShipProcess) -> int:
    return int(shipper.status().get("lines_read") or 0)


def own_lines(log: WrittenLog, host: str) -> None:
    """Write lines of a host of its own: the topic is shared with other tests."""
    log.line = lambda number: log_line(number).replace(b" mx ", b" " + host.encode() + b" ")


@pytest.mark.parametrize("copytruncate", [False, True])
def test_killed_at_random_moments(
    kafka: KafkaSettings, log: WrittenLog, tmp_path: Path, copytruncate: bool
) -> None:
    host = f"killed-{copytruncate}"
    own_lines(log, host)
    chance = random.Random(SEED)
    enough = threading.Event()

    def write() -> None:
        for burst in count():
            if enough.is_set():
                break
            log.write(chance.randrange(400), cut=chance.randrange(50))
            time.sleep(0.03)
            if burst % 50 == 49:
                log.complete()
                (log.copy_and_truncate if copytruncate else log.rotate)()
        log.complete()
        log.write(1)

    log.write(1)
    with shipping(kafka.bootstrap, tmp_path, log.path) as shipper:
        wait_until(lambda: any((tmp_path / "state").glob("mail.log.*.json")))
        writer = threading.Thread(target=write)
        writer.start()
        for kills in range(1, MOST_KILLS):
            wait_until(lambda: bool(shipper.status()))
            time.sleep(chance.uniform(0.0, 1.0))
            shipper.kill()
            mattered = kills >= KILLS and doubles(shipped(kafka, host))
            shipper.start()
            if mattered:
                break
        enough.set()
        writer.join()
        wanted = set(expected(log.lines))
        wait_until(lambda: shipper.status().get("bytes_behind") == 0)
        deadline = time.monotonic() + 30
        while ids(frames := shipped(kafka, host)) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        assert shipper.stop() == 0

    assert ids(frames) == wanted
    identity: dict[str, tuple[int, str, int]] = {}
    for partition, events in frames:
        for event in events:
            here = (partition, event.source, event.position)
            assert identity.setdefault(event.id, here) == here
    assert doubles(frames), "the kills came at no moment that matters"
    kept = kept_by_worker(frames)
    assert len(kept) == len(set(kept)) == len(wanted)


def test_stopped_in_order_nothing_is_doubled(kafka: KafkaSettings, log: WrittenLog, tmp_path: Path) -> None:
    own_lines(log, "orderly")
    with shipping(kafka.bootstrap, tmp_path, log.path) as shipper:
        for _ in range(3):
            log.write(500, cut=7)
            wait_until(lambda: shipper.status().get("bytes_behind") == 0 and lines_read(shipper) > 0)
            assert shipper.stop() == 0
            shipper.start()
        log.complete()
        wait_until(lambda: ids(shipped(kafka, "orderly")) == set(expected(log.lines)), timeout_s=20)
        assert shipper.stop() == 0
    sent = [event.id for _, events in shipped(kafka, "orderly") for event in events]
    assert len(sent) == len(set(sent))


def test_a_stopped_broker_stops_the_reading_and_memory_stays_bounded(
    own_broker: Broker, log: WrittenLog, tmp_path: Path
) -> None:
    start_or_skip(own_broker)
    settings = KafkaSettings(bootstrap=own_broker.address)
    create_topics(settings)
    log.write(10)
    with shipping(own_broker.address, tmp_path, log.path) as shipper:
        wait_until(lambda: lines_read(shipper) == 10 and shipper.status().get("records_in_flight") == 0)
        before = shipper.rss_bytes()
        assert own_broker.pid is not None
        os.kill(own_broker.pid, signal.SIGSTOP)
        log.write(250_000)
        wait_until(lambda: int(shipper.status().get("bytes_in_flight") or 0) >= MAX_BYTES)
        wait_until(lambda: shipper.status().get("kafka") is False)
        stuck = lines_read(shipper)
        assert stuck < 250_000
        time.sleep(2)
        assert lines_read(shipper) == stuck
        assert shipper.rss_bytes() - before < 4 * MAX_BYTES
        os.kill(own_broker.pid, signal.SIGCONT)
        wait_until(lambda: shipper.status().get("bytes_behind") == 0, timeout_s=90)
        wait_until(lambda: shipper.status().get("records_in_flight") == 0, timeout_s=90)
        assert shipper.status().get("kafka") is True
        assert shipper.stop() == 0
    assert shipper.said().count("takes nothing") == 1
    assert shipper.said().count("is back") == 1
    kept = kept_by_worker(shipped(settings))
    assert len(kept) == len(set(kept))
    assert set(kept) == set(expected(log.lines))


def test_broker_away_at_the_start(own_broker: Broker, log: WrittenLog, tmp_path: Path) -> None:
    log.write(300)
    with shipping(own_broker.address, tmp_path, log.path) as shipper:
        wait_until(lambda: shipper.status().get("kafka") is False)
        time.sleep(3)
        start_or_skip(own_broker)
        settings = KafkaSettings(bootstrap=own_broker.address)
        create_topics(settings)
        wait_until(lambda: ids(shipped(settings)) == set(expected(log.lines)))
        assert shipper.stop() == 0
    assert shipper.said().count("is back") == 1
    assert "Traceback" not in shipper.said()


@pytest.mark.needs("java")
def test_a_broker_restarted_from_its_disk(log: WrittenLog, tmp_path: Path) -> None:
    broker = open_broker("apache", folder=tmp_path / "broker")
    start_or_skip(broker)
    settings = KafkaSettings(bootstrap=broker.address)
    create_topics(settings)
    try:
        with shipping(broker.address, tmp_path, log.path) as shipper:
            log.write(2000)
            wait_until(lambda: lines_read(shipper) == 2000)
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGKILL)
            log.write(2000)
            time.sleep(1)
            broker.stop()
            broker.start()
            wait_until(lambda: ids(shipped(settings)) == set(expected(log.lines)))
            assert shipper.stop() == 0
    finally:
        broker.stop()


@pytest.mark.needs("tansu")
def test_a_broker_that_forgot_everything(
    log: WrittenLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker in memory, restarted: what it had is gone, what is written afterwards arrives."""
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    settings = KafkaSettings(bootstrap=broker.address)
    create_topics(settings)
    log.write(100)
    stop = threading.Event()
    results: list[ShipCounts] = []
    shipper = threading.Thread(
        target=lambda: results.append(
            follow(
                Settings(kafka=settings),
                [log.path],
                state=tmp_path / "state",
                zone=UTC,
                prefixes=ClientPrefixes(),
                status=StatusFile(tmp_path / "status.json"),
                stop=stop,
            )
        )
    )
    shipper.start()
    try:
        wait_until(lambda: ids(shipped(settings)) == set(expected(log.lines)))
        broker.stop()
        broker.start()
        create_topics(settings)
        before = len(log.lines)
        log.write(100)
        log.rotate()
        log.write(100)
        wanted = set(expected(log.lines)) - set(expected(log.lines[:before]))
        wait_until(lambda: ids(shipped(settings)) >= wanted, timeout_s=90)
    finally:
        stop.set()
        shipper.join(timeout=30)
        broker.stop()
    assert results[0].settled
    assert caplog.text.count("answers and acknowledges nothing") <= 1


def test_whole_files_twice_give_the_same_twice(
    kafka: KafkaSettings, log: WrittenLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_lines(log, "whole")
    log.write(3000)
    packed = tmp_path / "old.log.gz"
    packed.write_bytes(gzip.compress(log.path.read_bytes() + b"\x80 rubbish\n"))
    shown = []
    for _ in range(2):
        counts = ship_once(
            Settings(kafka=kafka), [packed], zone=UTC, prefixes=ClientPrefixes(), progress=False
        )
        assert (counts.read, counts.unreadable, counts.settled) == (3001, 1, True)
        assert counts.events + 0 == len(expected(log.lines))
        shown.append([(p, e) for p, events in shipped(kafka, "whole") for e in events])
    first, both = shown
    assert len(both) == 2 * len(first) == 2 * len(expected(log.lines))
    assert {(p, e.id, e.source, e.position) for p, e in both} == {
        (p, e.id, e.source, e.position) for p, e in first
    }
    head = head_at(packed)
    assert head is not None
    assert {e.source for _, e in first} == {source_of(str(packed), head.fingerprint)}
    letters = [decode_dead_letter(value) for _, _, value in records(kafka, DEADLETTERS, 1)]
    assert [r.text for r in letters if r.source == str(packed)] == [r"\x80 rubbish"] * 2
    assert "3,001 lines read" in capsys.readouterr().err

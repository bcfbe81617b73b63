"""The sink on real brokers and the real engine: no record lost, none stored twice, whoever is killed."""

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from streams.audit.run import run_sink
from streams.audit.source import LogReader
from streams.audit.veil import Veil
from streams.config import KafkaSettings, Settings, StoringSettings
from streams.embedded.broker import Broker, open_broker
from streams.kafka import create_topics
from streams.model.client import Address, Client
from streams.model.decision import Decision, Evidence, LimitWarning
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.status import StatusFile, read_status
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, POLICY, WARNINGS
from streams.wire.frames import encode, encode_frame
from tests.stack.brokers import start_or_skip
from tests.stack.sink_process import SinkProcess, Store, wait_until

pytestmark = pytest.mark.needs("chdb")

PARTITIONS: Final = 2

MONTH_ENDS: Final = parse_instant("2026-02-01T00:00:00Z")
PLACES: Final = "kafka_epoch, kafka_partition, kafka_offset, frame_index"


def event(number: int) -> Event:
    """Consecutive numbers lie on both sides of the end of a month."""
    return Event(
        id=f"{number:016x}",
        at=Instant(MONTH_ENDS + (number - 500) * 1000 * (-1) ** number),
        kind="connect",
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        session=f"mx/{number}",
        host="mx",
        source="/var/log/mail.log",
        position=number,
    )


class Load(threading.Thread):
    """Produces frames of one to twenty events to both partitions for some seconds."""

    def __init__(self, address: str, seconds: float, first: int = 0) -> None:
        super().__init__(daemon=True)
        self.ids: list[str] = []
        self._address, self._seconds, self._number = address, seconds, first

    def run(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._address, "enable.idempotence": True, "linger.ms": 5, "log_level": 2}
        )
        chance = random.Random(self._number)
        ends = time.monotonic() + self._seconds
        while time.monotonic() < ends:
            for _ in range(50):
                frame = [event(self._number + offset) for offset in range(chance.randint(1, 20))]
                self._number += len(frame)
                producer.produce(EVENTS, encode_frame(frame), partition=chance.randint(0, 1))
                self.ids += [each.id for each in frame]
            producer.poll(0)
            time.sleep(0.01)
        assert producer.flush(30) == 0


def produce(address: str, topic: str, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": address, "log_level": 2})
    for value in values:
        producer.produce(topic, value, b"key", partition=partition)  # a compacted topic takes none without
    assert producer.flush(30) == 0


def assert_exactly(store: Store, ids: list[str]) -> None:
    """Every event once, and no place in the log twice."""
    stored = Counter(store.ids())
    wanted = Counter(ids)
    assert not wanted - stored, f"{(wanted - stored).total()} lost"
    assert not stored - wanted, f"{(stored - wanted).total()} doubled"
    places = store.rows(f"SELECT count(), uniqExact({PLACES}) FROM events")[0]
    assert places == (len(ids), len(ids))


@pytest.mark.needs("tansu")
def test_what_waits_in_kafka_is_read_without_pauses(tmp_path: Path) -> None:
    """Several times what is fetched ahead, worked on as long as the sink would."""
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    kafka = KafkaSettings(broker.address)
    create_topics(kafka, partitions=1)
    produce(broker.address, EVENTS, *([b"x" * 25_000] * 6_000))
    reader = LogReader(kafka)
    reader.assign({(EVENTS, 0): None})
    read = in_vain = longest = 0
    try:
        while read < 6_000:
            records = reader.read(0.1)
            read += len(records)
            in_vain = in_vain + 1 if read and not records else 0
            longest = max(longest, in_vain)
            time.sleep(len(records) * 0.000_1)
    finally:
        reader.close()
        broker.stop()
    assert longest < 5


def test_every_topic_has_its_table(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    at = parse_instant("2026-03-01T12:00:00.000001Z")
    client, address = Client("2001:db8::/64"), Address("2001:db8::1")
    evidence = Evidence(count=11, limit=10, note="Büro")
    decision = Decision(
        id="d",
        at=at,
        until=None,
        action="block",
        client=client,
        address=address,
        trigger="rate",
        rule="concurrent_connections",
        code=551,
        reason="exceeded connection rate limit",
        evidence=evidence,
        policy="p",
        event="e",
        session="mx/1",
        host="mx",
    )
    warning = LimitWarning(
        id="w",
        at=at,
        client=client,
        address=address,
        rule="r",
        evidence=evidence,
        policy="p",
        event="e",
        host="mx",
    )
    deferred = replace(
        decision, id="g", action="defer", trigger="greylist", shadow=True, triplet="ab:cd", pool="example.org"
    )
    nobody: dict[str, Any] = {"address": Address("::")}
    broken = replace(
        warning, id="z", client=Client("zen.example"), rule="", about="zone", text="broken", **nobody
    )
    marker = replace(event(3), kind="policy", client=Client("policy"), detail="7 6 0123abcd", **nobody)
    answers = replace(event(4), kind="reputation", detail="zen.example 127.0.0.2", ttl_s=900)
    produce(own_broker.address, EVENTS, encode_frame([event(1)]) + b"garbage\n" + encode(event(2)))
    produce(own_broker.address, EVENTS, encode_frame([marker, answers]), partition=1)
    produce(own_broker.address, DECISIONS, encode(decision), b"{}", encode(deferred))
    produce(own_broker.address, WARNINGS, encode(warning), encode(broken))
    produce(own_broker.address, POLICY, b"{}")  # its key is no entry's, and it has no number: a dead letter
    produce(own_broker.address, DEADLETTERS, b'{"source":"f","position":3,"reason":"r","text":"t"}', b"\xff")
    status = tmp_path / "status.json"
    stop = threading.Event()
    settings = Settings(KafkaSettings(own_broker.address), store.settings)
    sink = threading.Thread(
        target=run_sink, args=(settings,), kwargs={"status": StatusFile(status), "stop": stop}
    )
    sink.start()
    try:
        wait_until(lambda: store.count("deadletters") == 5 and store.count("warnings") == 2)
        wait_until(lambda: store.ids() == [event(number).id for number in range(1, 5)])
        wait_until(lambda: (read_status(status) or {}).get("lag") == 0)
    finally:
        stop.set()
        sink.join(30)
    facts = read_status(status)
    assert facts is not None
    assert (facts["state"], facts["rows"], facts["unreadable"]) == ("stopped", 13, 4)
    assert store.rows(
        "SELECT id, toUnixTimestamp64Micro(at), until, toString(address), evidence_note, code FROM decisions"
        " WHERE NOT shadow"
    ) == [("d", at, None, "2001:db8::1", "Büro", 551)]
    assert store.rows("SELECT id, action, triplet, pool FROM decisions WHERE shadow") == [
        ("g", "defer", "ab:cd", "example.org")
    ]
    assert store.rows("SELECT about, client, toString(address), text FROM warnings ORDER BY about") == [
        ("limit", "2001:db8::/64", "2001:db8::1", ""),
        ("zone", "zen.example", "::", "broken"),
    ]
    assert store.rows(
        "SELECT kind, client, toString(address), ttl_s FROM events WHERE kafka_partition = 1 ORDER BY kind"
    ) == [
        ("policy", "policy", "::", 0),
        ("reputation", "192.0.2.7", "::ffff:192.0.2.7", 900),
    ]
    assert store.rows(
        "SELECT toString(address), frame_index FROM events WHERE kafka_partition = 0 ORDER BY frame_index"
    ) == [
        ("::ffff:192.0.2.7", 0),
        ("::ffff:192.0.2.7", 1),
    ]
    assert store.rows("SELECT kafka_topic, source, position, text FROM deadletters ORDER BY ALL") == [
        (DEADLETTERS, "f", 3, "t"),
        (DEADLETTERS, f"{DEADLETTERS}/0", 1, "\\xff"),
        (DECISIONS, f"{DECISIONS}/0", 1, "{}"),
        (EVENTS, f"{EVENTS}/0", 0, "garbage"),
        (POLICY, f"{POLICY}/0", 0, "{}"),
    ]


@pytest.mark.needs("tansu")
@pytest.mark.parametrize("mode", ["hash", "domain"])
def test_addresses_are_stored_as_the_settings_say(tmp_path: Path, store: Store, mode: str) -> None:
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=2)
    refused = replace(
        event(1),
        kind="rcpt",
        sender="anna@example.net",
        recipient="bert@example.org",
        code=550,
        detail="5.1.1 <bert@example.org>: Recipient address rejected: User unknown",
    )
    produce(broker.address, EVENTS, encode_frame([refused, event(2)]))
    stop = threading.Event()
    storing = StoringSettings(mode, "0123456789abcdef")
    settings = Settings(KafkaSettings(broker.address), store.settings, storing=storing)
    sink = threading.Thread(
        target=run_sink, args=(settings,), kwargs={"status": StatusFile(None), "stop": stop}
    )
    sink.start()
    try:
        wait_until(lambda: store.count("events") == 2)
    finally:
        stop.set()
        sink.join(30)
        broker.stop()
    [row] = store.rows("SELECT sender, recipient, detail FROM events WHERE code = 550")
    veil = Veil(storing)
    sender, recipient = veil.veiled("anna@example.net"), veil.veiled("bert@example.org")
    assert row == (sender, recipient, f"5.1.1 <{recipient}>: Recipient address rejected: User unknown")
    assert "anna" not in str(row)
    assert "bert" not in str(row)
    assert store.rows("SELECT sum(recipients_refused) FROM clients_by_day") == [(1,)]


def test_the_sink_is_killed_again_and_again(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    load = Load(own_broker.address, 14)
    sink = SinkProcess(own_broker, store, tmp_path / "status.json")
    chance = random.Random(1)
    load.start()
    try:
        for _ in range(8):
            time.sleep(chance.uniform(0.8, 2.2))
            sink.kill_and_start()
        load.join(60)
        wait_until(lambda: store.count("events") >= len(load.ids))
        time.sleep(1.5)  # long enough for a double to arrive
    finally:
        assert sink.stop() == 0
    assert_exactly(store, load.ids)


def test_clickhouse_is_killed_again_and_again(own_broker: Broker, own_store: Store, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    load = Load(own_broker.address, 16)
    sink = SinkProcess(own_broker, own_store, status)
    chance = random.Random(2)
    load.start()
    try:
        for turn in range(6):
            time.sleep(chance.uniform(0.5, 2.0))
            own_store.kill_and_start(away_s=1.5 if turn == 0 else 0.0)
        load.join(60)
        wait_until(lambda: own_store.count("events") >= len(load.ids))
        time.sleep(1.5)
        facts = read_status(status)
        assert facts is not None
        assert facts["trouble"] == ""
    finally:
        assert sink.stop() == 0
    assert_exactly(own_store, load.ids)


@pytest.mark.needs("tansu")
def test_a_token_whose_rows_are_gone_hides_no_loss(tmp_path: Path, store: Store) -> None:
    """As after a ClickHouse that was killed between noting a token and keeping its part."""
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=2)
    produce(broker.address, EVENTS, *(encode_frame([event(number)]) for number in range(100)))
    sink = SinkProcess(broker, store, tmp_path / "status.json")
    try:
        wait_until(lambda: store.count("events") == 100)
        assert sink.stop() == 0
        # one of the two months, hence one of the two inserts; a mutation leaves the tokens as they are
        store.rows("ALTER TABLE events DELETE WHERE at < '2026-02-01' SETTINGS mutations_sync = 2")
        assert 0 < store.count("events") < 100
        sink.start()
        wait_until(lambda: store.count("events") >= 100)
        time.sleep(1.5)
    finally:
        assert sink.stop() == 0
        broker.stop()
    assert_exactly(store, [event(number).id for number in range(100)])


def test_two_sinks_store_once(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    load = Load(own_broker.address, 6)
    sinks = [SinkProcess(own_broker, store, tmp_path / f"status-{n}.json") for n in range(2)]
    load.start()
    try:
        load.join(60)
        wait_until(lambda: store.count("events") >= len(load.ids))
        time.sleep(1.5)
    finally:
        assert [sink.stop() for sink in sinks] == [0, 0]
    assert_exactly(store, load.ids)


@pytest.mark.needs("tansu")
@pytest.mark.parametrize("sink_runs", [True, False], ids=["while the sink runs", "while the sink is away"])
@pytest.mark.parametrize("second", [40, 400], ids=["a shorter log", "a longer log"])
def test_a_broker_that_comes_back_empty(tmp_path: Path, store: Store, sink_runs: bool, second: int) -> None:
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=2)
    sink = SinkProcess(broker, store, tmp_path / "status.json")
    try:
        before = [event(number) for number in range(100)]
        produce(broker.address, EVENTS, *(encode_frame([each]) for each in before))
        wait_until(lambda: store.count("events") == 100)
        if not sink_runs:
            assert sink.stop() == 0
        broker.stop()
        broker.start()
        create_topics(KafkaSettings(broker.address), partitions=2)
        after = [event(number) for number in range(1000, 1000 + second)]
        produce(broker.address, EVENTS, *(encode_frame([each]) for each in after))
        if not sink_runs:
            sink.start()
        wait_until(lambda: store.count("events") >= 100 + second)
        time.sleep(1.5)
    finally:
        assert sink.stop() == 0
        broker.stop()
    assert_exactly(store, [each.id for each in (*before, *after)])
    assert store.rows("SELECT kafka_epoch, count() FROM events GROUP BY 1 ORDER BY 1") == [
        (1, 100),
        (2, second),
    ]


@pytest.mark.needs("java")
def test_a_durable_broker_that_comes_back_goes_on(tmp_path: Path, store: Store) -> None:
    broker = open_broker("apache", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=2)
    sink = SinkProcess(broker, store, tmp_path / "status.json")
    try:
        produce(broker.address, EVENTS, *(encode_frame([event(number)]) for number in range(100)))
        wait_until(lambda: store.count("events") == 100)
        assert broker.pid is not None
        os.kill(broker.pid, 9)
        wait_until(lambda: not broker.alive())
        broker.start()
        produce(broker.address, EVENTS, *(encode_frame([event(number)]) for number in range(100, 150)))
        wait_until(lambda: store.count("events") >= 150)
        time.sleep(1.5)
    finally:
        assert sink.stop() == 0
        broker.stop()
    assert_exactly(store, [event(number).id for number in range(150)])
    assert store.rows("SELECT DISTINCT kafka_epoch FROM events") == [(1,)]

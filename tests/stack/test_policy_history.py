"""Changes of the policy in ClickHouse: stored once whoever is killed, read back as they were in force."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from streams.audit.clickhouse import ClickHouse
from streams.audit.policy_history import changes, entries_at
from streams.audit.sink import Sink
from streams.audit.source import LogReader
from streams.config import KafkaSettings
from streams.embedded.broker import Broker, open_broker
from streams.kafka import create_topics
from streams.model.instant import Instant, parse_instant, rfc3339
from streams.policy_writer import change_policy
from streams.topics import POLICY
from streams.wire.policy_entries import Entries
from tests.stack.brokers import start_or_skip
from tests.stack.sink_process import SinkProcess, Store, wait_until

pytestmark = pytest.mark.needs("chdb")

PARTITIONS: Final = 1

START: Final = parse_instant("2026-01-31T23:59:58Z")
SECOND: Final = 1_000_000
Row = dict[str, Any]


class Topic:
    """`smtp.policy`, written record by record, as no writer of ours would where a test wants that."""

    def __init__(self, address: str) -> None:
        self._producer = Producer({"bootstrap.servers": address, "log_level": 2})
        self.records = 0

    def record(self, key: bytes, value: bytes | None, number: int | bytes | None = None) -> None:
        header = number if isinstance(number, bytes) else None if number is None else str(number).encode()
        headers = [] if header is None else [("goaway-change", header)]
        self._producer.produce(POLICY, value, key, partition=0, headers=headers)
        self.records += 1

    def entries(self, number: int, entries: dict[str, Row | None]) -> None:
        """A change that is not committed."""
        for key, row in entries.items():
            self.record(key.encode(), None if row is None else json.dumps(row).encode(), number)

    def change(self, number: int, after: int, entries: dict[str, Row | None], **facts: str) -> None:
        """A whole change."""
        self.entries(number, entries)
        self.commit(number, after, len(entries), **facts)

    def commit(self, number: int, after: int, entries: int = 0, **facts: str) -> None:
        """The commit of change `number`, made that many seconds after `START`."""
        made = {
            "number": number,
            "after": after,
            "version": f"v{number}",
            "who": "anna",
            "at": rfc3339(at(number)),
            "what": f"change {number}",
            "note": "Büro",
            "entries": entries,
            **facts,
        }
        self.record(b"change", json.dumps(made).encode(), number)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def one_more(number: int) -> dict[str, Row | None]:
    """A limit that changes with each change, and one more block."""
    return {"limits": {"requests_per_minute": number}, f"blocks/192.0.2.{number}": {}}


def at(number: float) -> Instant:
    """When change `number` was made."""
    return Instant(START + int(number * SECOND))


def stored(store: Store) -> int:
    """Rows, and no place of them twice."""
    rows, places = store.rows(
        "SELECT count(), uniqExact(kafka_epoch, kafka_partition, kafka_offset, frame_index) FROM policy_log"
    )[0]
    assert rows == places
    return int(str(rows))


def test_what_was_in_force_when(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    topic = Topic(own_broker.address)
    near = {"name": "Büro", "requests_per_minute": 5}
    topic.change(1, 0, {"limits": {"requests_per_minute": 9}, "networks/192.0.2.0/24": near})
    topic.change(2, 1, {"exempt/rate/203.0.113.7": {}, "limits": {"requests_per_minute": 8}})
    topic.change(3, 1, {"limits": {"requests_per_minute": 1}})  # overtaken: it builds on 1
    topic.entries(4, {"limits": {"requests_per_minute": 2}})  # its writer died before the commit
    topic.change(5, 2, {"limits": {"requests_per_minute": 8}, "networks/192.0.2.0/24": None})
    topic.commit(5, 2)  # sent twice
    topic.change(6, 5, {"limits": {"requests_per_minute": 7}}, note="", what="x" * 3000, who="bert")
    topic.flush()
    sink = SinkProcess(own_broker, store, tmp_path / "status.json")
    try:
        wait_until(lambda: stored(store) == topic.records)
    finally:
        assert sink.stop() == 0
    found = changes(store.settings, limit=10, since=None)
    assert [change.number for change in found] == [6, 5, 2, 1]
    assert (found[0].who, found[0].note, found[0].what) == ("bert", "", "x" * 3000)
    assert (found[3].at, found[3].after, found[3].version) == (at(1), 0, "v1")
    assert (found[3].who, found[3].what, found[3].note, found[3].entries) == ("anna", "change 1", "Büro", 2)
    assert [change.number for change in changes(store.settings, limit=2, since=None)] == [6, 5]
    assert [change.number for change in changes(store.settings, limit=9, since=at(5))] == [6, 5]
    assert changes(store.settings, limit=9, since=at(6.1)) == []
    first = {"limits": {"requests_per_minute": 9}, "networks/192.0.2.0/24": near}
    second = {**first, "exempt/rate/203.0.113.7": {}, "limits": {"requests_per_minute": 8}}
    assert entries_at(store.settings, at(0.9)) == {}
    assert entries_at(store.settings, at(1)) == first
    assert entries_at(store.settings, at(1.999)) == first
    assert entries_at(store.settings, at(2)) == second
    assert entries_at(store.settings, at(4.5)) == second
    del second["networks/192.0.2.0/24"]
    assert entries_at(store.settings, at(5.5)) == second
    assert entries_at(store.settings, at(99)) == {**second, "limits": {"requests_per_minute": 7}}


def test_garbage_is_kept_apart(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    topic = Topic(own_broker.address)
    topic.change(1, 0, {"limits": {"requests_per_minute": 9}})
    garbage: list[tuple[bytes, bytes | None, int | bytes | None]] = [
        (b"limits", b"{", 2),
        (b"limits", b"[]", 2),
        (b"limits", b'{"a": "\xff"}', 2),
        (b"limits", b"{}", None),
        (b"limits", b"{}", b"two"),
        (b"limits", b"{}", b"9" * 20),
        (b"limits", None, None),
        (b"\xff", b"{}", 2),
        (b"change", b"{}", 2),
        (b"change", None, 2),
    ]
    for key, value, number in garbage:
        topic.record(key, value, number)
    topic.change(2, 1, {"limits": {"requests_per_minute": 8}})  # spoilt by an entry that cannot be read
    topic.change(3, 1, {"limits": {"requests_per_minute": 7}})
    topic.flush()
    sink = SinkProcess(own_broker, store, tmp_path / "status.json")
    try:
        wait_until(lambda: stored(store) == 10 and store.count("deadletters") == len(garbage))
    finally:
        assert sink.stop() == 0
    letters = store.rows("SELECT DISTINCT kafka_topic, source FROM deadletters")
    assert letters == [(POLICY, f"{POLICY}/0")]
    assert [change.number for change in changes(store.settings, limit=9, since=None)] == [3, 1]
    assert entries_at(store.settings, at(2)) == {"limits": {"requests_per_minute": 9}}
    assert entries_at(store.settings, at(3)) == {"limits": {"requests_per_minute": 7}}


def test_the_sink_is_killed_while_the_policy_changes(
    own_broker: Broker, own_store: Store, tmp_path: Path
) -> None:
    topic = Topic(own_broker.address)
    sink = SinkProcess(own_broker, own_store, tmp_path / "status.json")
    try:
        for number in range(1, 61):
            # across the end of a month, hence in two inserts
            topic.change(number, number - 1, one_more(number))
            topic.flush()
            if number % 15 == 0:
                time.sleep(1.2)
                sink.kill_and_start()
            time.sleep(0.02)
        own_store.kill_and_start()
        wait_until(lambda: stored(own_store) >= topic.records)
        time.sleep(1.5)  # long enough for a double to arrive
    finally:
        assert sink.stop() == 0
    assert stored(own_store) == topic.records == 180
    assert [c.number for c in changes(own_store.settings, limit=99, since=None)] == list(range(60, 0, -1))
    assert len(entries_at(own_store.settings, at(31))) == 32
    assert entries_at(own_store.settings, at(60))["limits"] == {"requests_per_minute": 60}


@pytest.mark.needs("tansu")
def test_a_record_that_is_delivered_again_changes_nothing(tmp_path: Path, store: Store) -> None:
    """The ledger is lost, so the log is read and stored again from its beginning."""
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=1)
    topic = Topic(broker.address)
    topic.change(1, 0, {"limits": {"requests_per_minute": 1}})
    topic.change(2, 1, {"limits": {"requests_per_minute": 2}})
    topic.flush()
    clickhouse, reader = ClickHouse(store.settings), LogReader(KafkaSettings(broker.address))
    try:
        for _ in range(2):
            sink = Sink(clickhouse, reader, broker_instance="one run")
            sink.catch_up()
            while sink.figures.batches == 0:
                sink.step()
            assert stored(store) == 4
            clickhouse.command("TRUNCATE TABLE sink_batches")
    finally:
        reader.close()
        clickhouse.close()
        broker.stop()
    assert stored(store) == 4
    # a hand that stored it again does no harm either
    store.rows("INSERT INTO policy_log SELECT * FROM policy_log")
    assert store.count("policy_log") == 8
    assert [change.number for change in changes(store.settings, limit=9, since=None)] == [2, 1]
    assert entries_at(store.settings, at(2)) == {"limits": {"requests_per_minute": 2}}


@pytest.mark.needs("tansu")
def test_a_log_that_starts_again_is_a_history_of_its_own(tmp_path: Path, store: Store) -> None:
    broker = open_broker("tansu", folder=tmp_path / "broker")
    start_or_skip(broker)
    create_topics(KafkaSettings(broker.address), partitions=1)
    topic = Topic(broker.address)
    for number in range(1, 4):
        topic.change(number, number - 1, one_more(number))
    topic.flush()
    sink = SinkProcess(broker, store, tmp_path / "status.json")
    try:
        wait_until(lambda: stored(store) == 9)
        broker.stop()
        broker.start()
        create_topics(KafkaSettings(broker.address), partitions=1)
        topic = Topic(broker.address)
        topic.change(7, 6, {"limits": {"requests_per_minute": 7}})  # the first of a log is accepted as it is
        topic.change(8, 7, {"protocol": {}})
        topic.flush()
        wait_until(lambda: stored(store) == 13)
    finally:
        assert sink.stop() == 0
        broker.stop()
    assert [c.number for c in changes(store.settings, limit=99, since=None)] == [8, 7, 3, 2, 1]
    assert entries_at(store.settings, at(6)) == entries_at(store.settings, at(3))
    assert entries_at(store.settings, at(2)) == {
        "limits": {"requests_per_minute": 2},
        "blocks/192.0.2.1": {},
        "blocks/192.0.2.2": {},
    }
    assert entries_at(store.settings, at(8)) == {"limits": {"requests_per_minute": 7}, "protocol": {}}


def test_what_our_own_writer_wrote(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    settings = KafkaSettings(own_broker.address)
    base: Entries = {"limits": {"requests_per_minute": 9}, "networks/192.0.2.0/24": {"name": "Büro"}}
    blocked = {f"blocks/198.51.100.{number}": {"note": "mass"} for number in range(250)}
    edits: list[Callable[[Entries], Entries]] = [
        lambda entries: {**entries, "exempt/rate/203.0.113.7": {"note": "partner"}},
        lambda entries: {**entries, **blocked},
        lambda entries: {key: row for key, row in entries.items() if not key.startswith("networks/")},
    ]
    made, wanted = [], [base]
    for number, edit in enumerate(edits):
        change = change_policy(settings, base, edit, who="anna", what=f"edit {number}", note="because")
        assert change is not None
        made.append(change)
        wanted.append(edit(wanted[-1]))
    sink = SinkProcess(own_broker, store, tmp_path / "status.json")
    try:
        # before its first change the writer puts down what it was given as the base
        wait_until(lambda: len(changes(store.settings, limit=9)) == 4)
    finally:
        assert sink.stop() == 0
    newest = changes(store.settings, limit=9)
    assert newest[:3] == made[::-1]
    for change, entries in zip(reversed(newest), wanted, strict=True):
        assert entries_at(store.settings, change.at) == entries
    assert entries_at(store.settings, Instant(newest[-1].at - 1)) == {}

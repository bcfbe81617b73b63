"""Rollups say what the events say, whoever is killed: as after a run in which nobody was.

GOAWAY_TEST_KILLS is the number of kills (default 6).
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate, read_migrations
from streams.audit.rollups import NO_CLIENTS_DOING, ROLLUPS, Rollup, differences, mend, settle
from streams.config import ClickHouseSettings
from streams.embedded.broker import Broker
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import Instant, parse_instant
from streams.topics import EVENTS
from streams.wire.frames import encode_frame
from tests.stack.sink_process import SinkProcess, Store, wait_until

pytestmark = pytest.mark.needs("chdb")

PARTITIONS: Final = 2

KILLS: Final = int(os.environ.get("GOAWAY_TEST_KILLS", "6"))
MONTH_ENDS: Final = parse_instant("2026-02-01T00:00:00Z")
KINDS: Final[tuple[EventKind, ...]] = (
    *("connect", "mail", "message", "rcpt", "refusal", "violation", "auth"),
    *("auth_failure", "reputation"),
)


def event(number: int, partition: int) -> Event:
    """Both months, several hosts, clients, kinds and minutes; refusals of ours and of others."""
    kind = KINDS[number % len(KINDS)]
    refused = kind in ("rcpt", "refusal") or number % 11 == 0
    client = f"192.0.2.{number % 40 * 2 + partition}"
    return Event(
        id=f"{partition}{number:015x}",
        at=Instant(MONTH_ENDS + (number % 3_000 - 1500) * 977_777 * (-1) ** number),
        kind=kind,
        client=Client(client),
        address=Address(client),
        session=f"mx/{number}",
        ptr="" if number % 3 == 0 else f"mail{number % 3_000 % 7}.example.net",
        host=f"mx{number % 3}",
        recipient="anna@example.org" if kind == "rcpt" else "",
        code=(551, 451, 550)[number % 3] if refused else 0,
        detail=("5.7.1 Go away: greylisted, retry in 300 s", "User unknown")[number % 2] if refused else "",
        size=number if kind == "message" else 0,
        source=f"mx:/var/log/mail.log#{partition}",
        position=number * 100,
    )


class Shipper(threading.Thread):
    """Produces frames until told to stop; now and then it goes back, as after a kill, and repeats some."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.sent = [0, 0]
        self._address, self._stop_it = address, stop

    def run(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._address, "enable.idempotence": True, "linger.ms": 5, "log_level": 2}
        )
        chance = random.Random(7)
        while not self._stop_it.is_set():
            for partition in (0, 1):
                first = self.sent[partition]
                if chance.random() < 0.05:
                    first = max(0, first - chance.randint(1, 300))
                for _ in range(20):
                    last = first + chance.randint(1, 30)
                    frame = [event(number, partition) for number in range(first, last)]
                    producer.produce(EVENTS, encode_frame(frame), partition=partition)
                    first = last
                self.sent[partition] = max(self.sent[partition], first)
            producer.poll(0)
            time.sleep(0.01)
        assert producer.flush(30) == 0


def by_view(client: ClickHouse, rollup: Rollup) -> list[tuple[object, ...]]:
    """What the view's own query says of all events, as one number."""
    [(query,)] = client.rows(
        "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = %(name)s",
        {"name": f"{rollup.table}_view"},
    )
    moments = ", first_at, last_at" if rollup.spans else ""
    return client.rows(
        f"SELECT count(), sum(cityHash64(*)) FROM (SELECT {rollup.at}, {', '.join(rollup.keys)},"
        f" {', '.join(rollup.counters)}{moments} FROM ({query}))"
    )


def as_kept(client: ClickHouse, rollup: Rollup) -> list[tuple[object, ...]]:
    """What the rollup says, as one number."""
    sums = ", ".join(f"toUInt64(sum({name})) AS {name}" for name in rollup.counters)
    moments = ", min(first_at) AS first_at, max(last_at) AS last_at" if rollup.spans else ""
    keys = f"{rollup.at}, {', '.join(rollup.keys)}"
    return client.rows(
        f"SELECT count(), sum(cityHash64(*)) FROM (SELECT {keys}, {sums}{moments} FROM {rollup.table}"
        f" GROUP BY {keys} HAVING {rollup.counters[0]} > 0)"
    )


NAMES: Final = """
SELECT client, {month} AS month, {newest} FROM {table} WHERE {named}
GROUP BY client, month ORDER BY client, month
"""


def assert_right(client: ClickHouse, *, moments: bool = True) -> None:
    """`moments`: also the first and last of what others did at the same time as what is gone."""
    for each in ROLLUPS:
        rollup = each if moments or "client" in each.keys else replace(each, spans=False)
        assert as_kept(client, rollup) == by_view(client, rollup), rollup.table
    assert differences(client) == []


def assert_named(client: ClickHouse) -> None:
    """Each client's newest name of each month is that of its newest event with one."""
    kept = NAMES.format(
        month="toYYYYMM(period)",
        newest="argMax(named.name, named.at)",
        table="clients_by_month",
        named="named.name != ''",
    )
    seen = NAMES.format(
        month="toYYYYMM(at)",
        newest="argMax(ptr, at)",
        table="events",
        named=f"ptr != '' AND kind NOT IN {NO_CLIENTS_DOING}",
    )
    assert client.rows(kept) == client.rows(seen) != []


def test_killed_again_and_again_as_if_never(own_broker: Broker, tmp_path: Path) -> None:
    """Sink and ClickHouse are killed at random moments; another sink then stores the same log undisturbed."""
    store, undisturbed = Store(tmp_path / "killed", killed=True), Store(tmp_path / "undisturbed")
    stop = threading.Event()
    shipper = Shipper(own_broker.address, stop)
    sink = SinkProcess(own_broker, store, tmp_path / "status.json")
    chance = random.Random(KILLS)
    shipper.start()
    sinks = [sink]
    try:
        for turn in range(KILLS):
            time.sleep(chance.uniform(0.3, 2.0))
            if turn % 3 == 2:
                store.kill_and_start()
            else:
                sink.kill_and_start()
        stop.set()
        shipper.join(60)
        sinks.append(SinkProcess(own_broker, undisturbed, tmp_path / "status-2.json"))
        wait_until(lambda: store.count("events") >= sum(shipper.sent), 120)
        wait_until(lambda: undisturbed.count("events") >= sum(shipper.sent), 120)
        time.sleep(4)
    finally:
        stop.set()
        codes = [each.stop() for each in sinks]
    assert codes == [0] * len(sinks)
    for each in (store, undisturbed):
        assert each.count("events") == sum(shipper.sent)
        [(ids,)] = each.rows("SELECT uniqExact(id) FROM events")
        assert ids == sum(shipper.sent)
        assert_right(ClickHouse(each.settings))
        assert_named(ClickHouse(each.settings))
    killed, other = ClickHouse(store.settings), ClickHouse(undisturbed.settings)
    for rollup in ROLLUPS:
        assert as_kept(killed, rollup) == as_kept(other, rollup)
    rows = "SELECT sum(cityHash64(*)) FROM events"
    assert store.rows(rows) == undisturbed.rows(rows)
    for each in (store, undisturbed):
        each.stop()


@pytest.fixture
def clickhouse(engine: ClickHouseSettings, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client of a database that does not exist yet."""
    client = ClickHouse(replace_database(engine, f"{engine.database}-{request.node.originalname}"))
    yield client
    client.close()


def replace_database(settings: ClickHouseSettings, name: str) -> ClickHouseSettings:
    return ClickHouseSettings(settings.host, settings.port, settings.user, settings.password, database=name)


def insert(client: ClickHouse, numbers: range, token: str) -> None:
    events = [event(number, 0) for number in numbers]
    names = ("at", "kind", "client", "host", "ptr", "recipient", "code", "detail", "size")
    columns: list[list[object]] = [[getattr(each, name) for each in events] for name in names]
    client.insert("events", names, columns, token=token)


def test_rows_stored_before_the_rollups_are_added_once(clickhouse: ClickHouse) -> None:
    migrations = read_migrations()
    migrate(clickhouse, migrations[:7])
    insert(clickhouse, range(2000), "a")
    migrate(clickhouse)
    insert(clickhouse, range(2000, 2500), "b")
    assert len(differences(clickhouse)) == len(ROLLUPS) * 2  # months
    found = settle(clickhouse)
    assert found is not None
    assert {each.table for each in found} == {rollup.table for rollup in ROLLUPS}
    assert_right(clickhouse)
    assert settle(clickhouse) == []
    insert(clickhouse, range(2500, 2600), "c")
    assert_right(clickhouse)
    assert_named(clickhouse)


def test_an_insert_sent_again_fills_what_a_view_lacks_and_doubles_nothing(clickhouse: ClickHouse) -> None:
    """As after a ClickHouse that was killed between the table's part and a view's."""
    migrate(clickhouse)
    view = clickhouse.rows("SELECT create_table_query FROM system.tables WHERE name = 'clients_by_hour_view'")
    clickhouse.command("DROP VIEW clients_by_hour_view")
    insert(clickhouse, range(1500), "a")
    clickhouse.command(str(view[0][0]))
    assert {each.table for each in differences(clickhouse)} == {"clients_by_hour"}
    for _ in range(2):
        insert(clickhouse, range(1500), "a")
        assert_right(clickhouse)


@pytest.mark.parametrize("which", ["client = '192.0.2.2'", "host = 'mx1'", "true"])
def test_what_is_counted_and_gone_is_taken_back(engine: ClickHouseSettings, which: str) -> None:
    clickhouse = ClickHouse(replace_database(engine, f"gone-{which[:4]}"))
    migrate(clickhouse)
    insert(clickhouse, range(2000), "a")
    clickhouse.command(f"ALTER TABLE events DELETE WHERE {which} SETTINGS mutations_sync = 2")
    mend(clickhouse, differences(clickhouse))
    assert_right(clickhouse, moments=False)


def test_what_retention_drops_stays_counted(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    insert(clickhouse, range(2000), "a")
    clickhouse.command("ALTER TABLE events MODIFY TTL toDateTime(at) + INTERVAL 1 DAY")
    clickhouse.command("OPTIMIZE TABLE events FINAL")
    assert clickhouse.rows("SELECT count() FROM events") == [(0,)]
    assert differences(clickhouse) == []
    assert clickhouse.rows("SELECT sum(events) > 0 FROM clients_by_month") == [(1,)]

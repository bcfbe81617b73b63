"""The embedded ClickHouse, seen from clickhouse-driver: as a real server, with the real engine."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import NetworkError, ServerException

from streams.config import ClickHouseSettings
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.embedded.clickhouse.server import MAX_CLIENTS
from streams.embedded.clickhouse.writing import text, varint
from streams.errors import UnavailableError
from tests.stack.embedded_clickhouse_client import answer_to, connected

pytestmark = pytest.mark.needs("chdb")

TYPES: Final[list[tuple[str, list[Any]]]] = [
    ("Int8", [-128, 0, 127]),
    ("Int64", [-(2**63), 2**63 - 1]),
    ("UInt64", [0, 2**64 - 1]),
    ("UInt256", [2**256 - 1]),
    ("Float32", [0.5, -1.25]),
    ("Float64", [1e300, float("inf")]),
    ("Bool", [True, False]),
    ("String", ["", "a\n\nb", "nul\0nul", "FORMAT Native\n\n;", "日本", "x" * 70_000]),
    ("FixedString(4)", ["abcd", "wxyz"]),
    ("LowCardinality(String)", ["a", "", "a", "b\n\n"]),
    ("LowCardinality(Nullable(String))", ["a", None, ""]),
    ("Nullable(Int32)", [1, None, -1]),
    ("Nullable(String)", ["", None, "\n\n"]),
    ("Array(String)", [[], ["a", "", "\n\n"], ["b"]]),
    ("Array(Array(UInt8))", [[], [[]], [[1], [2, 3]]]),
    ("Array(LowCardinality(String))", [["a"], [], ["b", "a"]]),
    ("Map(String, UInt32)", [{}, {"a": 1, "": 2}, {"\n\n": 3}]),
    ("Tuple(UInt8, String)", [(1, "a"), (2, "")]),
    ("Date", [date(2024, 2, 29)]),
    ("DateTime('Asia/Tokyo')", [datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)]),
    ("DateTime64(6, 'UTC')", [datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    ("Decimal(18, 4)", [Decimal("-12.3456")]),
    ("IPv4", [IPv4Address("192.0.2.7")]),
    ("IPv6", [IPv6Address("2001:db8::7"), IPv6Address("::ffff:192.0.2.7")]),
    ("UUID", [UUID(int=1), UUID("6f1c2d3e-0000-4000-8000-0123456789ab")]),
    ("Enum8('a' = 1, 'it\\'s, b' = 2)", ["a", "it's, b"]),
    ("SimpleAggregateFunction(sum, UInt64)", [7]),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    with EmbeddedClickHouse() as clickhouse:
        yield clickhouse.start(tmp_path_factory.mktemp("click'house {a}*"))
        assert clickhouse.alive()
        assert clickhouse.stop() == 0


@pytest.fixture
def client(server: ClickHouseSettings) -> Iterator[Client]:
    with connected(server) as client:
        yield client


def make(client: Client, table: str, columns: str, rest: str = "ENGINE = MergeTree ORDER BY tuple()") -> None:
    client.execute(f"DROP TABLE IF EXISTS {table}")
    client.execute(f"CREATE TABLE {table} ({columns}) {rest}")


@pytest.mark.parametrize("compression", [False, "lz4", "lz4hc", "zstd"])
def test_values_come_back_as_they_went(server: ClickHouseSettings, compression: str | bool) -> None:
    if compression:
        pytest.importorskip("clickhouse_cityhash", reason="no clickhouse-cityhash here")
    if compression == "zstd":
        pytest.importorskip("zstd", reason="no zstd here")
    columns = ", ".join(f"c{at} {kind}" for at, (kind, _) in enumerate(TYPES))
    rows = [(number, *(values[number % len(values)] for _, values in TYPES)) for number in range(60)]
    settings = {"network_compression_method": str(compression)} if compression else {}
    with connected(server, compression=compression, settings=settings) as client:
        make(client, "types", f"n UInt32, {columns}")

        assert client.execute("INSERT INTO types VALUES", rows) == len(rows)
        answer = client.execute("SELECT * FROM types ORDER BY n")
        for (kind, _), came, went in zip(
            TYPES, list(zip(*answer, strict=True))[1:], list(zip(*rows, strict=True))[1:], strict=True
        ):
            assert came == went, kind

        client.execute("INSERT INTO types VALUES", list(zip(*rows, strict=True)), columnar=True)
        assert client.execute("SELECT count(), uniqExact(tuple(*)) FROM types") == [(120, 60)]


def test_many_blocks_arrive_and_leave(server: ClickHouseSettings) -> None:
    with connected(server, settings={"insert_block_size": 10_000}) as client:
        make(client, "many", "n UInt64, s String")
        rows = [(number, "x\n\n" * (number % 5)) for number in range(100_000)]
        client.execute("INSERT INTO many (s, n) VALUES", [(s, n) for n, s in rows])

        assert client.execute("SELECT n, s FROM many ORDER BY n") == rows
        streamed = client.execute_iter("SELECT n FROM many ORDER BY n", chunk_size=1000)
        assert sum(n for chunk in streamed for (n,) in chunk) == sum(range(100_000))


def test_columns_are_known_without_rows(client: Client) -> None:
    wanted = [("a", "UInt8"), ("b", "LowCardinality(String)")]
    query = "SELECT 1 AS a, toLowCardinality('x') AS b WHERE 0 SETTINGS max_threads = 1 FORMAT JSON"
    assert client.execute(query, with_column_types=True) == ([], wanted)


def test_times_keep_their_zone(client: Client) -> None:
    client.execute("CREATE TEMPORARY TABLE moments (at DateTime('Asia/Tokyo'))")
    when = datetime(2024, 2, 29, 23, 0, tzinfo=UTC)
    client.execute("INSERT INTO moments VALUES", [(when,)])
    query = "SELECT toStartOfHour(toDateTime64('2024-02-29 23:59:59.5', 6, 'UTC')) AS hour, 'DateTime' AS s"
    assert client.execute(query, with_column_types=True) == (
        [(when, "DateTime")],
        [("hour", "DateTime('UTC')"), ("s", "String")],
    )
    long = client.execute(f"SELECT {int(when.timestamp())}::DateTime('UTC') FROM numbers(200000)")
    assert set(long) == {(when,)}
    # a temporary table is seen by its own session only: the documented exception
    assert client.execute("SELECT at FROM moments", with_column_types=True)[1] == [("at", "DateTime")]


def test_statements_of_all_kinds(client: Client) -> None:
    make(client, "kinds", "a UInt32, b String DEFAULT 'd', m UInt32 MATERIALIZED a + 1")
    assert client.execute("INSERT INTO kinds (a) SELECT number FROM numbers(3)") == []
    client.execute("INSERT INTO kinds VALUES (7, 'a;\n\n'), (8, '')")
    client.execute("INSERT INTO kinds (a) SETTINGS async_insert = 0 VALUES", [(9,)])
    client.execute("INSERT INTO kinds (* EXCEPT(a)) VALUES", [("only b",)])
    assert client.execute("SELECT a, b, m FROM kinds WHERE a > 2 ORDER BY a") == [
        (7, "a;\n\n", 8),
        (8, "", 9),
        (9, "d", 10),
    ]
    assert client.execute("SELECT b FROM kinds WHERE m = 1 AND b = 'only b'") == [("only b",)]
    assert ("kinds",) in client.execute("SHOW TABLES")
    assert client.execute("EXISTS TABLE kinds") == [(1,)]
    assert client.execute("SELECT %(name)s, %(number)s", {"name": "it's", "number": 3}) == [("it's", 3)]
    assert client.execute("INSERT INTO kinds (a) VALUES", []) == 0
    client.execute("ALTER TABLE kinds DELETE WHERE a > 2 SETTINGS mutations_sync = 1")
    assert client.execute("SELECT count() FROM kinds") == [(4,)]
    assert client.execute("OPTIMIZE TABLE kinds FINAL") == []


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT nope", 47),
        ("SELECT * FROM missing", 60),
        ("CREATE TABLE kinds2 (a Nothing_such) ENGINE = Memory", 50),
        ("nonsense", 62),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT throwIf(number = 500000) FROM numbers(1000000)", 395),
        ("USE missing", 81),
    ],
)
def test_an_error_has_its_code_and_the_connection_lives(client: Client, statement: str, code: int) -> None:
    with pytest.raises(ServerException) as failed:
        client.execute(statement)
    assert failed.value.code == code
    assert "DB::" in failed.value.message
    assert client.execute("SELECT 1") == [(1,)]


def test_an_insert_that_fails_leaves_nothing(server: ClickHouseSettings, client: Client) -> None:
    make(client, "checked", "a UInt32, CONSTRAINT small CHECK a < 10")
    with pytest.raises(ServerException) as failed:
        client.execute("INSERT INTO checked VALUES", [(1,), (11,)])
    assert failed.value.code == 469
    with pytest.raises(ServerException, match="missing"):
        client.execute("INSERT INTO missing VALUES", [(1,)])
    with (
        connected(server, settings={"insert_block_size": 1}) as torn,
        pytest.raises(Exception, match="argument"),
    ):
        torn.execute("INSERT INTO checked VALUES", [(1,), ("not a number",)])
    time.sleep(0.2)
    assert client.execute("SELECT count() FROM checked") == [(0,)]


def test_a_token_inserts_once(client: Client) -> None:
    window = "non_replicated_deduplication_window = 100"
    make(client, "raw", "p UInt32, n UInt64", f"ENGINE = MergeTree ORDER BY n SETTINGS {window}")
    make(client, "daily", "p UInt32, c UInt64", f"ENGINE = SummingMergeTree ORDER BY p SETTINGS {window}")
    client.execute("DROP VIEW IF EXISTS to_daily")
    client.execute("CREATE MATERIALIZED VIEW to_daily TO daily AS SELECT p, count() AS c FROM raw GROUP BY p")

    def insert(token: str, rows: list[tuple[int, int]]) -> None:
        settings = {
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }
        client.execute("INSERT INTO raw VALUES", rows, settings=settings)

    def counted() -> tuple[int, int]:
        ((raw,),) = client.execute("SELECT count() FROM raw")
        ((daily,),) = client.execute("SELECT sum(c) FROM daily")
        return raw, daily

    insert("0-0-1", [(0, 1), (0, 2)])
    insert("0-0-1", [(0, 1), (0, 2)])
    insert("0-0-1", [(0, 3), (0, 4), (0, 5)])
    assert counted() == (2, 2)
    # other rows that add up to the same in the view are other rows: the token says so
    insert("0-2-3", [(0, 8), (0, 9)])
    assert counted() == (4, 4)
    assert client.execute("SELECT value FROM system.settings WHERE name = 'insert_deduplication_token'") == [
        ("",)
    ]


def test_settings_are_of_one_query(client: Client) -> None:
    value = "SELECT getSetting('max_block_size')"
    client.execute("SET max_block_size = 1000")
    assert client.execute(value) == [(1000,)]
    assert client.execute(value, settings={"max_block_size": 7, "no_such_setting": "ignored"}) == [(7,)]
    assert client.execute(value) == [(1000,)]


def test_an_important_setting_must_be_known(server: ClickHouseSettings) -> None:
    with connected(server, settings_is_important=True) as client, pytest.raises(ServerException) as failed:
        client.execute("SELECT 1", settings={"no_such_setting": "1"})
    assert failed.value.code == 115


def test_sessions_are_apart(server: ClickHouseSettings) -> None:
    with connected(server) as one, connected(server, database="system") as two:
        one.execute("CREATE DATABASE IF NOT EXISTS `other one`")
        one.execute("USE `other one`")
        one.execute("CREATE TEMPORARY TABLE mine (a UInt8)")
        assert one.execute("SELECT currentDatabase()") == [("other one",)]
        assert two.execute("SELECT currentDatabase()") == [("system",)]
        with pytest.raises(ServerException):
            two.execute("SELECT * FROM mine")


def test_only_the_password_lets_in(server: ClickHouseSettings) -> None:
    for user, password in ((server.user, "wrong"), (server.user, ""), ("root", server.password)):
        with (
            connected(server, user=user, password=password) as client,
            pytest.raises(ServerException) as failed,
        ):
            client.execute("SELECT 1")
        assert failed.value.code == 516
        assert server.password not in str(failed.value)
    with connected(server, database="missing") as client, pytest.raises(ServerException) as failed:
        client.execute("SELECT 1")
    assert failed.value.code == 81


def test_clients_at_once(server: ClickHouseSettings, client: Client) -> None:
    make(client, "shared", "who UInt8, n UInt32")
    failures: list[Exception] = []

    def work(who: int) -> None:
        try:
            with connected(server) as mine:
                for turn in range(10):
                    mine.execute("INSERT INTO shared VALUES", [(who, turn * 100 + n) for n in range(100)])
                    expected = [(100 * (turn + 1),)]
                    assert (
                        mine.execute("SELECT count() FROM shared WHERE who = %(w)s", {"w": who}) == expected
                    )
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert client.execute("SELECT count(), uniqExact(who, n) FROM shared") == [(6000, 6000)]


def test_a_long_query_holds_nobody_up_and_can_be_cancelled(
    server: ClickHouseSettings, client: Client
) -> None:
    endless = "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"
    running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(city%'"

    def wait_for(count: int) -> None:
        until = time.monotonic() + 10
        while client.execute(running) != [(count,)]:
            assert time.monotonic() < until
            time.sleep(0.02)

    with connected(server) as busy:
        busy.connection.force_connect()
        busy.connection.send_query(endless)
        busy.connection.send_external_tables([])
        wait_for(1)
        busy.cancel()
        wait_for(0)
        assert busy.execute("SELECT 1") == [(1,)]

        stream = busy.execute_iter("SELECT number FROM numbers(1000000000)")
        assert next(stream) == (0,)
        busy.cancel()
        assert busy.execute("SELECT 2") == [(2,)]

    leaver = Client(server.host, port=server.port, user=server.user, password=server.password)
    leaver.connection.force_connect()
    leaver.connection.send_query(endless)
    leaver.connection.send_external_tables([])
    wait_for(1)
    leaver.disconnect()
    wait_for(0)


def hello(server: ClickHouseSettings, revision: int = 54468) -> bytes:
    names = text(server.database) + text(server.user) + text(server.password)
    return b"\0" + text("test") + b"\1\1" + varint(revision) + names


def test_garbage_ends_its_own_connection_only(server: ClickHouseSettings, client: Client) -> None:
    assert client.execute("SELECT 1") == [(1,)]
    chance = random.Random(7)
    starts = (b"", hello(server), hello(server) + b"\1", hello(server) + b"\2\0", hello(server)[:-3])
    for number in range(60):
        answer_to(server, starts[number % len(starts)] + chance.randbytes(chance.randrange(200)))
    answer_to(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"UNKNOWN_PACKET" in answer_to(server, hello(server) + b"\x63")
    assert b"too old" in answer_to(server, hello(server, 54000))
    assert b"Data without a query" in answer_to(
        server, hello(server) + b"\2\0\0\1\1" + text("c") + text("UInt8") + b"\1"
    )
    assert client.execute("SELECT 2") == [(2,)]
    with connected(server) as another:
        assert another.execute("SELECT 3") == [(3,)]


def test_one_client_too_many_is_told(server: ClickHouseSettings) -> None:
    clients = [
        Client(server.host, port=server.port, user=server.user, password=server.password) for _ in range(99)
    ]
    told = []
    try:
        for each in clients:
            try:
                each.execute("SELECT 1")
            except (ServerException, NetworkError, EOFError) as error:
                told.append(error)
                break
    finally:
        for each in clients:
            each.disconnect()
    assert len(told) == 1
    assert f"more than {MAX_CLIENTS} clients" in str(told[0])
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with connected(server) as client:
                assert client.execute("SELECT 1") == [(1,)]
            return
        except ServerException:
            time.sleep(0.05)
    pytest.fail("no client is let in after the others have left")


def test_killed_and_started_again_the_rows_are_there(tmp_path: Path) -> None:
    with EmbeddedClickHouse() as clickhouse:
        server = clickhouse.start(tmp_path, password="as it was")
        with connected(server) as client:
            make(
                client,
                "kept",
                "n UInt64",
                "ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 9",
            )
            for at in range(5):
                token = {"insert_deduplication_token": str(at)}
                client.execute("INSERT INTO kept VALUES", [(at * 10 + n,) for n in range(10)], settings=token)
            (tmp_path / "inserts" / "left.native").write_bytes(b"torn")
            assert clickhouse.pid is not None
            os.kill(clickhouse.pid, signal.SIGKILL)
        assert clickhouse.stop() == -signal.SIGKILL
        assert not clickhouse.alive()

        server = clickhouse.start(tmp_path, port=server.port, password="as it was")
        with connected(server) as client:
            client.execute(
                "INSERT INTO kept VALUES",
                [(40 + n,) for n in range(10)],
                settings={"insert_deduplication_token": "4"},
            )
            assert client.execute("SELECT count(), uniqExact(n) FROM kept") == [(50, 50)]
        assert list((tmp_path / "inserts").iterdir()) == []
        assert clickhouse.stop() == 0


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with EmbeddedClickHouse() as first, EmbeddedClickHouse() as second:
        first.start(tmp_path)
        with pytest.raises(UnavailableError, match=f"process {first.pid} has this ClickHouse data open"):
            second.start(tmp_path)
        assert not second.alive()
        assert first.alive()
        first.stop()
        second.start(tmp_path)


def test_a_port_that_is_taken_is_named(server: ClickHouseSettings, tmp_path: Path) -> None:
    with (
        EmbeddedClickHouse() as clickhouse,
        pytest.raises(UnavailableError, match=f":{server.port}: Address already"),
    ):
        clickhouse.start(tmp_path, port=server.port)


def test_it_stops_in_the_middle_of_a_query(tmp_path: Path) -> None:
    clickhouse = EmbeddedClickHouse()
    server = clickhouse.start(tmp_path)
    with connected(server) as client:
        client.connection.force_connect()
        client.connection.send_query("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
        client.connection.send_external_tables([])
        time.sleep(0.5)
        begun = time.monotonic()
        assert clickhouse.stop() == 0
        assert time.monotonic() - begun < 3


def test_secrets_stay_secret(tmp_path: Path) -> None:
    with EmbeddedClickHouse() as clickhouse:
        server = clickhouse.start(tmp_path)
        about = Path(f"/proc/{clickhouse.pid}")
        if about.is_dir():
            assert server.password.encode() not in (about / "cmdline").read_bytes()
            assert server.password.encode() not in (about / "environ").read_bytes()
        assert server.password not in repr(server)
        assert server.host == "127.0.0.1"
        assert clickhouse.log is not None
        assert server.password not in clickhouse.log.read_text(encoding="utf-8")
        assert {path.stat().st_mode & 0o077 for path in (clickhouse.log, tmp_path / "inserts")} == {0}


def test_it_stops_by_signal_and_with_its_parent(tmp_path: Path) -> None:
    clickhouse = EmbeddedClickHouse()
    server = clickhouse.start(tmp_path)
    assert clickhouse.pid is not None
    with connected(server) as client:
        assert client.execute("SELECT 1") == [(1,)]
        os.kill(clickhouse.pid, signal.SIGINT)  # the terminal's Ctrl-C is the parent's business
        assert client.execute("SELECT 2") == [(2,)]
        os.kill(clickhouse.pid, signal.SIGTERM)
        until = time.monotonic() + 10
        while clickhouse.alive() and time.monotonic() < until:
            time.sleep(0.02)
    assert clickhouse.stop() == 0

    parent = "\n".join(
        (
            "import pathlib, sys, time",
            "from streams.embedded.clickhouse import EmbeddedClickHouse",
            "clickhouse = EmbeddedClickHouse()",
            "clickhouse.start(pathlib.Path(sys.argv[1]))",
            "print(clickhouse.pid, flush=True)",
            "time.sleep(60)",
        )
    )
    orphaning = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert orphaning.stdout is not None
    child = int(orphaning.stdout.readline())
    orphaning.kill()
    orphaning.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").is_dir() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    with clickhouse:
        clickhouse.start(tmp_path)

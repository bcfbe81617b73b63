"""Migrations on the real engine."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from click.testing import CliRunner

from streams.audit import migrations
from streams.audit.clickhouse import ClickHouse, StorageError
from streams.audit.cluster import for_cluster
from streams.audit.migrations import Migration, MigrationError, due, migrate, read_migrations
from streams.audit.retention import KEPT, keep, kept, older
from streams.audit.tables import PLACE, TABLES
from streams.cli.db import db as db_commands
from streams.config import ClickHouseSettings
from streams.errors import GoawayError

pytestmark = pytest.mark.needs("chdb")

CREATE_A: Final = "CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n;\n"


@pytest.fixture
def clickhouse(engine: ClickHouseSettings, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client of a database that does not exist yet."""
    client = ClickHouse(replace(engine, database=f"{engine.database}-{request.node.originalname}"))
    yield client
    client.close()


def test_everything_is_applied_once(clickhouse: ClickHouse) -> None:
    assert {each.applied for each in migrations.status(clickhouse)} == {None}
    names = [each.name for each in read_migrations()]
    assert migrate(clickhouse) == names
    assert migrate(clickhouse) == []
    standing = migrations.status(clickhouse)
    assert [each.name for each in standing] == names
    assert all(each.applied is not None and each.applied.tzinfo is not None for each in standing)
    assert clickhouse.rows("SELECT count() FROM goaway_migrations") == [(len(names),)]


def test_the_tables_are_those_the_sink_fills(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    for table in TABLES:
        found = clickhouse.rows(
            "SELECT name, type, comment FROM system.columns WHERE database = %(database)s"
            " AND table = %(table)s AND default_kind != 'ALIAS' ORDER BY position",
            {"database": clickhouse.database, "table": table.name},
        )
        expected = [*((column.name, column.type) for column in table.columns), *PLACE]
        assert [(name, kind) for name, kind, _ in found] == expected
        assert all(comment for _, _, comment in found)


def test_rows_stored_before_0006_have_the_defaults(clickhouse: ClickHouse) -> None:
    all_of_them = read_migrations()
    migrate(clickhouse, all_of_them[:5])
    columns: list[list[object]] = [[1_000_000], ["192.0.2.7"], ["::ffff:192.0.2.7"]]
    for table in ("events", "decisions", "warnings"):
        clickhouse.insert(table, ["at", "client", "address"], columns, token=table)
    assert migrate(clickhouse, all_of_them) == [each.name for each in all_of_them[5:]]
    assert clickhouse.rows("SELECT ttl_s FROM events") == [(0,)]
    assert clickhouse.rows("SELECT shadow, triplet, pool FROM decisions") == [(False, "", "")]
    assert clickhouse.rows("SELECT about, text FROM warnings") == [("limit", "")]


def test_a_changed_file_is_refused_before_anything_is_done(clickhouse: ClickHouse) -> None:
    first = Migration("0001_a.sql", "CREATE TABLE IF NOT EXISTS a (n UInt8) ENGINE = MergeTree ORDER BY n;\n")
    second = Migration(
        "0002_b.sql", "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = MergeTree ORDER BY n;\n"
    )
    migrate(clickhouse, [first])
    changed = Migration(first.name, first.text + "-- a thought\n")
    with pytest.raises(MigrationError, match=r"sql/0001_a\.sql has changed since it was applied"):
        migrate(clickhouse, [changed, second])
    with pytest.raises(MigrationError, match="has changed"):
        migrations.status(clickhouse, [changed])
    with pytest.raises(MigrationError, match=r"0001_a\.sql .* is not in this version"):
        migrate(clickhouse, [second])
    assert migrate(clickhouse, [first, second]) == [second.name]


def test_a_migration_that_stopped_half_way_is_run_again_whole(clickhouse: ClickHouse) -> None:
    half = Migration(
        "0001_a.sql", CREATE_A + "CREATE TABLE IF NOT EXISTS b (n NoSuchType) ENGINE = Memory;\n"
    )
    with pytest.raises(StorageError, match=r"sql/0001_a\.sql, statement 2"):
        migrate(clickhouse, [half])
    whole = Migration("0001_a.sql", CREATE_A + "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = Memory;\n")
    assert migrate(clickhouse, [whole]) == [whole.name]


def test_a_wrong_password_is_said_without_it(engine: ClickHouseSettings) -> None:
    wrong = ClickHouse(ClickHouseSettings(engine.host, engine.port, engine.user, "not-the-password"))
    with pytest.raises(StorageError, match="does not let user 'default' in") as caught:
        migrate(wrong)
    assert "not-the-password" not in str(caught.value)


def test_an_insert_is_stored_once_whatever_its_content(clickhouse: ClickHouse) -> None:
    """The engine's promise that the sink rests on: the token alone decides."""
    migrate(clickhouse)
    names = ("topic", "epoch", "topic_id", "instance", "started")
    for topic_id in ("x", "x", "y"):
        row: list[list[object]] = [["t"], [1], [topic_id], [""], [0]]
        clickhouse.insert("sink_epochs", names, row, token="one")
    assert clickhouse.rows("SELECT topic_id FROM sink_epochs") == [("x",)]


def test_what_takes_away_is_refused_unless_told(clickhouse: ClickHouse) -> None:
    first = Migration("0001_a.sql", CREATE_A)
    second = Migration(
        "0002_b.sql", "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = MergeTree ORDER BY n;\n"
    )
    third = Migration("0003_c.sql", "DROP TABLE IF EXISTS a;\n")
    migrate(clickhouse, [first])
    assert due(clickhouse, [first, second, third]) == [second, third]
    with pytest.raises(MigrationError, match=r"sql/0003_c\.sql takes away what is stored: DROP TABLE"):
        migrate(clickhouse, [first, second, third])
    assert due(clickhouse, [first, second, third]) == [second, third]  # nothing was done
    assert migrate(clickhouse, [first, second, third], may_lose=True) == [second.name, third.name]
    assert due(clickhouse, [first, second, third]) == []


def test_a_migration_is_due_where_there_is_no_database_yet(clickhouse: ClickHouse) -> None:
    assert due(clickhouse) == read_migrations()


def test_every_statement_for_a_cluster_is_good_syntax(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    statements = list(for_cluster(read_migrations(), cluster="guards", database="mail"))
    for statement in statements:
        [(formatted,)] = clickhouse.rows("SELECT formatQuery(%(text)s)", {"text": statement})
        assert formatted
    with pytest.raises(GoawayError):
        clickhouse.rows("SELECT formatQuery(%(text)s)", {"text": statements[-2] + " FROM"})


def test_retention_is_set_shown_and_taken_back(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    assert {each.name: each.days for each in kept(clickhouse)} == dict.fromkeys(KEPT)
    columns: list[list[object]] = [[1_000_000] * 3, ["192.0.2.7"] * 3, ["::ffff:192.0.2.7"] * 3]
    for name in KEPT:
        table, column = KEPT[name]
        if column == "at" and table != "deadletters":
            clickhouse.insert(table, ["at", "client", "address"], columns, token=table)
            assert older(clickhouse, name, 400) == 3
        keep(clickhouse, name, 400)
    assert {each.days for each in kept(clickhouse)} == {400}
    clickhouse.command("OPTIMIZE TABLE events FINAL")
    assert next(each.rows for each in kept(clickhouse) if each.name == "events") == 0
    for name in KEPT:
        keep(clickhouse, name, None)
        keep(clickhouse, name, None)
    assert {each.days for each in kept(clickhouse)} == {None}


def said(clickhouse: ClickHouse, settings: ClickHouseSettings, *arguments: str, code: int = 0) -> str:
    """What `goaway db …` prints."""
    environment = {
        "GOAWAY_CLICKHOUSE": f"{settings.host}:{settings.port}",
        "GOAWAY_CLICKHOUSE_PASSWORD": settings.password,
        "GOAWAY_CLICKHOUSE_DATABASE": clickhouse.database,
        "GOAWAY_DATA": "/nonexistent",
    }
    done = CliRunner().invoke(db_commands, arguments, env=environment)
    assert done.exit_code == code, done.output
    return f"{done.output}{done.exception or ''}"


def test_the_commands(engine: ClickHouseSettings, clickhouse: ClickHouse) -> None:
    def db(*arguments: str, code: int = 0) -> str:
        return said(clickhouse, engine, *arguments, code=code)

    assert "would apply 0001_events.sql: 1 statement\n" in db("migrate", "--dry-run")
    assert "CREATE TABLE IF NOT EXISTS events\n" in db("migrate", "--print")
    assert "not yet" in db("status", code=1)
    assert "applied 0001_events.sql" in db("migrate")
    assert db("migrate", "--dry-run") == db("migrate") == "all migrations are applied already\n"
    assert read_migrations()[0].checksum[:12] in db("status")
    assert "ON CLUSTER 'guards'" in db("migrate", "--print", "--cluster", "guards")
    columns: list[list[object]] = [[1_000_000] * 3, ["192.0.2.7"] * 3, ["::ffff:192.0.2.7"] * 3]
    clickhouse.insert("warnings", ["at", "client", "address"], columns, token="w")
    assert "400 days" in db("retention", "--events", "400d")
    unasked = "warnings: 3 rows are older than 30 days; not confirmed, and not changed. Try: --yes"
    assert unasked in db("retention", "--warnings", "30d", code=1)
    answer = json.loads(db("retention", "--warnings", "30d", "--yes", "--events", "forever", "--json"))
    assert {row["name"]: row["days"] for row in answer} == {**dict.fromkeys(KEPT), "warnings": 30}

"""Migration files: names, cutting into statements, and the rules of sql/README.md."""

import re
from pathlib import Path

import pytest

from streams.audit.migrations import Migration, MigrationError, read_migrations


def test_ours_are_numbered_and_may_run_twice() -> None:
    migrations = read_migrations()
    assert [m.name[:4] for m in migrations] == [f"{n:04d}" for n in range(1, len(migrations) + 1)]
    for migration in migrations:
        assert migration.statements
        for statement in migration.statements:
            assert re.search(r"\bIF (NOT )?EXISTS\b|^ALTER TABLE \w+\n    MODIFY QUERY\n", statement), (
                statement
            )
            assert not re.search(r"\b(TABLE|VIEW)( IF NOT EXISTS| IF EXISTS)? \w+\.", statement), statement


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        ("-- nothing\n;\n", []),
        ("A;\nB", ["A", "B"]),
        ("A 'x;y';  \n-- c;\nB\nC;\n", ["A 'x;y'", "B\nC"]),
    ],
)
def test_statements_are_cut_at_line_ends(text: str, statements: list[str]) -> None:
    assert Migration("0001_x.sql", text).statements == statements


@pytest.mark.parametrize("name", ["0002_gap.sql", "1_short.sql", "0001-dash.sql"])
def test_a_wrong_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match=f"sql/{name} should be number 0001"):
        read_migrations(tmp_path)


def test_the_checksum_is_the_files() -> None:
    assert Migration("0001_x.sql", "a").checksum != Migration("0001_x.sql", "a ").checksum


def test_our_views_hold_no_rows_of_their_own() -> None:
    """So that `DROP VIEW` may count as harmless."""
    statements = [it for migration in read_migrations() for it in migration.statements]
    made = [it for it in statements if re.search(r"\bMATERIALIZED\s+VIEW\b", it, re.IGNORECASE)]
    assert made
    for statement in made:
        assert re.match(r"CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ TO \w+ AS\s", statement), statement


def test_ours_lose_nothing() -> None:
    assert [migration.name for migration in read_migrations() if migration.losing] == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE IF EXISTS a",
        "drop database if exists a",
        "TRUNCATE TABLE IF EXISTS a",
        "ALTER TABLE a\n    DROP COLUMN IF EXISTS b",
        "ALTER TABLE a\n    CLEAR COLUMN IF EXISTS b",
        "ALTER TABLE a\n    MODIFY COLUMN IF EXISTS b UInt8",
        "ALTER TABLE a\n    MODIFY TTL at + INTERVAL 1 DAY",
        "ALTER TABLE a DROP PARTITION 202601",
        "ALTER TABLE a\n    DELETE WHERE b = 1",
        "DELETE FROM a WHERE b = 1",
        "CREATE OR REPLACE TABLE a (n UInt8) ENGINE = MergeTree ORDER BY n",
        "ALTER TABLE a DELETE WHERE b = 1",
        "ALTER TABLE a UPDATE b = 2 WHERE b = 1",
        "ALTER TABLE a\n    ADD COLUMN IF NOT EXISTS c UInt8,\n    UPDATE b = 'x' WHERE b = 'y'",
        "ALTER TABLE`a`DELETE WHERE b = 1",
        "UPDATE a SET b = 2 WHERE b = 1",
        "/* why */ DROP TABLE IF EXISTS a",
        "DROP /* it's */ TABLE a",
        "DROP -- it's\n TABLE a",
        "/* why\n   so */\nTRUNCATE TABLE a",
        "/* why */ DELETE FROM a WHERE b = 1",
        "DETACH TABLE IF EXISTS a PERMANENTLY",
        "ALTER TABLE a DETACH PARTITION 202601",
        "ALTER TABLE a DROP DETACHED PARTITION 202601",
        "ALTER TABLE a REPLACE PARTITION 202601 FROM b",
        "ALTER TABLE a MATERIALIZE TTL",
        "ALTER TABLE a ALTER COLUMN b TYPE UInt8",
        "OPTIMIZE TABLE a FINAL DEDUPLICATE BY b",
        "OPTIMIZE TABLE a DEDUPLICATE",
        "EXCHANGE TABLES a AND b",
        "SELECT 1; DELETE FROM a WHERE b = 1",
    ],
)
def test_what_takes_away_is_known(statement: str) -> None:
    assert Migration("0001_x.sql", f"{statement};\n").losing == [statement]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW IF EXISTS a",
        "ALTER TABLE a\n    ADD COLUMN IF NOT EXISTS deleted Bool COMMENT 'drop table' AFTER b",
        "ALTER TABLE a\n    MODIFY SETTING ttl_only_drop_parts = 1",
        "ALTER TABLE a\n    DROP INDEX IF EXISTS b",
        "ALTER TABLE a\n    COMMENT COLUMN IF EXISTS b 'what a DELETE or an UPDATE leaves; drop table'",
        "ALTER TABLE a\n    ADD COLUMN IF NOT EXISTS `update` Bool /* not DELETE */ AFTER b",
        "ALTER TABLE a\n    ADD COLUMN IF NOT EXISTS c String DEFAULT 'it\\'s' COMMENT 'DELETE' AFTER b",
        "CREATE TABLE IF NOT EXISTS a (n UInt8, at DateTime) ENGINE = MergeTree ORDER BY n TTL at DELETE",
        "CREATE VIEW IF NOT EXISTS a AS SELECT\nreplace(b, 'x', 'y'),\ntruncate(c)\nFROM d",
        "OPTIMIZE TABLE a FINAL",
    ],
)
def test_what_does_not_is_left_in_peace(statement: str) -> None:
    assert Migration("0001_x.sql", f"{statement};\n").losing == []

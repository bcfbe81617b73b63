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
            assert re.search(r"\bIF (NOT )?EXISTS\b", statement), statement
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

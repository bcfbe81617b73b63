"""Migrations: the numbered files of `sql/`, applied in order, each once, and held to what was applied."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from streams.audit.clickhouse import ClickHouse, StorageError
from streams.errors import GoawayError
from streams.model.instant import MICROSECONDS, as_datetime
from streams.resources import sql_folder

_NAME: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

_NO_WORDS: Final = re.compile(
    r"""'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | (?P<heredoc>\$\w*\$).*?(?P=heredoc)
    | /\*.*?\*/ | --[^\n]* | \#[ !][^\n]*""",
    re.DOTALL | re.VERBOSE,
)
"""Texts, quoted names and comments: the words in them do nothing."""

_LOSES: Final = re.compile(
    r"""\b DROP \s (DATABASE|TABLE|TEMPORARY|DICTIONARY|COLUMN|PARTITION|PART|DETACHED) \b
    | \b DETACH \s (DATABASE|TABLE|DICTIONARY|PARTITION|PART) \b
    | \b (CLEAR|MODIFY|ALTER|REPLACE|MOVE|MATERIALIZE) \s (COLUMN|PARTITION|PART|TTL) \b
    | (?:^|;\s?) (TRUNCATE|DELETE|UPDATE|REPLACE|EXCHANGE|CREATE \s OR \s REPLACE) \b
    | (?:^|;\s?) ALTER \b .* \b (DELETE|UPDATE) \b
    | (?:^|;\s?) OPTIMIZE \b .* \b (DEDUPLICATE|CLEANUP) \b""",
    re.IGNORECASE | re.VERBOSE,
)
"""What takes rows or values away, or may: a column of another type holds other values. Dropping a view or an
index loses nothing that cannot be made again: those of `sql/` that are materialized fill a table (`TO`), and
a test holds them to it; without one a view would hold its rows itself."""

REGISTER: Final = """
CREATE TABLE IF NOT EXISTS goaway_migrations
(
    name String COMMENT 'file name in sql/',
    checksum String COMMENT 'SHA-256 of the file',
    applied DateTime64(6, 'UTC') COMMENT 'when it was applied'
)
ENGINE = MergeTree
ORDER BY name
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'which files of sql/ were applied'
"""


class MigrationError(GoawayError):
    """Files of `sql/` and database do not go together (exit code 3)."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/`."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Its statements in order: each ends with `;` at the end of a line; `--` lines are left out."""
        lines = (line for line in self.text.splitlines() if not line.lstrip().startswith("--"))
        cut = re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))
        return [statement.strip() for statement in cut if statement.strip()]

    @property
    def losing(self) -> list[str]:
        """Its statements that take away what is stored."""
        return [statement for statement in self.statements if _LOSES.search(_words(statement))]


def _words(statement: str) -> str:
    """The statement in one line, with a blank where a comment was and `?` for what is quoted."""
    bare = _NO_WORDS.sub(lambda found: " " if found[0].startswith(("/*", "--", "#")) else " ? ", statement)
    return " ".join(bare.split())


@dataclass(frozen=True, slots=True)
class Applied:
    """Where one migration stands."""

    name: str
    checksum: str
    applied: datetime | None
    """None: not yet."""


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations in order, or `MigrationError` for a name that is none or a number left out."""
    files = sorted((folder or sql_folder()).glob("*.sql"))
    for number, file in enumerate(files, start=1):
        match = _NAME.match(file.name)
        if match is None or int(match[1]) != number:
            raise MigrationError(
                f"sql/{file.name} should be number {number:04d}",
                try_next=f"{number:04d}_name.sql, without gaps",
            )
    return [Migration(file.name, file.read_text(encoding="utf-8")) for file in files]


def migrate(
    clickhouse: ClickHouse, migrations: Sequence[Migration] | None = None, *, may_lose: bool = False
) -> list[str]:
    """Create the database where it is missing and apply what is not applied yet; the names of those applied.

    A migration that was killed half way is run again whole (its statements may run twice). Raises
    `MigrationError` before anything is done where an applied file has changed or is gone, and, without
    `may_lose`, where one that is due takes away what is stored.
    """
    wanted = read_migrations() if migrations is None else migrations
    clickhouse.create_database()
    clickhouse.command(REGISTER)
    known = _register(clickhouse)
    _refuse_changed(wanted, known)
    if not may_lose:
        _refuse_losing([migration for migration in wanted if migration.name not in known])
    done = []
    for migration in wanted:
        if migration.name in known:
            continue
        for number, statement in enumerate(migration.statements, start=1):
            try:
                clickhouse.command(statement)
            except GoawayError as error:
                raise StorageError(
                    f"sql/{migration.name}, statement {number}: {error.what}", try_next="goaway db status"
                ) from error
        row: list[list[object]] = [[migration.name], [migration.checksum], [int(time.time() * MICROSECONDS)]]
        clickhouse.insert("goaway_migrations", ["name", "checksum", "applied"], row, token=migration.name)
        done.append(migration.name)
    return done


def due(clickhouse: ClickHouse, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What `migrate` would apply, in order; nothing is changed."""
    wanted = read_migrations() if migrations is None else migrations
    unapplied = {one.name for one in status(clickhouse, wanted) if one.applied is None}
    return [migration for migration in wanted if migration.name in unapplied]


def status(clickhouse: ClickHouse, migrations: Sequence[Migration] | None = None) -> list[Applied]:
    """Every migration in order with the time it was applied; nothing is changed.

    Without database or register none is applied. A changed file raises `MigrationError`.
    """
    wanted = read_migrations() if migrations is None else migrations
    try:
        known = _register(clickhouse)
    except StorageError as error:
        if "missing" not in error.what:
            raise
        known = {}
    _refuse_changed(wanted, known)
    return [
        Applied(
            migration.name, migration.checksum, known[migration.name][1] if migration.name in known else None
        )
        for migration in wanted
    ]


def _register(clickhouse: ClickHouse) -> dict[str, tuple[str, datetime]]:
    found = clickhouse.rows(
        "SELECT name, checksum, toUnixTimestamp64Micro(applied) FROM goaway_migrations ORDER BY applied"
    )
    return {name: (checksum, as_datetime(applied)) for name, checksum, applied in found}


def _refuse_losing(wanted: Sequence[Migration]) -> None:
    for migration in wanted:
        for statement in migration.losing:
            raise MigrationError(
                f"sql/{migration.name} takes away what is stored: {' '.join(statement.split())[:200]}",
                try_next="goaway db migrate --dry-run, then goaway db migrate --may-lose-data",
            )


def _refuse_changed(wanted: Sequence[Migration], known: dict[str, tuple[str, datetime]]) -> None:
    checksums = {migration.name: migration.checksum for migration in wanted}
    for name, (checksum, applied) in known.items():
        if name not in checksums:
            raise MigrationError(
                f"sql/{name} was applied {applied:%Y-%m-%d %H:%M} and is not in this version of Goaway",
                try_next="pip install --upgrade goaway",
            )
        if checksums[name] != checksum:
            raise MigrationError(
                f"sql/{name} has changed since it was applied {applied:%Y-%m-%d %H:%M}",
                try_next=f"restore sql/{name} and put the change into a file with the next number",
            )

"""One client's session of the embedded engine: its database, its settings, its results as blocks.

Facts of chdb-core 26.9 that this rests on, each held by a test:
- `send_query` gives one Native block a fetch, and refuses what is not a SELECT before running any of it;
- a second query on a session ends the one that streams: what is asked meanwhile is asked aside;
- a result has no block without rows to start with, from which clients learn its columns; one without rows has
  no block at all: the first is made from the second, or the columns are asked for;
- FORMAT Native leaves the time zone out of `DateTime('UTC')`, which then has to be put back;
- a file to insert is looked for as a pattern, working directory included: where that has a `{` or `*` nothing
  is found, nothing is inserted, and nothing is said; `/proc/self/cwd` has neither, and rows are counted.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from streams.embedded.clickhouse.native import UnknownTypeError, block_columns, split_blocks, with_types
from streams.embedded.clickhouse.packets import Setting
from streams.embedded.clickhouse.replies import EMPTY_BLOCK, ServerError, sample_block
from streams.embedded.clickhouse.statement import DataInsert, identifier, keyword, quoted, without_format

_UNKNOWN_SETTING: Final = 115
_NO_STREAM: Final = "Streaming query is not supported"
_MANY_STATEMENTS: Final = 62
_CANNOT_READ_ALL_DATA: Final = 33
_WORKING_DIRECTORY: Final = "/proc/self/cwd/" if Path("/proc/self/cwd").is_dir() else ""


class Session:
    """Statements go in, Native blocks come out. One thread at a time."""

    def __init__(self, connect: Callable[[], Any], name: str, database: str) -> None:
        self.name = name
        self._connect = connect
        self._connection = connect()
        # as on a server, where `foo` alone is a syntax error
        self._control(f"SET log_comment = {quoted(name)}, implicit_select = 0")
        if database:
            self._control(f"USE {identifier(database)}")
        self._database = self._current_database()
        self._changed = self._changed_settings()

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def run(self, query: str, settings: tuple[Setting, ...]) -> Generator[bytes, None, None]:
        """Execute a statement and give its result, one Native block at a time. Raises `ServerError`."""
        self._apply(settings)
        try:
            yield from self._blocks(without_format(query))
        finally:
            self._restore(settings)
            if keyword(query) == "SET":
                self._changed = self._changed_settings()
            if keyword(query) == "USE":
                self._database = self._current_database()

    def columns(self, insert: DataInsert) -> list[tuple[str, str]]:
        """(name, type) of the columns that an INSERT is to be sent. Raises `ServerError`."""
        return self._described(insert.describe())

    def insert(self, insert: DataInsert, name: str, rows: int, settings: tuple[Setting, ...]) -> None:
        """Insert `rows` rows of Native blocks from the file `name` in the working directory.

        Raises `ServerError`, also where the engine has read fewer rows than were sent.
        """
        self._apply(settings)
        try:
            result = self._connection.query(insert.from_file(_WORKING_DIRECTORY + name), "TabSeparated")
            read = int(result.rows_read())
        except RuntimeError as error:
            raise ServerError.of_engine(str(error)) from None
        finally:
            self._restore(settings)
        if read != rows:
            message = f"DB::Exception: {read} of {rows} rows were inserted. (CANNOT_READ_ALL_DATA)"
            raise ServerError(_CANNOT_READ_ALL_DATA, message)

    def _blocks(self, query: str) -> Generator[bytes, None, None]:
        if keyword(query) != "INSERT" and self._connection._conn.classify_query(query)["statement_count"] > 1:
            raise ServerError(
                _MANY_STATEMENTS, "DB::Exception: Multi-statements are not allowed. (SYNTAX_ERROR)"
            )
        empty = True
        try:
            with self._connection.send_query(query, "Native") as stream:
                types: list[str] = []
                for chunk in stream:
                    block = bytes(chunk.bytes())
                    if empty:
                        header, types = self._header(block, query)
                        yield header
                    empty = False
                    yield with_types(block, types) if types else block
        except RuntimeError as error:
            if not (empty and _NO_STREAM in str(error)):
                raise ServerError.of_engine(str(error)) from None
        else:
            if empty:  # its columns are still wanted
                yield sample_block(self._described(_describe(query)))
            return
        yield from split_blocks(self._query(query, "Native"))

    def _header(self, first: bytes, query: str) -> tuple[bytes, list[str]]:
        """The block to start with, and the types to give to the blocks where they lack a time zone."""
        try:
            columns = block_columns(first)
        except UnknownTypeError:
            return EMPTY_BLOCK, []
        types = [column.type for column in columns]
        full: list[str] = []
        if "DateTime" in types:
            told = self._types_aside(query)
            if [_zoneless(type_name) for type_name in told] == types:
                types = full = told
        return sample_block([(column.name, t) for column, t in zip(columns, types, strict=True)]), full

    def _types_aside(self, query: str) -> list[str]:
        """The full types of a query, while it streams; none where only its own session knows them."""
        aside = self._connect()
        try:
            aside.query(f"USE {identifier(self._database)}", "TabSeparated")
            return [type_name for _, type_name in _rows_described(aside, _describe(query))]
        except RuntimeError:  # it reads a temporary table, or rests on a setting
            return []
        finally:
            aside.close()

    def _described(self, describe: str) -> list[tuple[str, str]]:
        try:
            return _rows_described(self._connection, describe)
        except RuntimeError as error:
            raise ServerError.of_engine(str(error)) from None

    def _query(self, query: str, output_format: str) -> bytes:
        try:
            return bytes(self._connection.query(query, output_format).bytes())
        except RuntimeError as error:
            raise ServerError.of_engine(str(error)) from None

    def _control(self, statement: str) -> None:
        self._query(statement, "TabSeparated")

    def _apply(self, settings: tuple[Setting, ...]) -> None:
        if not settings:
            return
        try:
            self._control("SET " + ", ".join(f"{_setting_name(s)} = {quoted(s.value)}" for s in settings))
        except ServerError as error:
            if error.code != _UNKNOWN_SETTING:
                raise
            for setting in settings:
                self._apply_one(setting)

    def _apply_one(self, setting: Setting) -> None:
        try:
            self._control(f"SET {_setting_name(setting)} = {quoted(setting.value)}")
        except ServerError as error:
            if setting.important or error.code != _UNKNOWN_SETTING:
                raise

    def _restore(self, settings: tuple[Setting, ...]) -> None:
        for setting in settings:
            before = self._changed.get(setting.name)
            value = "DEFAULT" if before is None else quoted(before)
            try:
                self._control(f"SET {_setting_name(setting)} = {value}")
            except ServerError as error:
                if error.code != _UNKNOWN_SETTING:
                    raise

    def _current_database(self) -> str:
        return self._query("SELECT currentDatabase()", "TabSeparatedRaw").decode().rstrip("\n")

    def _changed_settings(self) -> dict[str, str]:
        rows = self._query("SELECT name, value FROM system.settings WHERE changed", "TabSeparatedRaw")
        return dict(row.split("\t", 1) for row in rows.decode().splitlines() if "\t" in row)


def _describe(query: str) -> str:
    return f"DESCRIBE ({query.strip().rstrip(';')}\n)"


def _rows_described(connection: Any, describe: str) -> list[tuple[str, str]]:
    rows = bytes(connection.query(describe, "TabSeparatedRaw").bytes()).decode().splitlines()
    return [(name, type_name) for name, type_name, *_ in (row.split("\t") for row in rows)]


def _zoneless(type_name: str) -> str:
    return "DateTime" if type_name.startswith("DateTime(") else type_name


def _setting_name(setting: Setting) -> str:
    if not setting.name.replace("_", "").isalnum() or not setting.name.isascii():
        raise ServerError(
            _UNKNOWN_SETTING, f"DB::Exception: Unknown setting {setting.name[:99]!r}. (UNKNOWN_SETTING)"
        )
    return setting.name

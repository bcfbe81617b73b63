"""ClickHouse in this process: one engine on one folder, a session of its own for every client.

Facts of chdb-core 26.9 that this rests on:
- a query is stopped by KILL QUERY from another session; cancelling it from another thread waits for its end;
- `import chdb` loads pyarrow and numpy where they are installed: half a second and 45 MB for nothing.
"""

import contextlib
import itertools
import sys
import threading
from pathlib import Path
from typing import Final

from streams.embedded.clickhouse.replies import ServerError
from streams.embedded.clickhouse.session import Session
from streams.embedded.clickhouse.statement import identifier, quoted

_NOT_NEEDED: Final = ("pyarrow", "pandas", "numpy")


class EngineHeldError(Exception):
    """The folder is open in another process."""


class Engine:
    """The embedded ClickHouse; open once in a process, never before a fork."""

    def __init__(self, folder: Path) -> None:
        """Open or create the database in `folder`. Raises `EngineHeldError`, `ServerError`."""
        for module in _NOT_NEEDED:
            sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # makes its import fail
        import chdb

        self._connect = chdb.connect
        self._folder = str(folder)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        try:
            self._own = self._connect(self._folder)
        except RuntimeError as error:
            if "Cannot lock file" in str(error):
                raise EngineHeldError from None
            raise ServerError.of_engine(str(error)) from None
        version, self.timezone = self._first_row("SELECT version(), timezone()")
        major, minor, patch, *_ = version.split(".")
        self.version = int(major), int(minor), int(patch)

    def create_database(self, name: str) -> None:
        """Make sure that a database exists."""
        self._own.query(f"CREATE DATABASE IF NOT EXISTS {identifier(name)}", "TabSeparated")

    def session(self, database: str) -> Session:
        """A session in `database` ("" is `default`). Raises `ServerError` where there is no such database."""
        return Session(lambda: self._connect(self._folder), f"session-{next(self._numbers)}", database)

    def kill(self, session_name: str) -> None:
        """Stop what a session is running; its thread gets a `ServerError` (QUERY_WAS_CANCELLED)."""
        with self._lock, contextlib.suppress(RuntimeError):
            self._own.query(
                f"KILL QUERY WHERE Settings['log_comment'] = {quoted(session_name)} ASYNC", "TabSeparated"
            )

    def close(self) -> None:
        """Write what is in memory and let go of the folder."""
        with self._lock:
            self._own.close()

    def _first_row(self, query: str) -> list[str]:
        result = self._own.query(query, "TabSeparated")
        return bytes(result.bytes()).decode().rstrip("\n").split("\t")

"""ClickHouse over its native protocol: the one place that touches clickhouse-driver, which has no types."""

import importlib.util
import ipaddress
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from clickhouse_driver import Client
from clickhouse_driver import errors as driver

from streams.config import ClickHouseSettings, not_answering
from streams.errors import GoawayError, UnavailableError
from streams.model.instant import Instant

# it writes a trace for every refused connection; `UnavailableError` says the same in one line
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)

_INSERT_SETTINGS: Final[dict[str, int]] = {
    # a queue in the server would answer before the rows are stored, and would deduplicate by other rules
    "async_insert": 0,
    "insert_deduplicate": 1,
    # the token counts in every table that a view fills, so a second try fills what the first did not
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # one block in, one part out, in the views' tables as well: whole or absent
    "max_insert_threads": 1,
    "parallel_view_processing": 0,
    # views have summed up already, so a merge before a part is written would find nothing
    "optimize_on_insert": 0,
}
_BLOCK_ROWS: Final = 10_000_000
"""An insert leaves as one block: blocks would be deduplicated one by one."""

_NOT_SET_UP: Final = {16: "a column is missing", 60: "a table is missing", 81: "the database is missing"}
_NOT_LET_IN: Final = {192, 193, 194, 497, 516}


class StorageError(GoawayError):
    """ClickHouse answers, but refuses for a reason that waiting does not mend (exit code 4)."""

    exit_code = 4


def connection_arguments(settings: ClickHouseSettings, *, with_database: bool = True) -> dict[str, Any]:
    """clickhouse-driver's arguments for these settings.

    With TLS the server's certificate and name are always checked, against `ca` where it is given. Blocks are
    compressed (lz4) on the way to another machine, where the package for it is installed.
    """
    arguments: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "user": settings.user,
        "password": settings.password,
        "database": settings.database if with_database else "",
        "client_name": "goaway",
        "connect_timeout": 5,
        "send_receive_timeout": 120,
        "tcp_keepalive": True,
        "compression": "lz4" if _worth_compressing(settings.host) else False,
        "settings": {"insert_block_size": _BLOCK_ROWS},
    }
    if settings.tls:
        arguments |= {
            "secure": True,
            "verify": True,
            "check_hostname": True,
            "server_hostname": settings.host,
        }
        if settings.ca:
            arguments["ca_certs"] = settings.ca
    return arguments


def _worth_compressing(host: str) -> bool:
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return False
    packages = ("lz4", "clickhouse_cityhash")
    return host != "localhost" and all(importlib.util.find_spec(name) for name in packages)


class ClickHouse:
    """One connection, made when first needed and again after an error. Not for several threads.

    Every method raises `UnavailableError` where trying again later may help, and `StorageError` where not.
    Nothing is tried twice in here: only the caller knows whether twice is harmless.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self.database: Final = settings.database
        self.place: Final = f"ClickHouse at {settings.host}:{settings.port}"

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query; `%(name)s` in it stands for a parameter, an instant for its microseconds."""
        given = {
            name: int(value) if isinstance(value, Instant) else value
            for name, value in (parameters or {}).items()
        }
        found = self._run(query, given or None)
        return [tuple(row) for row in found] if isinstance(found, list) else []

    def command(self, statement: str) -> None:
        """Run a statement that yields no rows."""
        self._run(statement, None)

    def insert(
        self, table: str, names: Sequence[str], columns: Sequence[Sequence[object]], *, token: str
    ) -> None:
        """Insert columns of equal length as one block; a block with this token is stored once."""
        settings = ", ".join(f"{name} = {value}" for name, value in _INSERT_SETTINGS.items())
        self._run(
            f"INSERT INTO {table} ({', '.join(names)})"
            f" SETTINGS {settings}, insert_deduplication_token = {_literal(token)} VALUES",
            list(columns),
            columnar=True,
        )

    def create_database(self) -> None:
        """Create the settings' database where it is missing."""
        self.close()
        client = self._connected(with_database=False)
        try:
            # an account without the right to create may well use a database that is there
            known = client.execute(
                "SELECT 1 FROM system.databases WHERE name = %(name)s", {"name": self.database}
            )
            if not known:
                client.execute(f"CREATE DATABASE IF NOT EXISTS {quoted(self.database)}")
        except Exception as error:
            raise self._explained(error) from error
        finally:
            client.disconnect()

    def close(self) -> None:
        """Drop the connection; the next call makes another."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.disconnect()

    def _connected(self, *, with_database: bool = True) -> Any:
        try:
            return Client(**connection_arguments(self._settings, with_database=with_database))
        except OSError as error:  # a CA file that cannot be read
            raise self._explained(error) from error

    def _run(self, query: str, values: Any, **options: Any) -> Any:
        if self._client is None:
            self._client = self._connected()
        try:
            return self._client.execute(query, values, **options)
        except Exception as error:
            self.close()
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> GoawayError:
        """The error in our words; the driver's text may hold a stack trace and is cut to its first line."""
        if not isinstance(error, driver.ServerException):
            said = str(getattr(error, "message", "") or error).partition("\n")[0][:200]
            kind = type(error).__name__
            if isinstance(error, (driver.Error, OSError, EOFError)):
                return not_answering(self.place, f"{kind}: {said}", self._settings.looked_for)
            return StorageError(f"{self.place} was sent what it cannot take ({kind}: {said})")
        code = int(error.code or 0)
        said = str(error.message).partition("Stack trace")[0].strip()[:300]
        if code in _NOT_SET_UP:
            return StorageError(f"{self.place}: {_NOT_SET_UP[code]} ({said})", try_next="goaway db migrate")
        if code in _NOT_LET_IN:
            return StorageError(
                f"{self.place} does not let user {self._settings.user!r} in (code {code})",
                try_next="check GOAWAY_CLICKHOUSE_USER and GOAWAY_CLICKHOUSE_PASSWORD",
            )
        return UnavailableError(f"{self.place} refused (code {code}: {said})", try_next="goaway doctor")


def quoted(identifier: str) -> str:
    """An identifier in backquotes."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

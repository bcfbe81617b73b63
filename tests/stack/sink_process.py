"""The sink as a process, and a ClickHouse of its own: both can be killed and started again."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate
from streams.config import ClickHouseSettings
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.errors import GoawayError

SINK: Final = """
import os, signal, threading
from pathlib import Path
from streams.audit.run import run_sink
from streams.config import read_settings
from streams.status import StatusFile
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
run_sink(read_settings(os.environ), status=StatusFile(Path(os.environ["STATUS"])), stop=stop)
"""


SERVER: Final = os.environ.get("GOAWAY_TEST_CLICKHOUSE", "")
"""`HOST:PORT` of a clickhouse-server, for every test that does not kill its engine."""


def server(database: str) -> ClickHouseSettings:
    """A database of `GOAWAY_TEST_CLICKHOUSE`; it need not exist."""
    host, _, port = SERVER.rpartition(":")
    user = os.environ.get("GOAWAY_TEST_CLICKHOUSE_USER", "default")
    password = os.environ.get("GOAWAY_TEST_CLICKHOUSE_PASSWORD", "")
    return ClickHouseSettings(host, int(port), user, password, database=database)


class Store:
    """A ClickHouse with our tables: the embedded engine on one folder and one port, however often it is
    killed, or a database of its own on the server that the environment names.
    """

    def __init__(self, folder: Path, *, killed: bool = False) -> None:
        self._folder = folder
        self._child = EmbeddedClickHouse() if killed or not SERVER else None
        self.settings = self._child.start(folder) if self._child else server(f"goaway_{secrets.token_hex(4)}")
        migrate(ClickHouse(self.settings))

    def kill_and_start(self, away_s: float = 0.0) -> None:
        assert self._child is not None and self._child.pid is not None
        os.kill(self._child.pid, 9)
        self._child.stop()
        time.sleep(away_s)
        self._child = EmbeddedClickHouse()
        self._child.start(self._folder, port=self.settings.port, password=self.settings.password)

    def stop(self) -> None:
        """The engine ends; a server forgets the database."""
        if self._child is not None:
            self._child.stop()
        else:
            self.rows(f"DROP DATABASE {self.settings.database}")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        client = ClickHouse(self.settings)
        try:
            return client.rows(query)
        finally:
            client.close()

    def count(self, table: str) -> int:
        return int(str(self.rows(f"SELECT count() FROM {table}")[0][0]))

    def ids(self) -> list[str]:
        return sorted(str(row[0]) for row in self.rows("SELECT id FROM events"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A ClickHouse of this test alone, migrated."""
    store = Store(tmp_path / "clickhouse")
    yield store
    store.stop()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    """The same as an embedded engine, which a test may kill."""
    store = Store(tmp_path / "clickhouse", killed=True)
    yield store
    store.stop()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseSettings]:
    """A module's engine for tests that make their databases themselves, named to begin as the one given here.

    The name has a dash, so whoever uses it has to quote it.
    """
    name = f"goaway-{secrets.token_hex(4)}"
    if not SERVER:
        with EmbeddedClickHouse() as child:
            yield replace(child.start(tmp_path_factory.mktemp("clickhouse")), database=name)
        return
    yield server(name)
    client = ClickHouse(server("default"))
    for (made,) in client.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{name}')"):
        client.rows(f"DROP DATABASE `{made}`")
    client.close()


class SinkProcess:
    """`run_sink` in a process that can be killed."""

    def __init__(self, broker: Broker, store: Store, status: Path) -> None:
        self._environment = {
            **os.environ,
            "GOAWAY_KAFKA": broker.address,
            "GOAWAY_CLICKHOUSE": f"{store.settings.host}:{store.settings.port}",
            "GOAWAY_CLICKHOUSE_USER": store.settings.user,
            "GOAWAY_CLICKHOUSE_PASSWORD": store.settings.password,
            "GOAWAY_CLICKHOUSE_DATABASE": store.settings.database,
            "STATUS": str(status),
        }
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", SINK], env=self._environment)

    def kill_and_start(self) -> None:
        assert self._process.poll() is None, "it ended by itself"
        self._process.kill()
        self._process.wait()
        self.start()

    def stop(self) -> int:
        self._process.terminate()
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Fail where the condition does not come true; ClickHouse may be away meanwhile."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        try:
            if condition():
                return
        except GoawayError:
            pass
        time.sleep(0.1)
    pytest.fail("did not come true in time")

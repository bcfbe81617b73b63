"""The sink as a process, and a ClickHouse of its own: both can be killed and started again."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


class Store:
    """The embedded engine on one folder and one port, however often it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.child = EmbeddedClickHouse()
        self.settings: ClickHouseSettings = self.child.start(folder)
        migrate(ClickHouse(self.settings))

    def kill_and_start(self, away_s: float = 0.0) -> None:
        assert self.child.pid is not None
        os.kill(self.child.pid, 9)
        self.child.stop()
        time.sleep(away_s)
        self.child = EmbeddedClickHouse()
        self.child.start(self._folder, port=self.settings.port, password=self.settings.password)

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
    """A ClickHouse of this test alone, migrated: a test may kill it."""
    store = Store(tmp_path / "clickhouse")
    yield store
    store.child.stop()


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

"""Which ClickHouse `goaway up` migrates: its own, whatever else runs and whatever the environment says."""

import json
import os
import time
from pathlib import Path
from typing import Final

import pytest

from streams.config import read_settings
from streams.embedded.up.plan import Plan
from streams.embedded.up.storage import Storage

OWN: Final = "127.0.0.1:2"
"""Nobody listens there: what was asked is told by the error."""
OTHER: Final = "127.0.0.1:3"


def running(folder: Path) -> Path:
    """A folder with what an up that runs has written."""
    folder.mkdir(parents=True)
    place = {"pid": os.getpid(), "kafka": "127.0.0.1:4", "listen": [], "clickhouse": OTHER, "embedded": False}
    (folder / "up.json").write_text(json.dumps(place))
    return folder


@pytest.mark.parametrize("first", ["another folder", "its own"])
def test_another_up_or_one_that_was_killed_is_not_asked(tmp_path: Path, first: str) -> None:
    other = running(tmp_path / "first")
    data = tmp_path / "second" if first == "another folder" else running(tmp_path / "second")
    said: list[str] = []
    plan = Plan(data=data, broker="tansu", clickhouse=OWN, listen=())
    storage = Storage(plan, lambda _, what: said.append(what))
    storage.start({**os.environ, "GOAWAY_DATA": str(other)}, lambda: said.append("ready"))
    deadline = time.monotonic() + 30
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)
    storage.stop()
    assert said and "migrate.log" in said[0]
    log = (data / "log" / "migrate.log").read_text()
    assert f"ClickHouse at {OWN} does not answer" in log
    assert OTHER not in log


def test_the_embedded_engine_is_reached_as_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another server")
    storage = Storage(Plan(data=tmp_path, broker="tansu", clickhouse="embedded", listen=()), lambda *_: None)
    storage._start_server()
    try:
        environ = {"GOAWAY_CLICKHOUSE_PASSWORD_FILE": str(secret), "GOAWAY_CLICKHOUSE_TLS": "on"}
        found = read_settings({**environ, **storage.environ}).clickhouse
    finally:
        storage.stop()
    assert found.password == (tmp_path / "clickhouse.password").read_text()
    assert not found.tls

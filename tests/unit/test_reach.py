"""Where Kafka and ClickHouse are, and what is said of a folder on which no `goaway up` runs."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.audit.clickhouse import ClickHouse
from streams.cli.main import goaway
from streams.cli.reach import reach
from streams.config import Settings
from streams.errors import UnavailableError
from streams.kafka import unavailable


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOAWAY_KAFKA", "GOAWAY_CLICKHOUSE", "GOAWAY_DATA"):
        monkeypatch.delenv(name, raising=False)


def up(folder: Path, **place: Any) -> Path:
    """A folder with what a `goaway up` writes."""
    known = {"pid": os.getpid(), "kafka": "127.0.0.1:4", "clickhouse": "127.0.0.1:3", "embedded": False}
    folder.mkdir(exist_ok=True)
    (folder / "up.json").write_text(json.dumps(known | place))
    return folder


def test_a_running_up_says_where_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reach(up(tmp_path))
    assert (found.kafka.bootstrap, found.clickhouse.port) == ("127.0.0.1:4", 3)
    assert found.kafka.looked_for == found.clickhouse.looked_for == ""
    monkeypatch.setenv("GOAWAY_CLICKHOUSE_TLS", "on")
    assert reach(up(tmp_path)).clickhouse.tls
    (tmp_path / "clickhouse.password").write_text("own")
    embedded = reach(up(tmp_path, embedded=True)).clickhouse
    assert (embedded.password, embedded.tls) == ("own", False)


def test_what_does_not_answer_names_the_folder_that_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for data in (tmp_path / "none", up(tmp_path / "ended", pid=ended.pid), up(tmp_path / "odd", pid="x")):
        said = str(unavailable(reach(data).kafka, "why"))
        assert f"does not answer (why), and no goaway up runs on {data}. Try: --data DIR" in said
        assert "goaway doctor" in said
    monkeypatch.chdir(tmp_path)
    assert f"runs on {tmp_path}/goaway-data." in str(unavailable(reach(Path("goaway-data")).kafka, ""))
    monkeypatch.setenv("GOAWAY_KAFKA", "127.0.0.1:1")
    assert "goaway up" not in str(unavailable(reach(tmp_path / "none").kafka, ""))
    assert reach(tmp_path / "none").clickhouse.looked_for
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", "127.0.0.1:1")
    assert not reach(tmp_path / "none").clickhouse.looked_for


def test_the_store_says_it_as_the_broker_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ClickHouse(replace(reach(tmp_path).clickhouse, port=1))  # the default one may be somebody's
    with pytest.raises(UnavailableError, match=f"no goaway up runs on {tmp_path}. Try: --data DIR"):
        store.rows("SELECT 1")
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", "127.0.0.1:1")
    done = CliRunner().invoke(goaway, ["stats", "--data", str(tmp_path)])
    assert isinstance(done.exception, UnavailableError), done.output
    assert "goaway up" not in str(done.exception) and done.exception.try_next == "goaway doctor"


def test_the_shipper_sends_to_the_up_on_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "mail.log"
    log.write_text("")
    sent: list[Settings] = []
    kept: list[Path] = []
    monkeypatch.setattr("streams.ship.run.ship_once", lambda settings, *_, **__: sent.append(settings))
    monkeypatch.setattr("streams.ship.run.follow", lambda *_, state, **__: kept.append(state))

    def kafka_of(*arguments: str) -> str:
        done = CliRunner().invoke(goaway, ["ship", *arguments, str(log)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return sent[-1].kafka.bootstrap if sent else ""

    data = up(tmp_path / "data")
    assert kafka_of("--once", "--data", str(data)) == "127.0.0.1:4"
    monkeypatch.setenv("GOAWAY_DATA", str(data))
    assert kafka_of("--once") == "127.0.0.1:4"
    monkeypatch.setenv("GOAWAY_KAFKA", "127.0.0.1:5")
    assert kafka_of("--once") == "127.0.0.1:5"
    assert kafka_of("--once", "--data", str(data)) == "127.0.0.1:4"
    kafka_of("--data", str(data))
    kafka_of("--state", str(tmp_path / "own"))
    assert kept == [data / "ship", tmp_path / "own"]

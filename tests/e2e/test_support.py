"""A running `goaway up` as its administrator looks into it: metrics of all stages, a support bundle."""

import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded.broker.process import free_port
from streams.topics import EVENTS
from tests.e2e.running import RunningUp, goaway, until

pytestmark = [pytest.mark.needs("tansu"), pytest.mark.needs("chdb")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningUp, int]]:
    """`goaway up` with the sample log, and the port of its metrics."""
    port = free_port()
    arguments = ("--sample", "--metrics-listen", f"127.0.0.1:{port}")
    with RunningUp(tmp_path_factory.mktemp("support"), clickhouse="embedded", arguments=arguments) as up:
        until(lambda: metrics(port).get('goaway_sink_rows_total{stage="sink"}', 0) > 0, "rows in ClickHouse")
        yield up, port


def metrics(port: int) -> dict[str, float]:
    """Metric with its labels → value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_up_serves_the_metrics_of_all_its_stages(running: tuple[RunningUp, int]) -> None:
    _, port = running
    found = metrics(port)
    for stage in ("broker", "clickhouse", "shim", "worker", "sample", "sink"):
        assert found[f'goaway_stage_up{{stage="{stage}"}}'] == 1, found
        assert found[f'goaway_stage_restarts_total{{stage="{stage}"}}'] == 0
        assert found[f'goaway_stage_memory_bytes{{stage="{stage}"}}'] > 1e6
    assert found['goaway_ship_events_total{stage="sample"}'] > 0
    assert found['goaway_worker_decisions_total{action="block",stage="worker",trigger="rate"}'] >= 1


def test_its_bundle_has_everything(running: tuple[RunningUp, int], tmp_path: Path) -> None:
    up, _ = running
    file = tmp_path / "bundle.tar.gz"
    done = goaway("bundle", str(file), "--data", str(up.data), "--with-log", timeout_s=120)
    assert done.returncode == 0, done.stderr
    password = (up.data / "clickhouse.password").read_bytes().strip()
    with tarfile.open(file) as archive:
        content = {}
        for entry in archive:
            opened = archive.extractfile(entry)
            assert opened is not None
            content[entry.name.partition("/")[2]] = opened.read()
    assert not [name for name, text in content.items() if password in text]
    in_it, _, missing = content["MANIFEST.txt"].decode().partition("What could not be had:")
    for name in (
        "policy/in-force.toml",
        "policy/history.json",
        "storage/migrations.json",
        "storage/tables.json",
        "statistics/days.json",
        "statistics/decisions.json",
        "statistics/refused.json",
        "log/worker.log",
    ):
        assert f"  {name} " in in_it, missing
    partitions = json.loads(content["kafka.json"])[EVENTS]
    assert sum(row["end"] for row in partitions) > 0
    assert sum(row.get("goaway-decide", 0) for row in partitions) > 0
    days = json.loads(content["statistics/days.json"])
    assert sum(day["connections"] for day in days) > 0
    assert {row["trigger"] for row in json.loads(content["statistics/decisions.json"])} >= {
        "rate",
        "protocol",
    }

"""Every stage as a process of its own, scraped as Prometheus does: all metrics are there, and true."""

import gzip
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.embedded.broker.process import free_port
from streams.kafka import create_topics
from streams.metrics import METRICS, STAGE_METRICS
from tests.parts import ROOT
from tests.shim_process import ask
from tests.stack.brokers import start_or_skip
from tests.stack.sink_process import Store

pytestmark = [pytest.mark.needs("tansu"), pytest.mark.needs("chdb")]

SAMPLE: Final = ROOT / "streams" / "embedded" / "sample" / "mail.log.gz"
POLICY: Final = '[[blocks]]\naddress = "192.0.2.77"\nnote = "probe"\n'
PATIENCE_S: Final = 60.0
ONLY_BY_UP: Final = "goaway_stage_restarts_total"
"""Nobody else counts restarts."""


class Stage:
    """One stage as its command runs it, and where its metrics are."""

    def __init__(self, folder: Path, environ: dict[str, str], *arguments: str) -> None:
        self.name = arguments[0]
        self.port = free_port()
        self.log = folder / f"{self.name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "streams.cli", *arguments),
                    *("--metrics-listen", f"127.0.0.1:{self.port}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environ},
            )

    def scrape(self) -> dict[str, float]:
        """`name{label=value,…}` without the label `stage` → value; empty as long as nobody answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
                text = page.read().decode()
        except OSError:
            return {}
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = [f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "stage"]
                found[sample.name + (f"{{{','.join(labels)}}}" if labels else "")] = sample.value
        return found

    def wait_for(self, **values: float) -> dict[str, float]:
        """Wait until these metrics (without `goaway_STAGE_`) have these values; everything then."""
        wanted = {f"goaway_{self.name}_{name}": value for name, value in values.items()}
        deadline = time.monotonic() + PATIENCE_S
        while not wanted.items() <= (found := self.scrape()).items():
            assert time.monotonic() < deadline, f"{wanted}\n{found}\n{self.log.read_text()}"
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """All six, on one broker and one ClickHouse, with the sample log to follow."""
    folder = tmp_path_factory.mktemp("metrics")
    broker = open_broker("tansu", folder=folder / "broker")
    start_or_skip(broker)
    with ExitStack() as ending:
        ending.callback(broker.stop)
        create_topics(KafkaSettings(bootstrap=broker.address), partitions=2)
        store = Store(folder / "clickhouse")
        ending.callback(store.stop)
        (folder / "mail.log").write_bytes(gzip.decompress(SAMPLE.read_bytes()))
        (folder / "policy.toml").write_text(POLICY)
        environ = {
            "GOAWAY_KAFKA": broker.address,
            "GOAWAY_CLICKHOUSE": f"{store.settings.host}:{store.settings.port}",
            "GOAWAY_CLICKHOUSE_USER": store.settings.user,
            "GOAWAY_CLICKHOUSE_PASSWORD": store.settings.password,
            "GOAWAY_CLICKHOUSE_DATABASE": store.settings.database,
            "GOAWAY_POLICY": str(folder / "policy.toml"),
            "GOAWAY_NOTIFY_URLS": f"json://127.0.0.1:{free_port()}/",
        }
        listen = f"inet:127.0.0.1:{free_port()}"
        found = {
            one.name: one
            for one in (
                Stage(folder, environ, "shim", "--policy-listen", listen),
                Stage(folder, environ, "worker"),
                Stage(folder, environ, "sink"),
                Stage(folder, environ, "reputation"),
                Stage(folder, environ, "notify"),
                Stage(folder, environ, "ship", "--state", str(folder / "state"), str(folder / "mail.log")),
            )
        }
        for stage in found.values():
            ending.callback(stage.process.wait)
            ending.callback(stage.process.kill)
        found["ship"].wait_for(waiting_bytes=0, unacknowledged_records=0, kafka_up=1)
        found["shim"].wait_for(caught_up=1)
        with socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])), timeout=5) as peer:
            assert ask(peer, "192.0.2.77").startswith("551 ")
            assert ask(peer, "192.0.2.78") == "DUNNO"
        yield found


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_declared_is_exported(stages: dict[str, Stage], name: str) -> None:
    declared = {metric.name for metric in (*STAGE_METRICS, *METRICS[name])} - {ONLY_BY_UP}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        exported = {key.partition("{")[0] for key in stages[name].scrape()} - {"goaway_build_info"}
        if declared <= exported or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert exported == declared
    assert stages[name].scrape()["goaway_stage_up"] == 1


def test_they_say_what_happened_to_the_sample(stages: dict[str, Stage]) -> None:
    lines = len(gzip.decompress(SAMPLE.read_bytes()).splitlines())
    shipped = stages["ship"].wait_for(lines_total=lines)
    events = shipped["goaway_ship_events_total"]
    decided = stages["worker"].wait_for(events_total=events, waiting_records=0, warnings_total=3)
    assert decided["goaway_worker_decisions_total{action=block,trigger=rate}"] == 3
    assert decided["goaway_worker_decisions_total{action=block,trigger=protocol}"] == 1
    assert decided["goaway_worker_decisions_total{action=block,trigger=greylist}"] == 0
    assert decided["goaway_worker_partitions"] == 2
    assert shipped["goaway_ship_event_age_seconds"] > 0
    stored = stages["sink"].wait_for(waiting_records=0)
    assert stored["goaway_sink_rows_total"] >= events + 4 + 3
    stages["notify"].wait_for(waiting_records=0)
    read = stages["shim"].wait_for(decisions_read_total=4)
    assert read["goaway_shim_refusals_total{trigger=blocklist}"] == 1
    assert read["goaway_shim_refusals_total{trigger=rate}"] == 0
    assert read["goaway_shim_requests_total"] == 2

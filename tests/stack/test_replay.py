"""What was decided live is decided again by a replay: worker and sink on real brokers."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.config import KafkaSettings
from streams.embedded.broker import Broker, open_broker
from streams.kafka import create_topics, events_partitions
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.policy_writer import change_policy
from streams.sending import send_events
from streams.wire.policy_entries import Entries, entries_of
from tests.stack.brokers import start_or_skip
from tests.stack.sink_process import SinkProcess, Store, wait_until
from tests.stack.worker_load import PARTITIONS, POLICY, Outputs, make_load, send
from tests.stack.worker_process import APACHE_SESSION_S, EMBEDDED_SESSION_S, ROOT, WorkerProcess

HOUR_US = 3600 * MICROSECONDS
BASE = POLICY.replace("session_idle_s = 900", "session_idle_s = 120").replace(
    "concurrent_connections = 12", "concurrent_connections = 2"
)
"""No session of the load, whose names recur all the time, is then kept alive for longer than a client is
remembered: a worker that restarts would not know of it any more."""


def goaway(store: Store, broker: Broker, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, against this store and broker."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GOAWAY_KAFKA": broker.address,
        "GOAWAY_CLICKHOUSE": f"{store.settings.host}:{store.settings.port}",
        "GOAWAY_CLICKHOUSE_USER": store.settings.user,
        "GOAWAY_CLICKHOUSE_PASSWORD": store.settings.password,
        "GOAWAY_CLICKHOUSE_DATABASE": store.settings.database,
    }
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def stricter(entries: Entries) -> Entries:
    limits = {**entries["limits"], "requests_per_minute": 2}
    return {**entries, "limits": limits}


def kinder(entries: Entries) -> Entries:
    limits = {**entries["limits"], "connections_per_minute": 14, "cool_down_s": 90}
    row = {"note": "let off"}
    return {**entries, "limits": limits, "exempt/rate/192.0.2.1": row}


def test_live_equals_replay(own_broker: Broker, store: Store, tmp_path: Path) -> None:
    """Hours of events, late, repeated and misplaced ones among them, rubbish between; five kills and two
    changes of the policy while they come."""
    settings, load, chance = KafkaSettings(bootstrap=own_broker.address), make_load(7), random.Random(7)
    session_s = APACHE_SESSION_S if own_broker.name == "apache" else EMBEDDED_SESSION_S
    base = tmp_path / "policy.toml"
    base.write_text(BASE)
    sink = SinkProcess(own_broker, store, tmp_path / "sink.json")
    outputs = Outputs(settings)
    size = len(load.frames) // 6
    worker = WorkerProcess(tmp_path, own_broker.address, policy=BASE, instance="w1", session_s=session_s)
    with worker:
        for part in range(6):
            cut = slice(part * size, (part + 1) * size if part < 5 else None)
            if part in (2, 4):
                edit = stricter if part == 2 else kinder
                assert change_policy(settings, entries_of(BASE), edit, who="anna", what=edit.__name__)
                worker.wait_for_partitions(PARTITIONS)
                worker.wait_for("policy_change", 2 if part == 2 else 3)
                outputs.take(1.0)  # its markers are written
            send(settings, load.frames[cut], load.stamps_ms[cut])
            before, deadline = outputs.records, time.monotonic() + 30
            while outputs.records == before and time.monotonic() < deadline:
                outputs.take(0.05)
            # offsets are committed each second; the first frames were, before the policy changes
            outputs.take((0.5 if part else 2.5) + chance.random() * 2.5)
            if part < 5:
                worker.kill()
                worker.start()
        before = -1
        while outputs.records != before:
            before = outputs.records
            outputs.take(5.0)
        worker.wait_for("records_waiting", 0)
    decided = {id_ for id_, it in outputs.found.items() if hasattr(it, "until")}
    outputs.close()
    wait_until(lambda: store.rows("SELECT uniqExact(id) FROM decisions") == [(len(decided),)])
    sink.stop()
    assert len({str(row[0]) for row in store.rows("SELECT DISTINCT policy FROM decisions")}) == 3

    newest = int(
        str(
            store.rows(
                "SELECT toUnixTimestamp64Micro(max(at)) FROM events WHERE kind != 'policy' AND at < now()"
            )[0][0]
        )
    )
    for hours in (1, 2.5, 6):
        begins = rfc3339(newest - int(hours * HOUR_US))
        ran = goaway(
            store, own_broker, "replay", "--verify", "--from", begins, "--policy", str(base), "--json"
        )
        assert ran.returncode == 0, ran.stdout[:3000] + ran.stderr
        found = json.loads(ran.stdout)
        assert found["different"] == 0
        assert found["same"] > 20 * hours, found
        print(own_broker.name, hours, found)

    store.rows(
        "ALTER TABLE decisions UPDATE code = 599 WHERE id = (SELECT max(id) FROM decisions) "
        "SETTINGS mutations_sync = 1"
    )
    ran = goaway(store, own_broker, "replay", "--verify", "--from", begins, "--policy", str(base))
    assert ran.returncode == 1
    assert "1 different" in ran.stdout
    assert '"code":599' in ran.stdout


@pytest.mark.needs("chdb", "tansu")
def test_a_broker_that_lost_its_log_lost_the_memory_of_the_worker_too(store: Store, tmp_path: Path) -> None:
    """The same client breaches its limit under one broker and under the next: the first time, each time. What
    it did happened before the policy was made that judged it."""
    hour = time.time_ns() // 1000 - HOUR_US
    for life in (1, 2):
        broker = open_broker("tansu", folder=tmp_path / f"broker{life}")
        start_or_skip(broker)
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        limits = {"connections_per_minute": 20 + life}
        change_policy(settings, {}, lambda _, it=limits: {"limits": it}, who="anna", what="test")  # type: ignore[misc]
        sink = SinkProcess(broker, store, tmp_path / "sink.json")
        try:
            with WorkerProcess(tmp_path, broker.address, session_s=EMBEDDED_SESSION_S) as worker:
                worker.wait_for_partitions(events_partitions(settings))
                send_events(settings, breach(Instant(hour + life * 300 * MICROSECONDS)))
                wait_until(lambda life=life: store.count("decisions") == life)  # type: ignore[misc]
                wait_until(lambda life=life: store.count("events") >= 44 * life)  # type: ignore[misc]
                wait_until(lambda life=life: store.count("policy_log") == 2 * life)  # type: ignore[misc]
            sink.stop()
            if life == 2:
                ran = goaway(store, broker, "replay", "--verify", "--from", rfc3339(hour))
                assert ran.stdout.endswith("2 decisions the same, 0 different\n"), ran.stdout + ran.stderr
                assert ran.returncode == 0
        finally:
            broker.stop()
    assert store.rows("SELECT evidence_strike, count() FROM decisions GROUP BY 1") == [(1, 2)]


def breach(begins: Instant) -> list[Event]:
    """Forty connections within ten seconds."""
    client = Client("192.0.2.77")
    return [
        Event(
            id=f"{begins}/{number}",
            at=Instant(begins + number * MICROSECONDS // 4),
            kind="connect",
            client=client,
            address=Address(client),
            session=f"mx/{begins}/{number}",
            host="mx",
        )
        for number in range(40)
    ]

"""A candidate beside the policy in force on real brokers: exact through kills, felt by nobody, reported."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.agents.ledger import Ledger
from streams.audit.shadow_evidence import delivered
from streams.audit.shadow_records import read_trial
from streams.config import KafkaSettings
from streams.embedded.broker import Broker
from streams.model.client import Client
from streams.model.decision import Decision
from streams.model.instant import Instant
from streams.model.standing import PolicyIndex
from streams.policy_writer import change_policy
from streams.topics import CANDIDATE
from streams.wire.frames import encode_frame
from streams.wire.partition import partition_of
from streams.wire.policy_entries import entries_of
from streams.wire.policy_toml import read_policy
from tests.fixed_policy import FixedPolicy
from tests.stack.recorded_store import Recorder
from tests.stack.sink_process import Store
from tests.stack.worker_load import PARTITIONS, POLICY, Load, Outputs, event, make_load, send
from tests.stack.worker_process import APACHE_SESSION_S, EMBEDDED_SESSION_S, ROOT, WorkerProcess

NEVER = 1 << 62
STRICT = POLICY.replace("connections_per_minute = 8", "connections_per_minute = 3")
PATIENCE_S = 30.0


@pytest.fixture
def settings(own_broker: Broker) -> KafkaSettings:
    return KafkaSettings(bootstrap=own_broker.address)


def worker(broker: Broker, folder: Path, instance: str = "", policy: str = POLICY) -> WorkerProcess:
    session_s = APACHE_SESSION_S if broker.name == "apache" else EMBEDDED_SESSION_S
    return WorkerProcess(folder, broker.address, policy=policy, instance=instance, session_s=session_s)


def goaway(settings: KafkaSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GOAWAY_KAFKA": settings.bootstrap, "GOAWAY_CLICKHOUSE": "127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments], capture_output=True, text=True, check=False,
        timeout=60, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def decided(policy: str, load: Load) -> dict[str, Decision]:
    """What a policy decides about the load, partition by partition, as a ledger takes frames in."""
    index = PolicyIndex(read_policy(policy))
    ledgers = [Ledger(FixedPolicy(index), partition, PARTITIONS) for partition in range(PARTITIONS)]
    found: dict[str, Decision] = {}
    for (partition, frame), stamp_ms in zip(load.frames, load.stamps_ms, strict=True):
        ledger = ledgers[partition]
        passed = ledger.process(ledger.next_offset, frame, record_us=stamp_ms * 1000)
        found |= {it.id: it for it in passed.outcomes if isinstance(it, Decision)}
    return found


def shadowed(settings: KafkaSettings, number: int) -> dict[str, Decision]:
    """The candidate's decisions by id; each id stands for one decision."""
    trial = read_trial(settings, number)
    return {} if trial is None else {it.id: it for it in trial.candidate}


def blocks(found: dict[str, Decision]) -> dict[str, Decision]:
    return {name: it for name, it in found.items() if it.action in ("block", "release")}


def test_killed_again_and_again_both_decide_what_they_decide(
    settings: KafkaSettings, own_broker: Broker, tmp_path: Path
) -> None:
    change = change_policy(settings, {}, lambda _: entries_of(STRICT), who="t", what="t", topic=CANDIDATE)
    assert change is not None
    load, chance = make_load(11), random.Random(11)
    expected = blocks(decided(STRICT, load))
    assert len(expected) > 150
    outputs = Outputs(settings)
    cuts = sorted(chance.sample(range(len(load.frames)), 4))
    with worker(own_broker, tmp_path, instance="w1") as running:
        for start, end in zip([0, *cuts], [*cuts, len(load.frames)], strict=True):
            send(settings, load.frames[start:end], load.stamps_ms[start:end])
            running.wait_for_partitions(PARTITIONS)
            outputs.take(0.5 + chance.random() * 2.5)  # offsets are committed each second
            running.kill()
            running.start()
        outputs.wait_for(load.expected)
        deadline = time.monotonic() + PATIENCE_S
        while (found := shadowed(settings, change.number)).keys() < expected.keys():
            assert time.monotonic() < deadline, f"{len(found)} of {len(expected)}"
        assert found == expected
        assert outputs.found == load.expected
        running.wait_for("candidate", change.number)
    said = running.log.read_text()
    assert "afresh" not in said
    assert "not tried any more" not in said
    trial = read_trial(settings, change.number)
    assert trial is not None
    assert [(p, it.begins, it.afresh) for p, it in sorted(trial.stretches.items())] == [
        (partition, 0, []) for partition in range(PARTITIONS)
    ]
    outputs.close()


def test_another_worker_goes_on_with_it(settings: KafkaSettings, own_broker: Broker, tmp_path: Path) -> None:
    change = change_policy(settings, {}, lambda _: entries_of(STRICT), who="t", what="t", topic=CANDIDATE)
    assert change is not None
    load = make_load(12, events=12_000)
    expected = blocks(decided(STRICT, load))
    half, outputs = len(load.frames) // 2, Outputs(settings)
    with worker(own_broker, tmp_path) as one, worker(own_broker, tmp_path) as other:
        one.wait_for_partitions(2)
        other.wait_for_partitions(2)
        send(settings, load.frames[:half], load.stamps_ms[:half])
        outputs.take(1.0)
        one.kill()
        send(settings, load.frames[half:], load.stamps_ms[half:])
        other.wait_for_partitions(PARTITIONS)
        outputs.wait_for(load.expected)
        deadline = time.monotonic() + PATIENCE_S
        while shadowed(settings, change.number).keys() < expected.keys() and time.monotonic() < deadline:
            time.sleep(0.2)
    assert outputs.found == load.expected
    assert shadowed(settings, change.number) == expected
    outputs.close()


def report(settings: KafkaSettings, until: Any) -> dict[str, Any]:
    """The report, once it says what it should."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = goaway(settings, "shadow", "report", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        if found and until(found):
            assert done.returncode == int(not found["same"])
            return found
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.2)


def connections(address: str, count: int, ago_s: float = 20) -> tuple[int, bytes]:
    """A frame of so many connections, a millisecond apart."""
    first = time.time_ns() // 1000 - round(ago_s * 1_000_000)
    events = [
        event(f"{address}-{first + n}", first + n * 1000, "connect", address, f"mx/{n}") for n in range(count)
    ]
    return partition_of(address, PARTITIONS), encode_frame(events)


def test_try_report_stop(settings: KafkaSettings, own_broker: Broker, tmp_path: Path) -> None:
    file, page = tmp_path / "candidate.toml", tmp_path / "report.html"
    file.write_text(STRICT)
    none = goaway(settings, "shadow", "report")
    assert (none.returncode, "goaway shadow try" in none.stderr) == (2, True), none.stderr
    assert "no candidate was being tried" in goaway(settings, "shadow", "stop").stdout
    with worker(own_broker, tmp_path) as running:
        running.wait_for_partitions(PARTITIONS)
        send(settings, [connections("192.0.2.1", 30)])  # blocked by the policy in force, before the trial
        running.wait_for("decisions_by.rate.block", 1)
        begun = goaway(settings, "shadow", "try", str(file), "--policy", "/dev/null", "--by", "ada")
        assert begun.returncode == 0, begun.stderr
        assert "refuses nobody" in begun.stdout
        assert "nothing to change" in goaway(settings, "shadow", "try", str(file)).stdout
        early = goaway(settings, "shadow", "report")
        assert "no worker has taken the candidate up" in early.stderr
        running.wait_for("candidate", 1)
        strict, both, old = "192.0.2.2", "192.0.2.3", "192.0.2.1"
        send(
            settings,
            [connections(address, count, 10) for address, count in ((old, 5), (strict, 5), (both, 30))],
        )
        found = report(settings, lambda it: it["refused"]["both"] and len(it["differences"]))
        assert found["refused"] == {"candidate": 2, "live": 1, "both": 1}
        (one,) = [it for it in found["differences"] if it["client"] == strict]
        assert (one["where"], one["candidate"]["blocks"], one["live"]["blocks"]) == ("candidate", 1, 0)
        assert one["candidate"]["by"] == ["rate: connections_per_minute"]
        assert one["messages"] is None
        assert old not in {it["client"] for it in found["differences"]}
        assert found["running"] is True
        text = goaway(settings, "shadow", "report", "--html", str(page))
        assert text.returncode == 1
        assert "Who delivers mail is not known" in " ".join(text.stdout.split())
        assert strict in text.stdout
        assert max(map(len, text.stdout.splitlines())) <= 80
        assert strict in page.read_text()
        assert "no candidate is tried any more" in goaway(settings, "shadow", "stop").stdout
        running.wait_for("candidate", 0)
        send(settings, [connections(f"192.0.2.{n}", 30, 5) for n in range(10, 30)])
        running.wait_for("decisions_by.rate.block", 22)
        stopped = report(settings, lambda it: not it["running"])
        assert stopped["refused"] == found["refused"], "what came after it is not compared"
        assert [it["client"] for it in stopped["differences"]] == [
            it["client"] for it in found["differences"]
        ]
    assert goaway(settings, "shadow", "try", "/dev/null").returncode == 0


@pytest.mark.needs("chdb")
def test_who_delivers_is_asked_of_clickhouse(tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        sent = [event(f"m{n}", 1_000_000 * n, "message", "192.0.2.9", "mx/1") for n in (10, 20, 20, 30, 40)]
        named = [msgspec.structs.replace(it, ptr="mail.example.org") for it in sent]
        Recorder(store.settings).events([*named, event("c", 25_000_000, "connect", "192.0.2.8", "mx/2")])
        clients = [Client(f"192.0.2.{n}") for n in range(1, 10)] * 100
        found = delivered(store.settings, clients, Instant(10_000_000), Instant(40_000_000))
        assert {c: (name, sorted(times)) for c, (name, times) in found.items()} == {
            "192.0.2.9": ("mail.example.org", [10_000_000, 20_000_000, 30_000_000])
        }
    finally:
        store.stop()


def test_a_candidate_with_other_clients_is_not_tried(settings: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "candidate.toml"
    file.write_text("[clients]\nipv4_prefix = 24\n")
    refused = goaway(settings, "shadow", "try", str(file))
    assert refused.returncode == 2
    assert "[clients]" in refused.stderr

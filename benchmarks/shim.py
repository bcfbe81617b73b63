"""Requests/s and latency of the shim beside postfwd 2 and postgrey, in one run on one machine.

    python benchmarks/shim.py [--decisions N] [--rounds 5] [--seconds 2] [--connections 16] [--json]

Each server in turn answers real policy requests (25 attributes, a client address that was never seen before)
over persistent connections in a closed loop, driven by a process of its own; the rounds take turns, so that
what else the machine does hits all alike. Figures are medians of the rounds. The first row is a server that
reads and answers without looking: the ceiling of the load generator.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.peers.policy_servers import LOAD, NULL, POSTFWD, POSTGREY, ROOT, running, shim
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import client_config, create_topics
from streams.model.client import Address, Client
from streams.model.decision import Decision, Evidence
from streams.model.instant import MICROSECONDS, Instant
from streams.status import read_status
from streams.topics import DECISIONS
from streams.wire.frames import encode

TARGET_RATE, TARGET_P99 = 8.0, 0.25


def main() -> int:
    """Run it; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="the shim beside postfwd 2 and postgrey")
    parser.add_argument(
        "--decisions", type=int, default=100_000, help="standing decisions, read from a broker"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        # not in the system's own folder of private files: the peers run as other users
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goaway-bench-")))
        folder.chmod(0o755)
        kafka = stack.enter_context(_decisions(options.decisions, folder))
        servers = [it for it in (NULL, shim(kafka), POSTFWD, POSTGREY) if it.is_here]
        ports = {
            it.name: stack.enter_context(running(it, folder / it.name.replace(" ", "-"))) for it in servers
        }
        _wait_until_caught_up(folder / "goaway-shim" / "shim.json", options.decisions)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
        first = 0
        for _ in range(options.rounds):
            for name, port in ports.items():
                answered = _round(port, options.connections, options.seconds, first)
                rounds[name].append(answered)
                first = int(answered["next"])
    medians = {
        name: {
            figure: statistics.median(row[figure] for row in rows)
            for figure in ("requests_per_s", "p50_ms", "p99_ms")
        }
        for name, rows in rounds.items()
    }
    return _report(medians, options)


@contextmanager
def _decisions(count: int, folder: Path) -> Iterator[str]:
    """A broker with that many standing decisions about 172.16.0.0/12 and on, none of them asked about."""
    broker = open_broker("tansu", folder=folder / "broker")
    broker.start()
    try:
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        producer = Producer(client_config(settings, linger_ms=20, queue_buffering_max_messages=2_000_000))
        now = time.time_ns() // 1000
        for number in range(count):
            address = f"{172 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            decision = Decision(
                id=f"{number:016x}", at=Instant(now), until=Instant(now + 3600 * MICROSECONDS),
                action="block", client=Client(address), address=Address(address), trigger="rate",
                rule="connections_per_minute", code=551, reason="exceeded connection rate limit",
                evidence=Evidence(count=31, limit=30, window_s=60), policy="0" * 12, event="0" * 16,
                session="mx/1", host="mx",
            )  # fmt: skip
            producer.produce(DECISIONS, encode(decision), key=f"rate:{address}")
            producer.poll(0)
        producer.flush(60)
        yield broker.address
    finally:
        broker.stop()


def _wait_until_caught_up(status: Path, decisions: int) -> None:
    deadline = time.monotonic() + 60
    while (read_status(status) or {}).get("decisions_standing") != decisions:
        if time.monotonic() > deadline:
            raise SystemExit(f"the shim has not caught up: {read_status(status)}")
        time.sleep(0.1)


def _round(port: int, connections: int, seconds: float, first: int) -> dict[str, float]:
    command = [sys.executable, str(LOAD), "load", "127.0.0.1", str(port), str(connections), str(seconds)]
    done = subprocess.run(
        [*command, str(first)], capture_output=True, text=True, check=False, timeout=seconds + 60, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"the load generator failed: {done.stderr.strip()}")
    answered: dict[str, float] = json.loads(done.stdout)
    return answered


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, load average {load}"


def _report(medians: dict[str, dict[str, float]], options: argparse.Namespace) -> int:
    ours, postfwd = medians["goaway shim"], medians.get(POSTFWD.name)
    met = None
    if postfwd is not None:
        faster = ours["requests_per_s"] / postfwd["requests_per_s"]
        share = ours["p99_ms"] / postfwd["p99_ms"]
        met = faster >= TARGET_RATE and share <= TARGET_P99
    if options.json:
        print(json.dumps({"machine": _machine(), "medians": medians, "target_met": met, **vars(options)}))
        return int(met is False)
    print(_machine())
    print(
        f"{options.connections} connections, medians of {options.rounds} rounds of {options.seconds:g} s, "
        f"{options.decisions} standing decisions\n"
    )
    print(f"{'server':<14}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}")
    for name, row in medians.items():
        print(f"{name:<14}{row['requests_per_s']:>12,.0f}{row['p50_ms']:>10.3f}{row['p99_ms']:>10.3f}")
    for peer in (POSTFWD, POSTGREY):
        if peer.name not in medians:
            print(f"{peer.name:<14} not installed here: apt-get install {peer.program.rstrip('2')}")
    if met is None:
        return 0
    print(
        f"\n{faster:.1f} times postfwd's rate (target {TARGET_RATE:g}), "
        f"{share:.3f} of its p99 (target {TARGET_P99:g}): {'met' if met else 'MISSED'}"
    )
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

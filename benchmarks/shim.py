"""Requests/s and latency of the shim beside postfwd 2 and postgrey, in one run on one machine.

    python benchmarks/shim.py [--decisions N] [--networks N] [--rounds 5] [--seconds 2] [--connections 16]

Each server in turn answers real policy requests (25 attributes, a client address that was never seen before)
over persistent connections in a closed loop, driven by a process of its own; the rounds take turns, so that
what else the machine does hits all alike. Figures are medians of the rounds. The first row is a server that
reads and answers without looking: the ceiling of the load generator. `goaway empty` is the shim that knows
of nothing; `goaway shim` holds the decisions, and a policy with so many networks: half of them exempt, and
every client that asks is in one of those, the other half blocked. `--json` prints one line.
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
from streams.policy_writer import change_policy
from streams.status import Fact, read_status
from streams.topics import DECISIONS
from streams.wire.frames import encode
from streams.wire.policy_entries import Entries

TARGET_RATE, TARGET_P99 = 8.0, 0.25
EMPTY = "goaway empty"


def main() -> int:
    """Run it; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="the shim beside postfwd 2 and postgrey")
    parser.add_argument(
        "--decisions", type=int, default=100_000, help="standing decisions, read from a broker"
    )
    parser.add_argument("--networks", type=int, default=10_000, help="entries of smtp.policy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        # not in the system's own folder of private files: the peers run as other users
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goaway-bench-")))
        folder.chmod(0o755)
        nothing = stack.enter_context(_broker(folder / "nothing"))
        kafka = stack.enter_context(_broker(folder / "broker"))
        produce_decisions(kafka, options.decisions)
        load_policy(kafka, options.networks)
        ours = (shim(nothing, EMPTY), shim(kafka))
        servers = [it for it in (NULL, *ours, POSTFWD, POSTGREY) if it.is_here]
        ports = {
            it.name: stack.enter_context(running(it, folder / it.name.replace(" ", "-"))) for it in servers
        }
        wait_for(folder / "goaway-empty" / "shim.json", "caught_up", True)
        wait_for(folder / "goaway-shim" / "shim.json", "decisions_standing", options.decisions)
        wait_for(folder / "goaway-shim" / "shim.json", "policy_number", min(1, options.networks))
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
def _broker(folder: Path) -> Iterator[str]:
    """A broker with the topics, of this run alone; its address."""
    broker = open_broker("tansu", folder=folder)
    broker.start()
    try:
        create_topics(KafkaSettings(bootstrap=broker.address))
        yield broker.address
    finally:
        broker.stop()


def produce_decisions(kafka: str, count: int) -> None:
    """That many standing decisions about 172.16.0.0/12 and on, none of them asked about."""
    settings = KafkaSettings(bootstrap=kafka)
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
        producer.produce(DECISIONS, encode(decision), key=decision.key)
        producer.poll(0)
    producer.flush(60)


def many_networks(count: int) -> Entries:
    """Entries of a policy: exemptions over 10.0.0.0/8, in which all who ask are, and blocks of others."""
    exempt = count // 2
    entries: Entries = {
        f"exempt/dnsbl/10.{number >> 8}.{number & 255}.0/24": {"note": f"partner {number}"}
        for number in range(exempt)
    }
    for number in range(count - exempt):
        network = f"198.{18 + (number >> 14)}.{number >> 6 & 255}.{(number & 63) << 2}/30"
        entries[f"blocks/{network}"] = {"note": "spam"}
    return entries


def load_policy(kafka: str, networks: int) -> None:
    """Put that many networks in force."""
    if networks:
        entries = many_networks(networks)
        settings = KafkaSettings(bootstrap=kafka)
        change_policy(settings, {}, lambda before: before | entries, who="benchmark", what="networks")


def wait_for(status: Path, name: str, value: Fact) -> None:
    """Wait until the shim says so of itself."""
    deadline = time.monotonic() + 60
    while (read_status(status) or {}).get(name) != value:
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


def machine() -> str:
    """What this ran on, and how busy it was."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, load average {load}"


def _report(medians: dict[str, dict[str, float]], options: argparse.Namespace) -> int:
    ours, empty, postfwd = medians["goaway shim"], medians[EMPTY], medians.get(POSTFWD.name)
    met = None
    if postfwd is not None:
        faster = ours["requests_per_s"] / postfwd["requests_per_s"]
        share = ours["p99_ms"] / postfwd["p99_ms"]
        met = faster >= TARGET_RATE and share <= TARGET_P99
    if options.json:
        print(json.dumps({"machine": machine(), "medians": medians, "target_met": met, **vars(options)}))
        return int(met is False)
    print(machine())
    print(
        f"{options.connections} connections, medians of {options.rounds} rounds of {options.seconds:g} s, "
        f"{options.decisions} standing decisions, {options.networks} networks\n"
    )
    print(f"{'server':<14}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}")
    for name, row in medians.items():
        print(f"{name:<14}{row['requests_per_s']:>12,.0f}{row['p50_ms']:>10.3f}{row['p99_ms']:>10.3f}")
    for peer in (POSTFWD, POSTGREY):
        if peer.name not in medians:
            print(f"{peer.name:<14} not installed here: apt-get install {peer.program.rstrip('2')}")
    print(f"\np99 loaded beside empty: {ours['p99_ms'] / empty['p99_ms']:.2f}")
    if met is None:
        return 0
    print(
        f"\n{faster:.1f} times postfwd's rate (target {TARGET_RATE:g}), "
        f"{share:.3f} of its p99 (target {TARGET_P99:g}): {'met' if met else 'MISSED'}"
    )
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

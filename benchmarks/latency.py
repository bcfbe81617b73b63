"""From the log line being written to the client being refused: `goaway up`, whole, as it stands.

    python benchmarks/latency.py [--trials 1000] [--clickhouse none|embedded] [--broker tansu|apache] [--json]

A trial: a client that nobody has seen has ten connections open, as many as are allowed; the line of its
eleventh is appended to the log file, and the shim is asked about it over a policy connection, each
`ASK_EVERY_S`, until it answers 551. Trials begin at random moments, so that no pause of a stage's falls into
step with them. Afterwards the records' own time stamps (milliseconds) tell where the time went.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks.parse import cpu
from streams.config import KafkaSettings
from streams.kafka import client_config
from streams.model.client import ClientPrefixes, parse_address
from streams.topics import DECISIONS, EVENTS
from streams.wire.frames import decode_decision, decode_frame
from tests.e2e.running import PARTITIONS, RunningUp, WrittenLog, until
from tests.shim_process import ask

TARGET_P99_MS = 100.0
ALLOWED = 10
ASK_EVERY_S = 0.0005
PATIENCE_S = 10.0
WARM_UP = 20
"""Trials that do not count: imports, first connections, empty caches."""

STAGES = ("shipper", "broker and worker", "broker and shim")


@dataclass(frozen=True, slots=True)
class Trial:
    """One client's way: wall-clock seconds at which its line was written and at which it was refused."""

    client: str
    written: float
    refused: float


def addresses(count: int) -> list[str]:
    """Clients of the documentation ranges, IPv4 (RFC 5737) and IPv6 (RFC 3849) in turn."""
    v4 = [f"{net}.{host}" for net in ("192.0.2", "198.51.100", "203.0.113") for host in range(1, 255)]
    v6 = [f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1" for number in range(count)]
    mixed = [address for pair in zip(v4, v6, strict=False) for address in pair]
    return [*mixed, *v6[len(v4) :]][:count]


def run(up: RunningUp, log: WrittenLog, count: int) -> list[Trial]:
    """All trials, one after the other, the first `WARM_UP` left out."""
    chance = random.Random(1)
    clients = addresses(count + WARM_UP)
    for client in clients:
        log.connect(client, ALLOWED)
    expected = len(clients) * ALLOWED
    until(lambda: int(up.facts("worker").get("events") or 0) >= expected, up.explain, seconds=60)
    trials = []
    with up.connect() as peer:
        for client in clients:
            time.sleep(chance.uniform(0.005, 0.035))
            written = time.time()
            log.connect(client, 1)
            while not ask(peer, client).startswith("551 "):
                if time.time() - written > PATIENCE_S:
                    raise SystemExit(f"{client} is not refused after {PATIENCE_S} s\n{up.explain()}")
                time.sleep(ASK_EVERY_S)
            trials.append(Trial(client, written, time.time()))
    return trials[WARM_UP:]


def stamps(kafka: str, topic: str) -> Iterator[tuple[bytes, float]]:
    """Every record's value with its time stamp, in seconds."""
    settings = client_config(
        KafkaSettings(kafka), group_id="benchmark", enable_auto_commit=False, enable_partition_eof=True
    )
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    ended = 0
    try:
        while ended < PARTITIONS:
            record = consumer.poll(10.0)
            if record is None:
                break
            if record.error() is not None:
                ended += 1
            elif (value := record.value()) is not None:
                yield value, record.timestamp()[1] / 1000
    finally:
        consumer.close()


def where_it_went(kafka: str, trials: list[Trial]) -> dict[str, list[float]]:
    """Milliseconds spent in each of `STAGES`, a value for each trial that can be followed."""
    prefixes = ClientPrefixes()
    decided = {}
    for value, stamp in stamps(kafka, DECISIONS):
        decision = decode_decision(value)
        decided[str(decision.client)] = (decision.event, stamp)
    shipped = {event.id: stamp for value, stamp in stamps(kafka, EVENTS) for event in decode_frame(value)}
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for trial in trials:
        client = str(prefixes.client_of(parse_address(trial.client)))
        event, decision_at = decided.get(client, ("", 0.0))
        if event in shipped:
            points = (trial.written, shipped[event], decision_at, trial.refused)
            for stage, begin, end in zip(STAGES, points, points[1:], strict=False):
                spent[stage].append((end - begin) * 1000)
    return spent


def figures(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and longest."""
    return {
        "p50_ms": round(statistics.median(values), 2),
        "p99_ms": round(statistics.quantiles(values, n=100)[98], 2),
        "max_ms": round(max(values), 2),
    }


def main() -> int:
    """Run it; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="from the log line to the refusal")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--clickhouse", choices=("none", "embedded"), default="embedded")
    parser.add_argument("--broker", choices=("tansu", "apache"), default="tansu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
        log = WrittenLog(Path(folder) / "mail.log")
        up = RunningUp(
            Path(folder), log.path, clickhouse=options.clickhouse, broker=options.broker,
            policy="[limits]\ncool_down_s = 3600\n",
        )  # fmt: skip
        with up:
            began = time.monotonic()
            trials = run(up, log, options.trials)
            seconds = time.monotonic() - began
            spent = where_it_went(str(json.loads((up.data / "up.json").read_text())["kafka"]), trials)
    whole = figures([(trial.refused - trial.written) * 1000 for trial in trials])
    stages = {stage: figures(values) for stage, values in spent.items() if len(values) > 1}
    met = whole["p99_ms"] <= TARGET_P99_MS
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    if options.json:
        result = {
            "benchmark": "latency", **whole, "stages": stages, "target_p99_ms": TARGET_P99_MS,
            "target_met": met, **vars(options), "machine": platform.node(), "cpu": cpu(),
            "cores": os.cpu_count(), "python": platform.python_version(), "load_average": load,
        }  # fmt: skip
        print(json.dumps(result))
        return int(not met)
    print(
        f"{platform.node()}: {cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}"
    )
    print(
        f"goaway up --broker {options.broker} --clickhouse {options.clickhouse}, {options.trials} trials "
        f"in {seconds:.0f} s\n"
    )
    print(f"{'':<26}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, row in {"line written → refused": whole, **stages}.items():
        label = name if name not in stages else f"  {name}"
        print(f"{label:<26}{row['p50_ms']:>10.1f}{row['p99_ms']:>10.1f}{row['max_ms']:>10.1f}")
    print(f"\np99 {whole['p99_ms']:.1f} ms (target {TARGET_P99_MS:g} ms): {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

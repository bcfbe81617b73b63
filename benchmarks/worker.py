"""Events per second of one worker through the embedded broker, beside two usual ways of counting per client:

    python benchmarks/worker.py [--events N] [--peer-events N] [--runs 3] [--json]

One worker pinned to one core, frames of 100 events, rate from its first decision to its last: the first and
the last frame of each partition hold one that is known. Beside it, on the same broker, one after the other in
each run, with fewer events of the same mix, one a record: the Faust manual's idiom (a table write an event)
and Quix Streams (a sliding minute per client).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.engine import machine, skewed_events
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import client_config, create_topics
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.topics import EVENTS
from streams.wire.frames import encode, encode_frame
from streams.wire.partition import partition_of
from tests.stack.brokers import make_topic
from tests.stack.worker_load import Outputs
from tests.stack.worker_process import EMBEDDED_SESSION_S, WorkerProcess

TARGET = 100_000
PARTITIONS = 4
FRAME = 100
PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent


ON_ONE_CORE = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
"""Command that pins what it starts to the last core."""

Way = Callable[[list[Event], Path, str], float]
"""Events/s of these events, with a folder to work in, on the broker of that address."""


def frames_of(events: list[Event]) -> list[list[bytes]]:
    """Frames of each partition, in order, between a first and a last one with a block in it."""
    frames: list[list[bytes]] = [[_burst("first", p, events[0].at)] for p in range(PARTITIONS)]
    waiting: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for event in events:
        share = waiting[partition_of(event.client, PARTITIONS)]
        share.append(event)
        if len(share) == FRAME:
            frames[partition_of(event.client, PARTITIONS)].append(encode_frame(share))
            share.clear()
    for partition, share in enumerate(waiting):
        frames[partition] += [encode_frame(share), _burst("last", partition, events[-1].at)]
    return frames


def _burst(name: str, partition: int, at: int) -> bytes:
    """31 connections of one client: a block."""
    number = next(n for n in range(1, 250) if partition_of(_mark(name, n), PARTITIONS) == partition)
    address = _mark(name, number)
    return encode_frame(
        Event(id=f"{name}{partition}.{n}", at=Instant(at + n), kind="connect", client=Client(address),
              address=Address(address), session=f"{name}/{n}", host="mx")
        for n in range(31)
    )  # fmt: skip


def _mark(name: str, number: int) -> str:
    return f"{'192.0.2' if name == 'first' else '198.51.100'}.{number}"


def goaway(events: list[Event], folder: Path, broker: str) -> float:
    """Events/s of our worker."""
    settings = KafkaSettings(bootstrap=broker)
    frames = frames_of(events)
    producer = Producer(client_config(settings, linger_ms=2, batch_num_messages=10))
    for row in range(max(len(it) for it in frames)):
        for partition, its in enumerate(frames):
            if row < len(its):
                _produce(producer, EVENTS, its[row], partition)
    producer.flush(60)
    outputs, times = Outputs(settings), dict[str, float]()
    with WorkerProcess(folder, settings, session_s=EMBEDDED_SESSION_S, before=ON_ONE_CORE) as worker:
        deadline = time.monotonic() + 300
        while sum(mark.startswith("198.51.100.") for mark in times) < PARTITIONS:
            outputs.take(0.01)
            for found in outputs.found.values():
                times.setdefault(found.client, time.perf_counter())
            outputs.found.clear()
            if time.monotonic() > deadline or worker.ended() is not None:
                raise SystemExit(worker.log.read_text())
    outputs.close()
    began = min(at for mark, at in times.items() if mark.startswith("192.0.2."))
    ended = max(at for mark, at in times.items() if mark.startswith("198.51.100."))
    return len(events) / (ended - began)


def peer(command: list[str]) -> Way:
    """Events/s of a peer: the same events, one a record, keyed by client, on a topic of its own."""

    def measure(events: list[Event], folder: Path, broker: str) -> float:
        topic = f"peer-{time.time_ns()}"
        # Quix reads these back for its changelog, and the embedded broker only tells what it was given
        config = {"retention.ms": "86400000", "cleanup.policy": "delete"}
        make_topic(broker, topic, partitions=PARTITIONS, config=config)
        settings = KafkaSettings(bootstrap=broker)
        producer = Producer(client_config(settings, linger_ms=5))
        for event in events:
            _produce(producer, topic, encode(event), partition_of(event.client, PARTITIONS), key=event.client)
        producer.flush(60)
        done = subprocess.run(
            [*ON_ONE_CORE, *command, broker, topic, str(len(events))],
            capture_output=True, text=True, check=False, timeout=300, cwd=folder,
        )  # fmt: skip
        said = next((line for line in done.stdout.splitlines() if "events_per_s" in line), None)
        if said is None:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
        return float(json.loads(said[said.index("{") :])["events_per_s"])

    return measure


def _produce(producer: Producer, topic: str, value: bytes, partition: int, key: str | None = None) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition=partition)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


def main() -> int:
    """Run and print; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="one worker through the broker, beside two usual ways")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--peer-events", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.time_ns() // 1000 - options.events // 1000 * MICROSECONDS
    ours = skewed_events(options.events, start=start)
    ways: dict[str, tuple[Way, list[Event]]] = {"goaway worker": (goaway, ours)}
    if not options.without_peers:
        few = ours[: options.peer_events]
        ways["Faust manual"] = (peer([sys.executable, str(PEERS / "faust_manual.py")]), few)
        uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
        if Path(uv).exists():
            quix = [uv, "run", "--no-project", "--with-requirements", str(PEERS / "quix-requirements.txt")]
            ways["Quix Streams"] = (peer([*quix, "python", str(PEERS / "quix_count.py")]), few)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
            broker = open_broker("tansu", folder=Path(folder) / "broker")
            broker.start()
            try:
                create_topics(KafkaSettings(bootstrap=broker.address), partitions=PARTITIONS)
                for name, (measure, events) in ways.items():
                    rates[name].append(measure(events, Path(folder), broker.address))
            finally:
                broker.stop()
    medians = {name: statistics.median(row) for name, row in rates.items()}
    met = medians["goaway worker"] >= TARGET
    if options.json:
        rounded = {name: round(rate) for name, rate in medians.items()}
        print(json.dumps({"benchmark": "worker", "events_per_s": rounded, "frame": FRAME, "target_met": met,
                          "machine": machine(), **vars(options)}))  # fmt: skip
        return int(not met)
    print(machine())
    print(f"one worker pinned to one core, medians of {options.runs} runs on one broker (Tansu)\n")
    print(f"{'':<15}{'events/record':>14}{'events':>12}{'events/s':>12}{'goaway is':>14}")
    for name, rate in medians.items():
        times = f"{medians['goaway worker'] / rate:,.0f} times" if name != "goaway worker" else ""
        frame = FRAME if name == "goaway worker" else 1
        print(f"{name:<15}{frame:>14}{len(ways[name][1]):>12,}{rate:>12,.0f}{times:>14}")
    print(f"\ntarget {TARGET:,} events/s: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

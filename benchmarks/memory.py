"""Memory per tracked client at a million clients:

    python benchmarks/memory.py [--clients N] [--runs 3] [--json]

Difference of resident memory, divided by clients: of a process with the engine's state alone, and of the
worker itself, which was sent the same events through the embedded broker. Each client has one to four events.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.engine import machine
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.embedded.broker.process import rss_bytes
from streams.engine.state import State
from streams.engine.step import step
from streams.kafka import client_config, create_topics
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.topics import EVENTS
from streams.wire.frames import decode_event, encode, encode_frame
from streams.wire.partition import partition_of
from tests.stack.worker_process import EMBEDDED_SESSION_S, ROOT, WorkerProcess

PARTITIONS = 4
FRAME = 200


def typical_events(clients: int, start: int) -> Iterator[Event]:
    """A connection of each client: most deliver a message, a fifth of them do nothing."""
    chance = random.Random(1)
    for number in range(clients):
        address = f"{11 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        kinds: list[EventKind] = ["connect", "disconnect"]
        if chance.random() < 0.8:
            kinds[1:1] = ["mail"] * chance.choice((1, 1, 2))
        for order, kind in enumerate(kinds):
            yield Event(
                id=f"{number:x}.{order}",
                at=Instant(start + number * 100 + order),
                kind=kind,
                client=Client(address),
                address=Address(address),
                session=f"mx/{number % 30_000}",
                host="mx",
            )


def bare(clients: int) -> float:
    """Bytes a client of the engine's state, in this process; events are decoded as the worker does."""
    index = PolicyIndex(Policy())
    state = State(memory_s=index.policy.memory_s)
    before = rss_bytes(os.getpid())
    for event in typical_events(clients, time.time_ns() // 1000):
        step(index, state, decode_event(encode(event)))
    after = rss_bytes(os.getpid())
    assert len(state.clients) == clients
    return (after - before) / clients


def bare_in_a_new_process(clients: int) -> float:
    """As `bare`, with nothing left over from before."""
    command = [sys.executable, "-m", "benchmarks.memory", "--bare", "--clients", str(clients)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def in_worker(clients: int) -> float:
    """Bytes a client of a worker that has seen them all."""
    with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
        broker = open_broker("tansu", folder=Path(folder) / "broker")
        broker.start()
        try:
            settings = KafkaSettings(bootstrap=broker.address)
            create_topics(settings, partitions=PARTITIONS)
            with WorkerProcess(Path(folder), settings, session_s=EMBEDDED_SESSION_S) as worker:
                worker.wait_for_partitions(PARTITIONS)
                # what the first events load and compile is not the clients'
                _send(settings, 2000)
                _wait(worker, 2000)
                before = rss_bytes(worker.pid)
                _send(settings, clients)
                _wait(worker, clients)
                after = rss_bytes(worker.pid)
        finally:
            broker.stop()
    return (after - before) / (clients - 2000)


def _send(settings: KafkaSettings, clients: int) -> None:
    producer = Producer(client_config(settings, linger_ms=5))
    frames: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for event in typical_events(clients, time.time_ns() // 1000):
        partition = partition_of(event.client, PARTITIONS)
        frames[partition].append(event)
        if len(frames[partition]) == FRAME:
            _produce(producer, partition, frames[partition])
    for partition, left in enumerate(frames):
        _produce(producer, partition, left)
    producer.flush(60)


def _produce(producer: Producer, partition: int, events: list[Event]) -> None:
    while True:
        try:
            producer.produce(EVENTS, encode_frame(events), partition=partition)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)
    events.clear()


def _wait(worker: WorkerProcess, clients: int) -> None:
    deadline = time.monotonic() + 300
    while worker.facts().get("clients") != clients:
        if time.monotonic() > deadline or worker.ended() is not None:
            raise SystemExit(f"the worker stands at {worker.facts()}")
        time.sleep(0.2)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="memory per tracked client")
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(bare(options.clients))
        return
    rows = {
        "engine's state": [bare_in_a_new_process(options.clients) for _ in range(options.runs)],
        "worker": [in_worker(options.clients) for _ in range(options.runs)],
    }
    if options.json:
        medians = {name: round(statistics.median(row)) for name, row in rows.items()}
        print(json.dumps({"benchmark": "memory", "bytes_per_client": medians, "clients": options.clients,
                          "runs": options.runs, "machine": machine()}))  # fmt: skip
        return
    print(machine())
    print(f"{options.clients:,} clients of one to four events, medians of {options.runs} runs\n")
    print(f"{'':<16}{'bytes/client':>14}{'least':>9}{'most':>9}")
    for name, row in rows.items():
        print(f"{name:<16}{statistics.median(row):>14,.0f}{min(row):>9,.0f}{max(row):>9,.0f}")


if __name__ == "__main__":
    main()

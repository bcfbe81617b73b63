"""Rows a second that the sink stores: frames of 100 events through Tansu into the embedded ClickHouse.

    python benchmarks/sink.py [--events N] [--runs N] [--json]

The frames are in the broker before the sink starts; the clock runs from the start of its process to its last
row stored. Broker, engine and sink share this machine's cores.
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
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate
from streams.config import ClickHouseSettings, KafkaSettings
from streams.embedded.broker import open_broker
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.kafka import create_topics
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import Instant, parse_instant
from streams.topics import EVENTS
from streams.wire.frames import encode_frame

FRAME: Final = 100
PARTITIONS: Final = 4
STARTS: Final = parse_instant("2026-01-15T00:00:00Z")
KINDS: Final[tuple[EventKind, ...]] = ("connect", "helo", "mail", "disconnect")


def event(number: int) -> Event:
    """Four events a connection, 20 000 clients, about 300 bytes each on the wire."""
    connection = number // 4
    client = f"198.51.{connection % 200}.{connection // 200 % 100}"
    kind = KINDS[number % 4]
    return Event(
        id=f"{number:016x}",
        at=Instant(STARTS + number * 1000),
        kind=kind,
        client=Client(client),
        address=Address(client),
        session=f"mx1/{connection % 30_000}",
        host="mx1.example.org",
        service="smtpd",
        helo="mail.example.net" if kind != "connect" else "",
        sender=f"user{connection % 5000}@example.net" if kind == "mail" else "",
        queue_id=f"{connection:X}" if kind == "mail" else "",
        source="/var/log/mail.log",
        position=number * 120,
    )


def environment(kafka: KafkaSettings, store: ClickHouseSettings) -> dict[str, str]:
    """What `goaway sink` is told."""
    return {
        **os.environ,
        "GOAWAY_KAFKA": kafka.bootstrap,
        "GOAWAY_CLICKHOUSE": f"{store.host}:{store.port}",
        "GOAWAY_CLICKHOUSE_USER": store.user,
        "GOAWAY_CLICKHOUSE_PASSWORD": store.password,
        "GOAWAY_CLICKHOUSE_DATABASE": store.database,
    }


def one_run(events: int) -> float:
    """Rows a second of one fresh broker, engine and sink."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse() as engine:
        store = engine.start(Path(folder) / "clickhouse")
        clickhouse = ClickHouse(store)
        migrate(clickhouse)
        broker = open_broker("tansu", folder=Path(folder) / "broker")
        broker.start()
        kafka = KafkaSettings(broker.address)
        sink: subprocess.Popen[bytes] | None = None
        try:
            create_topics(kafka, partitions=PARTITIONS)
            producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 20, "log_level": 2})
            for frame in range(events // FRAME):
                numbers = range(frame * FRAME, (frame + 1) * FRAME)
                producer.produce(EVENTS, encode_frame(map(event, numbers)), partition=frame % PARTITIONS)
                producer.poll(0)
            if producer.flush(60):
                raise SystemExit("the broker did not take the load")
            began = time.perf_counter()
            sink = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "sink"], env=environment(kafka, store)
            )
            while clickhouse.rows("SELECT count() FROM events")[0][0] < events:
                time.sleep(0.1)
            took = time.perf_counter() - began
        finally:
            if sink is not None:
                sink.terminate()
                sink.wait(30)
            clickhouse.close()
            broker.stop()
    return events / took


def machine() -> str:
    """Processor, cores and Python."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} cores, Python {platform.python_version()}"


def main() -> None:
    """Print the median, as text or JSON."""
    options = argparse.ArgumentParser(description="Rows a second through the sink")
    options.add_argument("--events", type=int, default=1_500_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--json", action="store_true")
    wanted = options.parse_args()
    rates = [round(one_run(wanted.events)) for _ in range(wanted.runs)]
    found = {
        "figure": "sink, rows/s",
        "median": round(statistics.median(rates)),
        "runs": rates,
        "events": wanted.events,
        "frame": FRAME,
        "load_average": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }
    if wanted.json:
        print(json.dumps(found))
    else:
        print(f"{found['median']:,} rows/s (median of {rates}; {wanted.events:,} events, frames of {FRAME})")
        print(f"{found['machine']}; load {found['load_average']}")


if __name__ == "__main__":
    main()

"""What a candidate costs the worker: events per second without one and with one, in turns:

    python benchmarks/shadow.py [--events N] [--runs 3] [--json]

The worker of `benchmarks/worker.py`: pinned to one core, frames of 100 events. The candidate's limits are
half of those in force.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.engine import machine, skewed_events
from benchmarks.worker import PARTITIONS, goaway
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import create_topics
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.policy_writer import change_policy
from streams.topics import CANDIDATE
from streams.wire.policy_entries import Entries

HALF: Entries = {
    "limits": {"concurrent_connections": 10, "connections_per_minute": 15, "requests_per_minute": 10}
}


def measure(events: list[Event], *, candidate: bool) -> float:
    """Events/s of one run on a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
        broker = open_broker("tansu", folder=Path(folder) / "broker")
        broker.start()
        try:
            settings = KafkaSettings(bootstrap=broker.address)
            create_topics(settings, partitions=PARTITIONS)
            if candidate:
                change_policy(settings, {}, lambda _: HALF, who="benchmark", what="try", topic=CANDIDATE)
            return goaway(events, Path(folder), broker.address)
        finally:
            broker.stop()


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="the worker without and with a candidate")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    events = skewed_events(
        options.events, start=time.time_ns() // 1000 - options.events // 1000 * MICROSECONDS
    )
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.runs):
        for candidate, row in rates.items():
            row.append(measure(events, candidate=candidate))
    without, beside = (statistics.median(rates[it]) for it in (False, True))
    if options.json:
        found = {"without": round(without), "with": round(beside), "machine": machine(), **vars(options)}
        print(json.dumps({"benchmark": "shadow", **found}))
        return 0
    print(machine())
    print(f"one worker pinned to one core, {options.events:,} events, medians of {options.runs} runs each\n")
    print(f"without a candidate {without:>12,.0f} events/s")
    print(f"with one            {beside:>12,.0f} events/s, {without / beside - 1:.0%} more time an event")
    return 0


if __name__ == "__main__":
    sys.exit(main())

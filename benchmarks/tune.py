"""A hundred settings over a history in one pass, beside plain replays of it:

    python benchmarks/tune.py [--events 1000000] [--settings grid|random] [--json]

The history is JSON lines in a temporary file (2 GB for ten million events), read as `goaway replay` reads
it. One replay is measured, a hundred are reckoned from it. The grid is a tuner's: 100 combinations of a few
values of each limit; random settings share next to nothing. Exit status 1 where the sweep takes more than ten
times one replay, in CPU seconds of this process, which other work disturbs less than it does the clock's.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path

from benchmarks.engine import START, machine, skewed_events
from streams.engine.step import Outcome
from streams.model.client import ClientPrefixes
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.counts import ReadCounts
from streams.replay.run import replay
from streams.replay.setting import Setting, grid
from streams.replay.sources import history
from streams.replay.weighing import weigh
from streams.wire.frames import encode_frame

TARGET = 10.0
_PART = 500_000


def settings(kind: str) -> list[Setting]:
    """A hundred settings."""
    if kind == "grid":
        return grid(
            concurrent_connections=(5, 10, 15, 20, 30),
            connections_per_minute=(10, 20, 30, 60, 100),
            requests_per_minute=(20, 40),
            cool_down_s=(60, 300),
            cool_down_growth=(1.0,),
        )
    chance = random.Random(1)
    return [
        Setting(
            concurrent_connections=chance.randint(3, 30),
            connections_per_minute=chance.randint(5, 120),
            requests_per_minute=chance.randint(5, 120),
            cool_down_s=chance.choice((30, 60, 120, 300, 600)),
            cool_down_growth=chance.choice((1.0, 1.5, 2.0)),
        )
        for _ in range(100)
    ]


def write(file: Path, events: int) -> int:
    """That many events, a few more, as JSON lines; made in parts that follow each other in time."""
    made, start = 0, START
    with file.open("wb") as out:
        while made < events:
            part = skewed_events(min(_PART, events - made), seed=made + 1, start=start)
            out.write(encode_frame(part))
            made += len(part)
            start = part[-1].at + MICROSECONDS
    return made


def read(file: Path) -> Iterator[Event]:
    """The events, as commands read them."""
    batches = history(
        [file], zone=UTC, reference=Instant(1 << 52), prefixes=ClientPrefixes(), counts=ReadCounts()
    )
    return (event for batch in batches for event in batch.items)


def drained(outcomes: Iterable[Outcome]) -> int:
    """How many decisions."""
    return sum(isinstance(it, Decision) for it in outcomes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="many settings over one history, beside plain replays")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--settings", choices=("grid", "random"), default="grid")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    policies = [it.under(Policy()) for it in settings(options.settings)]
    with tempfile.TemporaryDirectory(prefix="goaway-benchmark-") as folder:
        file = Path(folder) / "events.jsonl"
        events = write(file, options.events)
        began = time.perf_counter(), time.process_time()
        decisions = drained(replay(PolicyIndex(Policy()), read(file)))
        one = time.perf_counter() - began[0], time.process_time() - began[1]
        began = time.perf_counter(), time.process_time()
        found = weigh(policies, read(file), {})
        many = time.perf_counter() - began[0], time.process_time() - began[1]
    ratio = many[1] / one[1]
    shown = {
        "benchmark": "tune",
        "settings": f"{len(policies)} {options.settings}",
        "events": events,
        "one_replay_s": round(one[0], 1),
        "one_replay_cpu_s": round(one[1], 1),
        "decisions_of_one": decisions,
        "hundred_replays_cpu_s": round(len(policies) * one[1]),
        "sweep_s": round(many[0], 1),
        "sweep_cpu_s": round(many[1], 1),
        "blocks_of_all": sum(it.blocks for it in found),
        "ratio": round(ratio, 2),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "machine": machine(),
    }
    if options.json:
        print(json.dumps(shown))
    else:
        for name, value in shown.items():
            print(f"{name:<24}{value}")
        print(f"target: at most {TARGET:g} times one replay: {'met' if ratio <= TARGET else 'MISSED'}")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())

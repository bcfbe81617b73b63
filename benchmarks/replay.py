"""Events replayed per second: JSON lines and ClickHouse, each by one process and by two.

    python benchmarks/replay.py [--events 1000000] [--runs 3] [--json]

Wall clock, from the file (or an embedded ClickHouse) to encoded decisions; the median counts. `cpu` is per
second of processor time of all replaying processes, so that a busy machine blurs it less: the server's share
is not in it, which on two cores competes with two processes. CrowdSec publishes 3 600 to 8 500 lines a second
for its replay of a log (`crowdsec -dsn file://… -no-api`); that figure is not measured here.
"""

import argparse
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC
from pathlib import Path

from benchmarks.engine import machine, skewed_events
from streams.audit.clickhouse import ClickHouse, connection_arguments
from streams.audit.migrations import migrate
from streams.audit.rows import Record, TopicRows
from streams.config import ClickHouseSettings
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.engine.step import Outcome
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.clickhouse_source import StoredPeriod
from streams.replay.counts import ReadCounts
from streams.replay.order import Batches
from streams.replay.parallel import replay_lines
from streams.replay.parallel_stored import replay_stored
from streams.replay.run import decide
from streams.replay.sources import history, only_json
from streams.topics import EVENTS
from streams.wire.frames import encode, encode_frame

TARGET = 300_000
TARGET_TWO = 1.7
FRAME = 200
NAMES = {
    "json_lines": "JSON lines, one process",
    "two_processes": "JSON lines, two processes",
    "clickhouse": "ClickHouse, one process",
    "clickhouse_two": "ClickHouse, two processes",
}


def store(settings: ClickHouseSettings, events: list[Event]) -> None:
    """Put the events into `events`, as the sink does."""
    clickhouse = ClickHouse(settings)
    migrate(clickhouse)
    for first in range(0, len(events), 100_000):
        rows = TopicRows(EVENTS)
        for start in range(first, min(first + 100_000, len(events)), FRAME):
            frame = encode_frame(events[start : start + FRAME])
            rows.add(Record(EVENTS, 0, start, Instant(0), frame, None, None))
        assert rows.rows is not None
        for month, some in rows.rows.months():
            clickhouse.insert(
                some.table.name, some.table.names, some.columns(1), token=f"replay/{first}/{month}"
            )
    clickhouse.close()


def alone(batches: Batches) -> int:
    """Bytes of what one process decides."""
    found = decide(PolicyIndex(Policy()), batches)
    return written(few for _, all_ in found for _, few in all_)


def written(outcomes: Iterable[list[Outcome]]) -> int:
    """Bytes of the outcomes, encoded."""
    return sum(len(encode(it)) for few in outcomes for it in few)


def timed(run: Callable[[], int], events: int) -> tuple[float, float, int]:
    """Events per second of the wall clock and of processor time, and what came."""
    wall, cpu = time.perf_counter(), used()
    came = run()
    return events / (time.perf_counter() - wall), events / (used() - cpu), came


def used() -> float:
    """Seconds of processor time of this process and of those that it has ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main() -> int:
    """Run and print; exit status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="events replayed per second")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    events = skewed_events(options.events)
    count = len(events)
    child = EmbeddedClickHouse()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.jsonl"
        file.write_bytes(encode_frame(events))
        settings = child.start(Path(folder) / "clickhouse")
        try:
            store(settings, events)
            del events
            gc.disable()
            arguments = connection_arguments(settings)

            def lines() -> int:
                return alone(
                    history(
                        [file],
                        zone=UTC,
                        reference=Instant(1 << 52),
                        prefixes=ClientPrefixes(),
                        counts=ReadCounts(),
                    )
                )

            def two() -> int:
                given = only_json(file)
                assert given is not None
                return written(replay_lines(Policy(), given, ReadCounts(), jobs=2))

            def stored() -> int:
                return alone(StoredPeriod(arguments, Instant(0), Instant(1 << 52)).batches())

            def stored_two() -> int:
                period = StoredPeriod(arguments, Instant(0), Instant(1 << 52))
                return written(replay_stored(Policy(), period, ReadCounts(), jobs=2))

            runs: dict[str, list[tuple[float, float, int]]] = {}
            for _ in range(options.runs):  # in turns, so that what else the machine does meets all alike
                for name, run in (
                    ("json_lines", lines),
                    ("two_processes", two),
                    ("clickhouse", stored),
                    ("clickhouse_two", stored_two),
                ):
                    runs.setdefault(name, []).append(timed(run, count))
                    gc.collect()
        finally:
            child.stop()
    rates = {name: statistics.median(it[0] for it in them) for name, them in runs.items()}
    cpu = {name: statistics.median(it[1] for it in them) for name, them in runs.items()}
    assert len({it[2] for them in runs.values() for it in them}) == 1, "all decide the same"
    gain = rates["two_processes"] / rates["json_lines"]
    if options.json:
        shown = {f"{name}_events_per_s": round(rate) for name, rate in rates.items()}
        shown |= {f"{name}_events_per_cpu_s": round(rate) for name, rate in cpu.items()}
        print(
            json.dumps(
                {
                    "benchmark": "replay",
                    **shown,
                    "two_is": round(gain, 2),
                    "events": count,
                    "machine": machine(),
                }
            )
        )
    else:
        print(f"{machine()}\n{count:,} events, {options.runs} runs in turns; events/s\n")
        print(f"{'':<28}{'wall clock':>12}{'cpu':>12}")
        of_two = {"two_processes": rates["json_lines"], "clickhouse_two": rates["clickhouse"]}
        for name, words in NAMES.items():
            times = f" × {rates[name] / of_two[name]:.2f}" if name in of_two else ""
            print(f"{words:<28}{rates[name]:>12,.0f}{cpu[name]:>12,.0f}{times}")
        print("CrowdSec, lines (published)   3,600–8,500")
    met = min(rates["json_lines"], rates["clickhouse"]) >= TARGET and gain >= TARGET_TWO
    if not options.json:
        print(f"\ntargets {TARGET:,} on one core, × {TARGET_TWO} on two: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

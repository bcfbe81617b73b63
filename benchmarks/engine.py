"""Events decided per second on one core by the engine alone:

    python benchmarks/engine.py [--events N] [--runs 5] [--json]

A mix as MTAs log it: few clients do most (Zipf), most are under every limit, some are blocked again and
again. Events are decoded beforehand; each run starts with an empty state; the median counts.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path

from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex

TARGET = 400_000
START = 1_678_748_400 * MICROSECONDS


def machine() -> str:
    """Processor, cores, Python, and what else the machine is doing."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, load average {load}"


def skewed_events(
    count: int, *, clients: int = 50_000, per_s: int = 1000, seed: int = 1, start: int = START
) -> list[Event]:
    """At least `count` events in the order of time; the n-th client is about 1/n as busy as the first."""
    chance = random.Random(seed)
    weights = list(accumulate(1 / (n + 10) for n in range(clients)))
    addresses = [f"{10 + n // 65536}.{n // 256 % 256}.{n % 256}.7" for n in range(clients)]
    made: list[tuple[int, int, EventKind, str, str, int]] = []
    clock, number = start, 0
    while len(made) < count:
        number += 1
        clock += int(chance.expovariate(per_s / 5.5) * MICROSECONDS)
        address = chance.choices(addresses, cum_weights=weights)[0]
        session, at = f"mx{number % 4}/{number % 30_000}", clock
        steps: list[EventKind] = ["connect", "helo"]
        for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
            steps += ["mail", chance.choice(("message", "rcpt"))]
        for kind in (*steps, "disconnect"):
            made.append((at, len(made), kind, address, session, number))
            at += chance.randrange(2 * MICROSECONDS)
    made.sort()
    return [
        Event(
            id=f"{order:016x}",
            at=Instant(at),
            kind=kind,
            client=Client(address),
            address=Address(address),
            session=session,
            host=session.partition("/")[0],
            service="smtpd",
            source="",
        )
        for at, order, kind, address, session, _ in made
    ]


def run(index: PolicyIndex, events: list[Event]) -> tuple[float, Counter[str]]:
    """Seconds of one pass, and what came of it."""
    state = State(memory_s=index.policy.memory_s)
    found: Counter[str] = Counter()
    started = time.perf_counter()
    for event in events:
        for outcome in step(index, state, event):
            found[type(outcome).__name__] += 1
    seconds = time.perf_counter() - started
    found["clients"] = len(state.clients)
    return seconds, found


def main() -> int:
    """Run and print; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="events decided per second by the engine alone")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    events, index = skewed_events(options.events), PolicyIndex(Policy())
    passes = [run(index, events) for _ in range(options.runs)]
    rates = sorted(len(events) / seconds for seconds, _ in passes)
    rate, found = statistics.median(rates), passes[0][1]
    if options.json:
        row = {"benchmark": "engine", "events_per_s": round(rate), "runs": options.runs, **found}
        print(json.dumps({**row, "events": len(events), "machine": machine()}))
        return int(rate < TARGET)
    print(machine())
    print(f"{len(events):,} events of {found['clients']:,} clients, one core, {options.runs} runs\n")
    print(f"{'':<10}{'events/s':>12}")
    for name, figure in (("slowest", rates[0]), ("median", rate), ("fastest", rates[-1])):
        print(f"{name:<10}{figure:>12,.0f}")
    met = rate >= TARGET
    print(f"\n{found['Decision']:,} decisions, {found['LimitWarning']:,} warnings")
    print(f"target {TARGET:,}: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

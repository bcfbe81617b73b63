"""How long a change takes from the command to two shims that act on it.

    python benchmarks/policy_change.py [--trials 100] [--networks 0 10000] [--json]

Two shims follow one broker (Tansu). In each trial a client is blocked by a decision; then the clock starts,
and either an exemption of its network is written as `goaway exempt` does it (read the policy, write the
change, see it accepted), or a release is produced, as the worker does after `goaway unblock`. The clock stops
when both shims have answered DUNNO; they are asked in turn, every half millisecond. `--networks` is the size
of the policy that the change is made to.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from benchmarks.shim import machine, many_networks
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import client_config, create_topics
from streams.model.client import Address, Client
from streams.model.decision import Action, Decision, Evidence
from streams.model.instant import MICROSECONDS, Instant
from streams.policy_writer import change_policy
from streams.topics import DECISIONS
from streams.wire.frames import encode
from streams.wire.policy_entries import Entries
from tests.shim_process import ShimProcess, ask

TARGET_S: Final = 1.0
_PATIENCE_S: Final = 20.0


@dataclass(slots=True)
class Bench:
    """A broker, two shims, and who writes to them."""

    settings: KafkaSettings
    producer: Producer
    shims: list[ShimProcess]

    def decide(self, action: Action, address: str, at: int) -> None:
        """Produce a decision and wait for the broker to have it."""
        made = Decision(
            id=f"{at:016x}", at=Instant(at), until=Instant(at + 600 * MICROSECONDS), action=action,
            client=Client(address), address=Address(address), trigger="rate", rule="requests_per_minute",
            code=551, reason="exceeded connection rate limit",
            evidence=Evidence(count=21, limit=20, window_s=60), policy="0" * 12,
            event="0" * 16, session="mx/1", host="mx",
        )  # fmt: skip
        self.producer.produce(DECISIONS, encode(made), key=made.key)
        self.producer.flush(10)

    def change(self, edit: Callable[[Entries], Entries]) -> None:
        """Change the policy as a command does."""
        change_policy(self.settings, {}, edit, who="benchmark", what="benchmark")

    def trial(self, address: str, act: Callable[[], None]) -> float:
        """Seconds from the act's beginning until both shims let the client in."""
        self.decide("block", address, time.time_ns() // 1000)
        self._until(address, refused=True)
        started = time.perf_counter()
        act()
        self._until(address, refused=False)
        return time.perf_counter() - started

    def _until(self, address: str, *, refused: bool) -> None:
        deadline = time.perf_counter() + _PATIENCE_S
        with ExitStack() as stack:
            waiting = [stack.enter_context(shim.connect()) for shim in self.shims]
            while waiting:
                waiting = [peer for peer in waiting if (ask(peer, address) != "DUNNO") != refused]
                if time.perf_counter() > deadline:
                    raise SystemExit("a shim does not follow")
                time.sleep(0.0005)


def main() -> int:
    """Run it; exit status 1 where a p99 is over the target."""
    parser = argparse.ArgumentParser(description="policy change to enforcement on two shims")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--networks", type=int, nargs="+", default=[0, 10_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {networks: _measured(networks, options.trials) for networks in options.networks}
    met = all(row["p99_s"] <= TARGET_S for rows in found.values() for row in rows.values())
    if options.json:
        print(json.dumps({"machine": machine(), "trials": options.trials, "found": found, "met": met}))
        return int(not met)
    print(f"{machine()}\n{options.trials} trials each\n")
    print(f"{'change':<10}{'networks':>10}{'p50 ms':>10}{'p99 ms':>10}{'longest':>10}")
    for networks, rows in found.items():
        for name, row in rows.items():
            figures = "".join(f"{row[figure] * 1000:>10.1f}" for figure in ("p50_s", "p99_s", "max_s"))
            print(f"{name:<10}{networks:>10}{figures}")
    print(f"\ntarget {TARGET_S:g} s at p99: {'met' if met else 'MISSED'}")
    return int(not met)


def _measured(networks: int, trials: int) -> dict[str, dict[str, float]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goaway-bench-")))
        broker = open_broker("tansu", folder=folder / "broker")
        broker.start()
        stack.callback(broker.stop)
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        shims = []
        for name in ("one", "other"):
            (folder / name).mkdir()
            shim = ShimProcess(folder / name, "inet:127.0.0.1:0", kafka=broker.address)
            shims.append(stack.enter_context(shim))
        bench = Bench(settings, Producer(client_config(settings, linger_ms=0)), shims)
        if networks:
            bench.change(lambda before: before | many_networks(networks))
        for shim in shims:
            shim.wait_for("caught_up", True)
            shim.wait_for("policy_number", min(1, networks))
        exempt = [bench.trial(f"172.16.{number}.9", _exempting(bench, number)) for number in range(trials)]
        unblock = [bench.trial(f"172.17.{number}.9", _unblocking(bench, number)) for number in range(trials)]
    return {"exempt": _figures(exempt), "unblock": _figures(unblock)}


def _exempting(bench: Bench, number: int) -> Callable[[], None]:
    row = {f"exempt/rate/172.16.{number}.0/24": {"note": "partner"}}
    return lambda: bench.change(lambda before: before | row)


def _unblocking(bench: Bench, number: int) -> Callable[[], None]:
    return lambda: bench.decide("release", f"172.17.{number}.9", time.time_ns() // 1000)


def _figures(took: list[float]) -> dict[str, float]:
    took.sort()
    return {"p50_s": took[len(took) // 2], "p99_s": took[len(took) * 99 // 100], "max_s": took[-1]}


if __name__ == "__main__":
    sys.exit(main())

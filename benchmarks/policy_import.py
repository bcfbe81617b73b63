"""Seconds that `goaway policy import` needs for a CSV, whole: from the command's start to its end.

    python benchmarks/policy_import.py [--rows 10000] [--runs 5] [--broker tansu|apache] [--json]

Each run imports as many new rows into a policy that is one import larger. `followed` is when a follower, as
every worker and shim has one, had it in force: seconds after the command ended, 0 where it was earlier.
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

from benchmarks.parse import cpu
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.kafka import create_topics
from streams.model.policy import Policy
from streams.policy_follower import PolicyFollower

TARGET_S: Final = 5.0
ROOT: Final = Path(__file__).resolve().parent.parent


def write_csv(file: Path, run: int, rows: int) -> None:
    """Rows that no other run has: addresses of 10.0.0.0/8 with a note."""
    lines = (
        f'10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255},"partner {number}, of run {run}"'
        for number in range(run * rows, (run + 1) * rows)
    )
    file.write_text("address,note\n" + "\n".join(lines) + "\n")


def one_import(kafka: str, file: Path, follower: PolicyFollower, expected: int) -> tuple[float, float]:
    """Seconds of the command, and seconds from its end to the follower having all of it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "policy", "import", str(file), "--as", "exempt:rate"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "GOAWAY_KAFKA": kafka, "GOAWAY_DATA": str(file.parent / "none")},
    )
    ended = time.monotonic()
    if done.returncode:
        raise SystemExit(f"the import failed: {done.stderr.strip()}")
    while len(follower.current[1].policy.exemptions) < expected:
        if time.monotonic() - ended > 60:
            raise SystemExit(f"the follower does not see the change: {follower.state}, {follower.trouble}")
        time.sleep(0.001)
    return ended - began, time.monotonic() - ended


def main() -> int:
    """Run it; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="a CSV into the policy in force")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--broker", choices=("tansu", "apache"), default="tansu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    commands, followed = [], []
    with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
        broker = open_broker(options.broker, folder=Path(folder) / "broker")
        broker.start()
        settings = KafkaSettings(bootstrap=broker.address)
        create_topics(settings)
        follower = PolicyFollower(settings, Policy())
        follower.start()
        try:
            for run in range(options.runs):
                file = Path(folder) / f"rows-{run}.csv"
                write_csv(file, run, options.rows)
                command, later = one_import(broker.address, file, follower, (run + 1) * options.rows)
                commands.append(command)
                followed.append(later)
        finally:
            follower.stop()
            broker.stop()
    result = {
        "benchmark": "policy_import", "seconds": round(commands[0], 3),
        "median_s": round(statistics.median(commands), 3), "longest_s": round(max(commands), 3),
        "followed_s": round(max(followed), 3), "target_s": TARGET_S, "target_met": commands[0] <= TARGET_S,
        **vars(options), "machine": platform.node(), "cpu": cpu(), "cores": os.cpu_count(),
        "python": platform.python_version(), "load_average": ", ".join(f"{it:.1f}" for it in os.getloadavg()),
    }  # fmt: skip
    if options.json:
        print(json.dumps(result))
        return int(not result["target_met"])
    print(
        f"{result['machine']}: {result['cpu']}, {result['cores']} cores, Python {result['python']}, "
        f"load {result['load_average']}"
    )
    print(f"goaway policy import, {options.rows:,} rows a run, {options.broker}\n")
    print(f"{'rows before':>12}{'command s':>12}{'followed s':>12}")
    for run, (command, later) in enumerate(zip(commands, followed, strict=True)):
        print(f"{run * options.rows:>12,}{command:>12.2f}{later:>12.2f}")
    met = "met" if result["target_met"] else "MISSED"
    print(f"\n{options.rows:,} rows in {commands[0]:.2f} s (target {TARGET_S:g} s): {met}")
    return int(not result["target_met"])


if __name__ == "__main__":
    sys.exit(main())

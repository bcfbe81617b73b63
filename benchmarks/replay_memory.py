"""Peak memory of a replay of ten million events of a million clients:

    python benchmarks/replay_memory.py [--events 10000000] [--clients 1000000] [--jobs 1] [--json]

`goaway replay -` is fed JSON lines. Every client connects again and again, two minutes of event time or more
apart; the history lasts an hour, in which all are remembered at once, and then a week, in which few are at
any time. What is remembered is what the engine holds at its end: the clients of its memory, two hours by
default. Resident memory is the peak that the kernel saw of the process, of its children too with `--jobs`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.engine import START, machine
from streams.model.instant import MICROSECONDS, rfc3339
from streams.model.policy import Policy

HOURS = (1, 168)
MOST_BYTES = 1200
"""An active client may take so much, whatever the length of the history; 814 is what one state takes."""
TABLES_BYTES = 128_000_000
"""What tables may take that only save work; they are bounded, each by 200 000 addresses."""
_KINDS = ("connect", "helo", "mail", "message", "disconnect")
_LINES_AT_ONCE = 5000


def lines(events: int, clients: int, hours: int) -> Iterator[bytes]:
    """Events evenly in time; each five of them are one connection, and clients take turns."""
    step, made = hours * 3600 * MICROSECONDS // events, list[str]()
    for number in range(events):
        connection, kind = divmod(number, 5)
        who = connection % clients
        address = f"{11 + (who >> 16)}.{who >> 8 & 255}.{who & 255}.7"
        made.append(
            f'{{"id":"{number:016x}","at":"{rfc3339(START + number * step + 1)}","kind":"{_KINDS[kind]}",'
            f'"client":"{address}","address":"{address}","session":"mx/{connection % 30_000}","host":"mx"}}\n'
        )
        if len(made) == _LINES_AT_ONCE:
            yield "".join(made).encode()
            made = []
    yield "".join(made).encode()


def peak_bytes(events: int, clients: int, hours: int, jobs: int) -> tuple[int, float]:
    """Peak resident memory of the replay, and its time in seconds of processor time."""
    command = [sys.executable, "-m", "streams.cli", "replay", "-", "--jobs", str(jobs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as replay:
        assert replay.stdin is not None
        for chunk in lines(events, clients, hours):
            replay.stdin.write(chunk)
        replay.stdin.close()
        _, status, used = os.wait4(replay.pid, 0)
        replay.returncode = os.waitstatus_to_exitcode(status)
    assert replay.returncode == 0
    return used.ru_maxrss * 1024, used.ru_utime + used.ru_stime


def main() -> int:
    """Run and print; exit status 1 where memory is not that of the active clients."""
    parser = argparse.ArgumentParser(description="peak memory of a replay")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    empty, _ = peak_bytes(1000, 1000, 1, options.jobs)
    rows = []
    for hours in HOURS:
        peak, seconds = peak_bytes(options.events, options.clients, hours, options.jobs)
        connections = options.events // len(_KINDS)
        remembered = min(options.clients, connections * Policy().memory_s // (hours * 3600))
        rows.append(
            {
                "hours": hours,
                "peak_bytes": peak,
                "remembered_clients": remembered,
                "cpu_s": round(seconds, 1),
            }
        )
    shown = {"benchmark": "replay_memory", "events": options.events, "clients": options.clients}
    met = all(it["peak_bytes"] - empty < MOST_BYTES * it["remembered_clients"] + TABLES_BYTES for it in rows)
    if options.json:
        print(json.dumps({**shown, "empty_bytes": empty, "rows": rows, "machine": machine()}))
        return int(not met)
    print(
        f"{machine()}\n{options.events:,} events of {options.clients:,} clients; empty {empty / 1e6:.0f} MB\n"
    )
    print(f"{'hours':>6}{'clients remembered':>20}{'peak MB':>10}{'bytes a client':>16}{'cpu s':>8}")
    for it in rows:
        more = it["peak_bytes"] - empty
        print(
            f"{it['hours']:>6}{it['remembered_clients']:>20,}{it['peak_bytes'] / 1e6:>10.0f}"
            f"{more / it['remembered_clients']:>16.0f}{it['cpu_s']:>8}"
        )
    most = f"{MOST_BYTES} bytes for each client remembered, and {TABLES_BYTES / 1e6:.0f} MB"
    print(f"\nat most {most}: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

"""Log lines parsed per second on one core: `python benchmarks/parse.py [FILE] [--json]`.

Five runs over the file (plain or gzip; default: the project's own sample, repeated to 40 000 lines), each
with a parser of its own, cutting of lines included; the median counts. `lines_per_s` is per second of
processor time (one thread, no waiting), so that a busy machine does not blur it; the wall-clock rate stands
beside it.
"""

import argparse
import gzip
import json
import platform
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from streams.model.instant import instant_of
from streams.wire.lines import LineReader
from streams.wire.postfix import Ignored, LogParser, Unreadable

SAMPLE = Path(__file__).parent.parent / "streams" / "embedded" / "sample" / "mail.log.gz"
RUNS = 5
SAMPLE_LINES = 40_000
CHUNK = 1 << 18


def load(path: Path | None) -> bytes:
    """The log to parse, whole."""
    chosen = path or SAMPLE
    content = chosen.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return content if path else content * max(1, SAMPLE_LINES // content.count(b"\n"))


def run(content: bytes) -> tuple[float, float, dict[str, int]]:
    """Processor and wall seconds of one pass, and what it found."""
    parser = LogParser(zone=UTC, reference=instant_of(datetime.now(UTC)), source="benchmark")
    reader = LineReader()
    lines = events = ignored = unreadable = 0
    started, started_cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(content), CHUNK):
        for line in reader.feed(content[start : start + CHUNK]):
            lines += 1
            result = parser.read(line.content, line.position)
            if isinstance(result, Ignored):
                ignored += 1
            elif isinstance(result, Unreadable):
                unreadable += 1
            else:
                events += len(result)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return (
        cpu_seconds,
        seconds,
        {"lines": lines, "events": events, "ignored": ignored, "unreadable": unreadable},
    )


def cpu() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", nargs="?", type=Path)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    if given.file is None and not SAMPLE.exists():
        sys.exit(f"no {SAMPLE}. Try: python benchmarks/parse.py /var/log/mail.log")
    content = load(given.file)
    passes = [run(content) for _ in range(RUNS)]
    found = passes[0][2]
    rate = found["lines"] / statistics.median(cpu_seconds for cpu_seconds, _, _ in passes)
    wall_rate = found["lines"] / statistics.median(seconds for _, seconds, _ in passes)
    result = {
        "benchmark": "parse",
        "lines_per_s": round(rate),
        "wall_lines_per_s": round(wall_rate),
        "runs": RUNS,
        **found,
        "machine": platform.node(),
        "cpu": cpu(),
        "python": platform.python_version(),
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"{rate:,.0f} lines/s, one core, median of {RUNS} runs (wall clock: {wall_rate:,.0f})")
    print(", ".join(f"{name} {count:,}" for name, count in found.items()))
    print(f"{result['machine']}: {result['cpu']}, Python {result['python']}")


if __name__ == "__main__":
    main()

"""What an administrator's questions cost over millions of events, and what an event costs on disk.

    python benchmarks/storage.py [--events N[,N…]] [--data DIR] [--keep] [--json]

For each N a fresh embedded ClickHouse is filled (`generate_events`), left alone until it has merged, and
asked: the monthly audit, one client's month, searches within a day (551: few clients, often; 571: very many,
once), statistics, the dashboard of the month. Each question is asked once
after the engine was started anew (first), and then five times (median). With `--keep` the folders stay, and
are used again.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.generate_events import generate
from benchmarks.sink import machine
from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import Grouping
from streams.audit.migrations import migrate
from streams.audit.monthly import month
from streams.audit.proposals import Thresholds
from streams.audit.search import Query, search
from streams.audit.stats import stats
from streams.config import ClickHouseSettings
from streams.embedded.clickhouse import EmbeddedClickHouse
from streams.model.instant import Instant, parse_instant

MONTH: Final = (parse_instant("2026-01-01T00:00:00Z"), parse_instant("2026-02-01T00:00:00Z"))
DAY: Final = (parse_instant("2026-01-15T00:00:00Z"), parse_instant("2026-01-16T00:00:00Z"))
RUNS: Final = 5

_CLIENT_DAYS: Final = """
SELECT period, sum(connections), sum(requests), sum(messages), sum(go_aways), max(last_at)
FROM clients_by_day WHERE client = %(client)s AND period >= '2026-01-01' AND period < '2026-02-01'
GROUP BY period ORDER BY period
"""
_DAYS: Final = """
SELECT toStartOfDay(period, 'UTC') AS day, sum(connections) FROM traffic_by_minute
WHERE period >= '2026-01-01' AND period < '2026-02-01' GROUP BY day ORDER BY day
"""
_CLIENT_EVENTS: Final = """
SELECT kind, code, count(), max(at) FROM events
WHERE client = %(client)s AND at >= '2026-01-01' AND at < '2026-02-01' GROUP BY kind, code
"""


def questions(settings: ClickHouseSettings, client: str) -> dict[str, Callable[[], object]]:
    """Name of a question → how to ask it."""
    clickhouse = ClickHouse(settings)
    day = Query(Instant(DAY[0]), Instant(DAY[1]), codes=(551,))
    rare = Query(Instant(DAY[0]), Instant(DAY[1]), codes=(571,))
    text = Query(Instant(DAY[0]), Instant(DAY[1]), text="551")
    all_month = Query(Instant(MONTH[0]), Instant(MONTH[1]), codes=(551,))
    return {
        "monthly audit": lambda: month(settings, *MONTH, thresholds=Thresholds(), entries={}, now=MONTH[1]),
        "a heavy client's month, by day": lambda: clickhouse.rows(_CLIENT_DAYS, {"client": client}),
        "a heavy client's month, its events": lambda: clickhouse.rows(_CLIENT_EVENTS, {"client": client}),
        "search for code 551 in a day": lambda: search(clickhouse, day),
        "search for code 571 in a day": lambda: search(clickhouse, rare),
        "search for the text 551 in a day": lambda: search(clickhouse, text),
        "search for code 551 in a month": lambda: search(clickhouse, all_month),
        "statistics of the month by client": lambda: stats(clickhouse, *MONTH, Grouping()),
        "statistics of the month by ptr": lambda: stats(clickhouse, *MONTH, Grouping("ptr")),
        "connections by day": lambda: clickhouse.rows(_DAYS),
        "count of code 551 in a day": lambda: clickhouse.rows(
            "SELECT sum(refusals), uniq(client) FROM refusals WHERE code = 551"
            " AND at >= '2026-01-15' AND at < '2026-01-16'"
        ),
    }


def asked(folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of each question: the first time, and the median of those after."""
    found: dict[str, dict[str, float]] = {}
    with EmbeddedClickHouse() as engine:
        settings = engine.start(folder)
        clickhouse = ClickHouse(settings)
        [(client,)] = clickhouse.rows(
            "SELECT client FROM clients_by_month GROUP BY client ORDER BY sum(events) DESC LIMIT 1"
        )
        for name, ask in questions(settings, client).items():
            times = [_timed(ask) for _ in range(RUNS + 1)]
            found[name] = {"first_ms": round(times[0]), "median_ms": round(statistics.median(times[1:]))}
        clickhouse.close()
    return found


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def filled(folder: Path, events: int) -> dict[str, Any]:
    """Fill the folder where it is empty, wait for merges, and measure what lies on disk."""
    facts: dict[str, Any] = {}
    with EmbeddedClickHouse() as engine:
        clickhouse = ClickHouse(engine.start(folder))
        migrate(clickhouse)
        if clickhouse.rows("SELECT count() FROM events") == [(0,)]:
            began = time.perf_counter()
            rows = generate(clickhouse, events)
            facts["generated_rows_per_s"] = round(rows / (time.perf_counter() - began))
        calm = 0
        while calm < 3:
            time.sleep(1)
            calm = calm + 1 if clickhouse.rows("SELECT count() FROM system.merges") == [(0,)] else 0
        sizes = clickhouse.rows(
            "SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts"
            " WHERE active AND database = currentDatabase() AND rows > 0 GROUP BY table ORDER BY 3 DESC"
        )
        rows = next(int(size[1]) for size in sizes if size[0] == "events")
        facts |= {
            "events": rows,
            "clients": clickhouse.rows("SELECT uniqExact(client) FROM clients_by_month")[0][0],
            "bytes_per_event": {
                table: round(size / rows, 2) for table, _, size, _ in sizes if size / rows >= 0.05
            },
            "bytes_per_event_in_all": round(sum(size[2] for size in sizes) / rows, 1),
            "parts_of_events": next(int(size[3]) for size in sizes if size[0] == "events"),
        }
        clickhouse.close()
    return facts


def main() -> None:
    """Print the figures of each size, and how they grow."""
    options = argparse.ArgumentParser(description="Questions and disk over millions of events")
    options.add_argument("--events", default="10000000", help="N, or several: 10000000,100000000")
    options.add_argument("--data", type=Path)
    options.add_argument("--keep", action="store_true")
    options.add_argument("--json", action="store_true")
    wanted = options.parse_args()
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for events in map(int, wanted.events.split(",")):
            place = (wanted.data if wanted.keep and wanted.data else Path(folder)) / str(events)
            facts = filled(place, events)
            answers.append({**facts, "questions": asked(place)})
    found = {
        "figure": "storage",
        "sizes": answers,
        "load_average": round(os.getloadavg()[0], 1),
        "machine": machine(),
    }
    if wanted.json:
        print(json.dumps(found))
        return
    for facts in answers:
        print(f"{facts['events']:,} events, {facts['clients']:,} clients, {facts['parts_of_events']} parts")
        print(f"  bytes/event {facts['bytes_per_event_in_all']}: {facts['bytes_per_event']}")
        if "generated_rows_per_s" in facts:
            print(f"  generated at {facts['generated_rows_per_s']:,} rows/s")
        for name, times in facts["questions"].items():
            print(f"  {name}: {times['median_ms']:,} ms (first {times['first_ms']:,} ms)")
    print(f"{found['machine']}; load {found['load_average']}")


if __name__ == "__main__":
    main()

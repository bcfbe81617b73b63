"""Quix Streams counting per client in a sliding minute, for comparison: one event a record.

    uv run --no-project --with-requirements benchmarks/peers/quix-requirements.txt \\
        python benchmarks/peers/quix_count.py BROKER TOPIC EVENTS

Prints events/s from the first event to the last as JSON. State and changelog as by default (RocksDB, Kafka).
"""

import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from typing import Any

from quixstreams import Application

broker, topic, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen, started = 0, 0.0


def arrived(value: Any) -> Any:
    """Note the first event's time."""
    global seen, started  # noqa: PLW0603
    if not seen:
        started = time.perf_counter()
    seen += 1
    return value


def counted(_: Any) -> None:
    """After the count was taken."""
    if seen == wanted:
        print(json.dumps({"events_per_s": seen / (time.perf_counter() - started)}), flush=True)
        os._exit(0)


app = Application(
    broker_address=broker,
    consumer_group=f"quix-{os.getpid()}",
    auto_offset_reset="earliest",
    state_dir=tempfile.mkdtemp(),
    consumer_extra_config={"session.timeout.ms": 6000},
    loglevel="ERROR",
)
events = app.dataframe(app.topic(topic, value_deserializer="json"))
events = events.apply(arrived).sliding_window(duration_ms=timedelta(minutes=1)).count().current()
events.update(counted)

if __name__ == "__main__":
    app.run()

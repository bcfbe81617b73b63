"""The Faust manual's way of counting, for comparison: one event a record, a table write an event.

    python benchmarks/peers/faust_manual.py BROKER TOPIC EVENTS

Prints events/s from the first event to the last as JSON. After "Windowed tables" and "Models, Records" of the
manual; a table of one-minute windows in memory, its changelog in Kafka, as by default.
"""

import json
import os
import sys
import tempfile
import time
from typing import Any

import faust

broker, topic, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Event(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    """What the count needs."""

    id: str
    at: str
    kind: str
    client: str


app = faust.App(
    f"manual-{os.getpid()}",
    broker=f"kafka://{broker}",
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.5,
    consumer_auto_offset_reset="earliest",
    topic_partitions=4,
    topic_disable_leader=True,
    web_enabled=False,
    store="memory://",
    datadir=tempfile.mkdtemp(),
)
events = app.topic(topic, key_type=bytes, value_type=Event, key_serializer="raw")
counts = app.Table("counts", default=int, partitions=4).tumbling(60.0, expires=3600.0)


@app.agent(events)  # type: ignore[untyped-decorator]
async def count(stream: Any) -> None:
    """Count by client."""
    seen, started = 0, 0.0
    async for event in stream:
        if not seen:
            started = time.perf_counter()
        seen += 1
        counts[event.client] += 1
        if seen == wanted:
            print(json.dumps({"events_per_s": seen / (time.perf_counter() - started)}), flush=True)
            os._exit(0)


if __name__ == "__main__":
    faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()

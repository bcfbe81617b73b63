"""What a traffic needs: measured rates and the user's own figures → partitions, workers, disk, memory. Pure.

Every result comes with its formula and the numbers in it.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

HEADROOM: Final = 2.0
"""So many times the busiest minute must be borne: a worker that was down has to catch up."""
BYTES_PER_CLIENT: Final = 814
"""Of a worker's memory, at a million clients (`benchmarks/memory.py`)."""
WORKER_BASE_MB: Final = 90
"""Of a worker that knows nobody."""
STORED_BYTES: Final = 39.0
"""Of one event in ClickHouse with its rollups and decisions, where it cannot be measured: a million generated
ones (`benchmarks/generate_events.py`)."""
WIRE_BYTES: Final = 250.0
"""Of one event in a frame, where none was seen; not compressed."""
ENGINE_SHARE: Final = 0.2
"""A worker decides at this share of what the engine alone does: the rest is Faust, decoding, acknowledging
(`benchmarks/worker.py` beside `benchmarks/engine.py`, in frames of 100)."""
EVENT_DAYS: Final = 7
"""Kafka keeps `smtp.events` for so long."""
MONTH_DAYS: Final = 30.4
_LEAST_PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one history, or as said."""

    events: int
    seconds: float
    peak_per_s: float
    """Events a second over the busiest minute."""
    clients: int
    """Remembered at once, at most."""
    decisions: int
    lines: int = 0
    """Log lines that these events were read from; 0 where the history is no log."""

    @property
    def per_s(self) -> float:
        """The average."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def lines_per_event(self) -> float:
        """One, where the history does not know it."""
        return self.lines / self.events if self.lines and self.events else 1.0

    @property
    def decisions_per_day(self) -> float:
        """The average."""
        return self.decisions / self.seconds * 86_400 if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What one core of this machine does, and what an event takes."""

    parse_per_s: float
    """Log lines."""
    engine_per_s: float
    """Events, by the engine alone."""
    worker_per_s: float
    """Events, by a worker."""
    stored_bytes: float = STORED_BYTES
    wire_bytes: float = WIRE_BYTES
    stored_measured: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """One result, how it comes about, and the same with the numbers in it."""

    name: str
    value: float
    unit: str
    formula: str
    numbers: str


def needs(traffic: Traffic, rates: Rates) -> list[Need]:
    """What this traffic needs, at these rates."""
    wanted = traffic.peak_per_s * HEADROOM
    workers = max(1, ceil(wanted / rates.worker_per_s))
    partitions = max(_LEAST_PARTITIONS, 2 * workers)
    shippers = wanted * traffic.lines_per_event / rates.parse_per_s
    month = traffic.per_s * 86_400 * MONTH_DAYS
    kafka = traffic.per_s * 86_400 * EVENT_DAYS
    memory = WORKER_BASE_MB * workers + traffic.clients * BYTES_PER_CLIENT / 1e6
    lines = (
        f"{traffic.lines_per_event:.2f}"
        if traffic.lines
        else "1 (assumed: the history is no log; lines that tell nothing come on top)"
    )
    peak = f"{traffic.peak_per_s:,.1f}/s × {HEADROOM:g}"
    return [
        Need(
            "workers",
            workers,
            "",
            "busiest minute × headroom ÷ events a worker decides a second",
            f"{peak} ÷ {rates.worker_per_s:,.0f}/s = {wanted / rates.worker_per_s:.3f}",
        ),
        Need(
            "partitions",
            partitions,
            "",
            f"2 × workers, at least {_LEAST_PARTITIONS}: so that workers can be doubled",
            f"2 × {workers} = {2 * workers}",
        ),
        Need(
            "cores that read logs",
            shippers,
            "",
            "busiest minute × headroom × lines an event ÷ lines read a second",
            f"{peak} × {lines} ÷ {rates.parse_per_s:,.0f}/s",
        ),
        Need(
            "ClickHouse, a month",
            month * rates.stored_bytes / 1e9,
            "GB",
            f"events a second × 86400 × {MONTH_DAYS} × bytes an event takes stored",
            f"{traffic.per_s:,.2f}/s × 86400 × {MONTH_DAYS} × {rates.stored_bytes:.1f} "
            f"({'measured there' if rates.stored_measured else 'published'})",
        ),
        Need(
            "Kafka",
            kafka * rates.wire_bytes / 1e9,
            "GB",
            f"events a second × 86400 × {EVENT_DAYS} days × bytes of an event in its frame",
            f"{traffic.per_s:,.2f}/s × 86400 × {EVENT_DAYS} × {rates.wire_bytes:.0f}",
        ),
        Need(
            "memory of the workers",
            memory,
            "MB",
            "base × workers + clients remembered × bytes a client",
            f"{WORKER_BASE_MB} × {workers} + {traffic.clients:,} × {BYTES_PER_CLIENT} ÷ 10⁶",
        ),
        Need(
            "decisions",
            traffic.decisions_per_day,
            "a day",
            "decisions ÷ days of the history",
            f"{traffic.decisions:,} ÷ {traffic.seconds / 86_400:.2f}",
        ),
    ]

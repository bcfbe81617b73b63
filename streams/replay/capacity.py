"""What a traffic needs: measured rates and the user's own figures → partitions, workers, disk, memory. Pure.

Every result comes with its formula and the numbers in it.
"""

from dataclasses import dataclass
from decimal import Decimal
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
_DAY_S: Final = 86_400
_LEAST_PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one history, or as said."""

    events: int
    seconds: float
    """From the first event to the last, without `holes_s`; at least a minute."""
    peak_per_s: float
    """Events a second over the busiest minute, wherever it begins."""
    clients: int
    """Remembered at once, at most."""
    decisions: int
    lines: int = 0
    """Log lines that these events were read from; 0 where the history is no log."""
    holes_s: float = 0.0
    """Pauses of everybody of more than a day, left out."""

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
        return self.decisions / self.seconds * _DAY_S if self.seconds else 0.0


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
    """One result, how it comes about, and the same with the numbers in it: `6 ÷ 60 s × 10 = 1`."""

    name: str
    value: float
    unit: str
    formula: str
    numbers: str


def figure(value: float) -> str:
    """A number as a person reads it: four digits, more where it is larger, never an exponent."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:.4g}'):f}"


def needs(traffic: Traffic, rates: Rates) -> list[Need]:
    """What this traffic needs, at these rates."""
    wanted = traffic.peak_per_s * HEADROOM
    workers = max(1, ceil(wanted / rates.worker_per_s))
    memory = WORKER_BASE_MB * workers + traffic.clients * BYTES_PER_CLIENT / 1e6
    partitions = max(_LEAST_PARTITIONS, 2 * workers)
    peak = f"{figure(traffic.peak_per_s)}/s × {HEADROOM:g}"
    return [
        Need(
            "workers",
            workers,
            "",
            "busiest minute × headroom ÷ events a worker decides a second, rounded up",
            f"{peak} ÷ {figure(rates.worker_per_s)}/s = {figure(wanted / rates.worker_per_s)}, "
            f"rounded up to {figure(workers)}",
        ),
        Need(
            "partitions",
            partitions,
            "",
            f"2 × workers, at least {_LEAST_PARTITIONS}: so that workers can be doubled",
            f"max(2 × {figure(workers)}, {_LEAST_PARTITIONS}) = {figure(partitions)}",
        ),
        _readers(traffic, rates, peak),
        *_disk(traffic, rates),
        Need(
            "memory of the workers",
            memory,
            "MB",
            "base × workers + clients remembered × bytes a client",
            f"{WORKER_BASE_MB} × {figure(workers)} + {traffic.clients:,} × {BYTES_PER_CLIENT} ÷ 10⁶ = "
            f"{figure(memory)} MB",
        ),
        Need(
            "decisions",
            traffic.decisions_per_day,
            "a day",
            "decisions ÷ seconds of the history × 86400",
            f"{traffic.decisions:,} ÷ {figure(traffic.seconds)} s × {_DAY_S:,} = "
            f"{figure(traffic.decisions_per_day)} a day",
        ),
    ]


def _readers(traffic: Traffic, rates: Rates, peak: str) -> Need:
    cores = traffic.peak_per_s * HEADROOM * traffic.lines_per_event / rates.parse_per_s
    lines = f"{traffic.lines:,} lines ÷ {traffic.events:,} events" if traffic.lines else "1"
    assumed = "" if traffic.lines else " (1 is assumed: the history is no log; lines that tell nothing add)"
    return Need(
        "cores that read logs",
        cores,
        "",
        "busiest minute × headroom × lines an event ÷ lines read a second",
        f"{peak} × {lines} ÷ {figure(rates.parse_per_s)}/s = {figure(cores)}{assumed}",
    )


def _disk(traffic: Traffic, rates: Rates) -> list[Need]:
    day = traffic.per_s * _DAY_S
    events = f"{traffic.events:,} events ÷ {figure(traffic.seconds)} s × {_DAY_S:,}"
    stored, kept = day * MONTH_DAYS * rates.stored_bytes / 1e9, day * EVENT_DAYS * rates.wire_bytes / 1e9
    source = "measured in ClickHouse" if rates.stored_measured else "as published"
    return [
        Need(
            "ClickHouse, a month",
            stored,
            "GB",
            f"events a second × 86400 × {MONTH_DAYS} days × bytes an event takes stored",
            f"{events} × {MONTH_DAYS} × {figure(rates.stored_bytes)} bytes ÷ 10⁹ = {figure(stored)} GB "
            f"({figure(rates.stored_bytes)} bytes {source})",
        ),
        Need(
            "Kafka",
            kept,
            "GB",
            f"events a second × 86400 × {EVENT_DAYS} days × bytes of an event in its frame",
            f"{events} × {EVENT_DAYS} × {figure(rates.wire_bytes)} bytes ÷ 10⁹ = {figure(kept)} GB",
        ),
    ]

"""What a shipper has done so far."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class ShipCounts:
    """Lines and events since the start. A line read gives events, or is ignored, or is unreadable."""

    read: int = 0
    """Lines."""
    events: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    """Lines ignored on purpose, by reason."""
    unreadable: int = 0
    """Lines that went to `smtp.deadletters`: not understood, too long, or stamped in the future."""
    frames: int = 0
    bytes: int = 0
    """Bytes of log, decompressed."""
    last_event_at: int | None = None
    """Event time of the last event, in microseconds."""
    seconds: float = 0.0
    """How long it took; set at the end."""
    settled: bool = True
    """Whether Kafka acknowledged everything before the end."""

    def summary(self) -> str:
        """One line for a person."""
        pace = f", {self.read / self.seconds:,.0f} lines/s" if self.seconds else ""
        return (
            f"{self.read:,} lines read: {self.events:,} events in {self.frames:,} frames, "
            f"{self.ignored.total():,} ignored on purpose, {self.unreadable:,} unreadable; "
            f"{self.seconds:.1f} s{pace}"
        )

"""Events of one source → frames, one partition each, in the order of the lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.model.client import Client
from streams.model.event import Event
from streams.wire.frames import encode_frame
from streams.wire.partition import partition_of

FRAME_EVENTS: Final = 200
FRAME_BYTES: Final = 256 * 1024
LINGER_S: Final = 0.005
"""How long a frame waits for company while there is more to read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The value of one record on `smtp.events`, and where it goes."""

    partition: int
    client: Client | None
    """The record's key: the client, when all events are of one."""
    source: str
    value: bytes
    events: int


@dataclass(slots=True)
class _Growing:
    since: float
    clients: set[Client] = field(default_factory=set)
    parts: list[bytes] = field(default_factory=list)
    events: int = 0
    size: int = 0


class FrameBuilder:
    """Collects the events of one source and emits a frame when it is full, has waited, or is asked to.

    The events of one line that share a partition are in one frame, so that within a partition a source's
    positions grow strictly from frame to frame.
    """

    def __init__(
        self, source: str, partitions: int, emit: Callable[[Frame], None], *, linger_s: float = LINGER_S
    ) -> None:
        self._source = source
        self._partitions = partitions
        self._emit = emit
        self._linger_s = linger_s
        self._growing: dict[int, _Growing] = {}

    def add(self, events: Sequence[Event], now: float) -> None:
        """Take the events of one line; `now` is any monotonic clock, in seconds."""
        if len(events) == 1:
            event = events[0]
            self._put(partition_of(event.client, self._partitions), events, now)
            return
        by_partition: dict[int, list[Event]] = {}
        for event in events:
            by_partition.setdefault(partition_of(event.client, self._partitions), []).append(event)
        for partition, share in by_partition.items():
            self._put(partition, share, now)

    def _put(self, partition: int, events: Sequence[Event], now: float) -> None:
        growing = self._growing.get(partition)
        if growing is None:
            growing = self._growing[partition] = _Growing(now)
        lines = encode_frame(events)
        for event in events:
            growing.clients.add(event.client)
        growing.parts.append(lines)
        growing.events += len(events)
        growing.size += len(lines)
        if growing.events >= FRAME_EVENTS or growing.size >= FRAME_BYTES:
            self._close(partition)

    def flush_waiting(self, now: float) -> None:
        """Emit the frames that have lingered long enough."""
        due = [p for p, growing in self._growing.items() if now - growing.since >= self._linger_s]
        for partition in due:
            self._close(partition)

    def flush(self) -> None:
        """Emit whatever there is."""
        for partition in list(self._growing):
            self._close(partition)

    def _close(self, partition: int) -> None:
        growing = self._growing.pop(partition)
        client = next(iter(growing.clients)) if len(growing.clients) == 1 else None
        self._emit(Frame(partition, client, self._source, b"".join(growing.parts), growing.events))

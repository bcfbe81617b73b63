"""Rates of this machine, measured in a second or two on a history made for it; the traffic of a history."""

import time
from bisect import bisect_left
from datetime import UTC
from typing import Final

import cramjam

from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.decision import Decision
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.capacity import ENGINE_SHARE, Rates, Traffic
from streams.replay.covered import Covered
from streams.replay.order import Batches
from streams.wire.frames import encode_frame
from streams.wire.postfix import LogParser

_EVENTS: Final = 60_000
_FRAME: Final = 200
"""Events of a frame."""
_SAMPLE: Final = 20_000
"""Events whose size on the wire is measured."""
_MINUTE_US: Final = 60 * MICROSECONDS
_LATE_US: Final = 600 * MICROSECONDS
"""A host that ships its log apart may be minutes behind."""
_LOOK_AT: Final = 4096
_START: Final = 1_700_000_000 * MICROSECONDS
_KINDS: Final[tuple[EventKind, ...]] = ("connect", "helo", "mail", "message", "disconnect")


def measured_rates() -> Rates:
    """Parse and engine on one core; the worker's rate follows from the engine's."""
    engine = _engine_rate()
    return Rates(parse_per_s=_parse_rate(), engine_per_s=engine, worker_per_s=engine * ENGINE_SHARE)


def _engine_rate() -> float:
    events = [_event(number) for number in range(_EVENTS)]
    index, best = PolicyIndex(Policy()), 0.0
    for _ in range(3):
        state, began = State(memory_s=index.policy.memory_s), time.perf_counter()
        for event in events:
            step(index, state, event)
        best = max(best, _EVENTS / (time.perf_counter() - began))
    return best


def _event(number: int) -> Event:
    client = (number // 5) * 7919 % 9973
    address = f"10.{client >> 8 & 255}.{client & 255}.7"
    return Event(
        id=f"{number:016x}",
        at=Instant(_START + number * 1500),
        kind=_KINDS[number % 5],
        client=Client(address),
        address=Address(address),
        session=f"mx/{number // 5}",
        host="mx",
    )


def _parse_rate() -> float:
    stamp = b"2023-11-14T22:13:20.000000+00:00 mx postfix/smtpd[%d]: %s"
    told = (
        b"connect from a.example[192.0.2.%d]",
        b"4F2A1C0%03X: client=a.example[192.0.2.%d]",
        b"disconnect from a.example[192.0.2.%d] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    )
    lines = []
    for number in range(6000):
        client = number % 200
        for text in told:
            given = (number % 4096, client) if b"%03X" in text else (client,)
            lines.append(stamp % (number % 30_000 + 1, text % given))
    best = 0.0
    for _ in range(2):
        parser, began = LogParser(zone=UTC, reference=Instant(_START)), time.perf_counter()
        for line in lines:
            parser.read(line)
        best = max(best, len(lines) / (time.perf_counter() - began))
    return best


class BusiestMinute:
    """The most events of any 60 seconds, wherever these begin; what is late by `_LATE_US` counts in its own
    time."""

    def __init__(self) -> None:
        self.events = 0
        self._held: list[int] = []
        self._look_at = _LOOK_AT

    def add(self, at: int) -> None:
        """Take an event's time in."""
        self._held.append(at)
        if len(self._held) >= self._look_at:
            self.look()
            held = self._held
            del held[: bisect_left(held, held[-1] - _LATE_US)]
            self._look_at = max(_LOOK_AT, 2 * len(held))  # what stays is looked at again

    def look(self) -> None:
        """Bring `events` up to date."""
        held = self._held
        held.sort()
        begins = 0
        for place, at in enumerate(held):
            while held[begins] <= at - _MINUTE_US:
                begins += 1
            self.events = max(self.events, place - begins + 1)


class _Wire:
    """Bytes of an event in its frame, compressed as the shipper compresses, by a sample."""

    def __init__(self) -> None:
        self._frame: list[Event] = []
        self._events = self._packed = 0

    def add(self, event: Event) -> None:
        """Take an event in."""
        if self._events < _SAMPLE:
            self._frame.append(event)
            if len(self._frame) == _FRAME:
                self._pack()

    def bytes_an_event(self) -> float:
        """Of one event; 0 where there was none."""
        self._pack()
        return self._packed / self._events if self._events else 0.0

    def _pack(self) -> None:
        if self._frame:
            self._packed += len(bytes(cramjam.lz4.compress(encode_frame(self._frame))))
            self._events += len(self._frame)
            self._frame.clear()


def traffic_of(batches: Batches, policy: Policy) -> tuple[Traffic, float]:
    """Gone through with the engine, so that decisions and clients remembered are counted too; and the bytes
    of an event in its frame (0: there was none). The same for a history however it is cut into batches;
    markers of the policy are no traffic."""
    index = PolicyIndex(policy)
    state = State(memory_s=policy.memory_s)
    minute, wire, covered = BusiestMinute(), _Wire(), Covered()
    events = clients = decisions = 0
    for event in covered.by(event for batch in batches for event in batch.items):
        if event.kind == "policy":
            continue
        events += 1
        minute.add(event.at)
        wire.add(event)
        decisions += sum(isinstance(it, Decision) for it in step(index, state, event))
        clients = max(clients, len(state.clients))
    minute.look()
    traffic = Traffic(
        events,
        max(60.0, covered.us / MICROSECONDS),
        minute.events / 60,
        clients,
        decisions,
        holes_s=covered.holes_us / MICROSECONDS,
    )
    return traffic, wire.bytes_an_event()

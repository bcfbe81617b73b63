"""Rates of this machine, measured in a second or two on a history made for it; the traffic of a history."""

import time
from collections import Counter
from datetime import UTC
from typing import Final

import cramjam

from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.capacity import ENGINE_SHARE, Rates, Traffic
from streams.replay.order import Batches
from streams.wire.frames import encode_frame
from streams.wire.postfix import LogParser

_EVENTS: Final = 60_000
_SAMPLE: Final = 20_000
"""Events whose size on the wire is measured."""
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


def traffic_of(batches: Batches, policy: Policy) -> tuple[Traffic, float]:
    """Gone through with the engine, so that decisions and clients remembered are counted too; and the bytes
    of an event in its frame, compressed as the shipper compresses (0: there was none)."""
    index = PolicyIndex(policy)
    state = State(memory_s=policy.memory_s)
    minutes: Counter[int] = Counter()
    clients = decisions = 0
    first = last = 0
    framed = packed = 0
    for batch in batches:
        if framed < _SAMPLE and batch.items:
            some = batch.items[:200]
            framed += len(some)
            packed += len(bytes(cramjam.lz4.compress(encode_frame(some))))
        for event in batch.items:
            minutes[event.at // (60 * MICROSECONDS)] += 1
            decisions += sum(hasattr(it, "until") for it in step(index, state, event))
        if batch.items:
            first = first or batch.items[0].at
            last = max(last, batch.items[-1].at)
        clients = max(clients, len(state.clients))
    seconds = max(60.0, (last - first) / MICROSECONDS)
    peak = max(minutes.values(), default=0) / 60
    traffic = Traffic(minutes.total(), seconds, peak, clients, decisions)
    return traffic, packed / framed if framed else 0.0

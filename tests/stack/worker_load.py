"""A load for the worker whose every decision is known: made from a seed, decided in process by the engine.

Several hours of event time, so that what a restarted worker counts again (an hour) is a part of it.
"""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from streams.config import KafkaSettings
from streams.engine.state import State
from streams.engine.step import step
from streams.kafka import client_config
from streams.model.client import Address, Client
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.standing import PolicyIndex
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, WARNINGS
from streams.wire.frames import decode_decision, decode_warning, encode_frame
from streams.wire.partition import partition_of
from streams.wire.policy_toml import read_policy

PARTITIONS: Final = 4
HOURS: Final = 5
POLICY: Final = """
[limits]
concurrent_connections = 12
requests_per_minute = 4
connections_per_minute = 8
cool_down_s = 40
cool_down_growth = 1.3
cool_down_max_s = 600
session_idle_s = 900
[[networks]]
cidr = "198.51.100.0/28"
name = "generous"
connections_per_minute = 40
[[exemptions]]
module = "rate"
address = "203.0.113.9"
[[blocks]]
address = "203.0.113.66"
note = "by hand"
"""
"""An attacker that goes on for hours is blocked for up to 10 minutes, again and again, ever longer."""

Outcomes = dict[str, Decision | LimitWarning]


@dataclass(slots=True)
class Load:
    """Frames in the order they are to be sent, and what must come of them."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    """(partition, value)"""
    expected: Outcomes = field(default_factory=dict)
    """By id."""
    letters: int = 0
    """Lines and events that must become dead letters."""
    stamps_ms: list[int] = field(default_factory=list)
    """Record times: as if each frame had been shipped when its last event happened."""


def make_load(seed: int, *, events: int = 30_000) -> Load:
    """Attackers that never stop, clients under every limit, late and repeated events, and rubbish."""
    chance = random.Random(seed)
    newest = time.time_ns() // 1000 - 60 * MICROSECONDS
    clock, gap = newest - HOURS * 3600 * MICROSECONDS, HOURS * 3600 * MICROSECONDS // events
    attackers = [f"192.0.2.{n}" for n in range(1, 5)] + ["2001:db8:1::bad", "203.0.113.66", "203.0.113.9"]
    honest = [f"198.51.{n // 200 + 100}.{n % 200 + 1}" for n in range(300)]
    made: list[Event] = []
    positions = {"mx1": 0, "mx2": 0}
    while len(made) < events:
        clock += chance.randrange(2 * gap)
        address = chance.choice(attackers if chance.random() < 0.7 else honest)
        host = chance.choice(("mx1", "mx1", "mx2"))
        kind: EventKind = chance.choice(("connect", "connect", "disconnect", "mail", "violation", "rcpt"))
        # mx2's log arrives up to 40 s late
        at = clock - (chance.randrange(40 * MICROSECONDS) if host == "mx2" else 0)
        positions[host] += chance.randrange(1, 300)
        made.append(
            event(f"{seed}-{len(made)}", at, kind, address, f"{host}/{chance.randrange(40)}", positions[host])
        )
    return _framed(made, chance)


def event(number: str, at: int, kind: EventKind, address: str, session: str, position: int = 0) -> Event:
    """One event of the client that its address is; with a position it has a source, the session's host."""
    host = session.partition("/")[0]
    client = address if "." in address else f"{address.partition('::')[0]}::/64"
    return Event(
        id=number,
        at=Instant(at),
        kind=kind,
        client=Client(client),
        address=Address(address),
        session=session,
        host=host,
        source=f"/var/log/{host}.log" if position else "",
        position=position,
    )


def _framed(made: list[Event], chance: random.Random) -> Load:
    """Cut into frames a partition; some are sent again, some have rubbish among their lines."""
    load = Load()
    index = PolicyIndex(read_policy(POLICY))
    states = [State(memory_s=index.policy.memory_s) for _ in range(PARTITIONS)]
    waiting: dict[tuple[int, str], list[Event]] = {}
    former: dict[tuple[int, str], bytes] = {}

    def close(place: tuple[int, str]) -> None:
        events = waiting.pop(place)
        value = frame = encode_frame(events)
        if chance.random() < 0.05:
            value, bad = _spoiled(frame, events[0])
            load.letters += bad
        load.frames.append((place[0], value))
        load.stamps_ms.append(max([*load.stamps_ms[-1:], max(e.at for e in events) // 1000]))
        for one in events:
            load.expected |= {o.id: o for o in step(index, states[place[0]], one)}
        if (
            place[1] and chance.random() < 0.05 and place in former
        ):  # a shipper that was killed sends its last frames again
            load.frames += [(place[0], former[place]), (place[0], frame)]
            load.stamps_ms += load.stamps_ms[-1:] * 2
        former[place] = frame

    for one in made:
        place = (partition_of(one.client, PARTITIONS), one.source)
        if chance.random() < 0.01:  # a producer that keys otherwise, and tells no source
            place = ((place[0] + 1) % PARTITIONS, "")
        kept = one if place[1] else msgspec.structs.replace(one, source="", position=0)
        waiting.setdefault(place, []).append(kept)
        if len(waiting[place]) >= chance.randrange(1, 25):
            close(place)
    for place in list(waiting):
        close(place)
    return load


def _spoiled(frame: bytes, example: Event) -> tuple[bytes, int]:
    """The frame with lines among its own that nobody may believe, and how many those are."""
    lines = frame.splitlines()
    wrong_client = msgspec.structs.replace(example, id="x1", client=Client("192.0.2.250"), source="")
    no_address = msgspec.structs.replace(example, id="x2", address=Address("mail.example"), source="")
    future = msgspec.structs.replace(example, id="x3", at=Instant(time.time_ns() // 1000 * 2), source="")
    bad = [
        b"\xff\xfe rubbish",
        b'{"id":1}',
        b"[" * 2000,
        *encode_frame([wrong_client, no_address, future]).splitlines(),
    ]
    lines[1:1] = bad
    return b"\n".join(lines), len(bad)


def send(settings: KafkaSettings, frames: Iterable[tuple[int, bytes]], stamps_ms: Iterable[int] = ()) -> None:
    """Produce frames in order and have each acknowledged; with `stamps_ms`, stamped so."""
    producer = Producer(client_config(settings, enable_idempotence=True, linger_ms=1))
    failed: list[object] = []
    stamps = iter(stamps_ms)
    for partition, value in frames:
        extra = {} if (stamp := next(stamps, None)) is None else {"timestamp": stamp}
        producer.produce(
            EVENTS,
            value,
            partition=partition,
            on_delivery=lambda e, _: failed.append(e) if e else None,
            **extra,
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert failed == []


class Outputs:
    """Follows what workers write, from the beginning."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.found: Outcomes = {}
        self.records = 0
        self.letters: list[bytes] = []
        self._consumer = Consumer(
            client_config(
                settings, **{"group.id": "test", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
            )
        )
        places = [TopicPartition(topic, p, 0) for topic in (DECISIONS, WARNINGS) for p in range(PARTITIONS)]
        self._consumer.assign([*places, TopicPartition(DEADLETTERS, 0, 0)])

    def take(self, seconds: float) -> None:
        """Read for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for message in self._consumer.consume(1000, min(left, 0.05)):
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    continue
                self._take(message.topic() or "", message.value() or b"")

    def _take(self, topic: str, value: bytes) -> None:
        self.records += 1
        if topic == DEADLETTERS:
            self.letters.append(value)
            return
        found: Decision | LimitWarning
        found = decode_decision(value) if topic == DECISIONS else decode_warning(value)
        former = self.found.setdefault(found.id, found)
        assert former == found, "one id stands for one outcome"

    def wait_for(self, expected: Outcomes, timeout_s: float = 60.0) -> None:
        """Read until all expected are there, and a while on, for what is too much."""
        deadline = time.monotonic() + timeout_s
        while not self.found.keys() >= expected.keys() and time.monotonic() < deadline:
            self.take(0.2)
        self.take(0.5)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

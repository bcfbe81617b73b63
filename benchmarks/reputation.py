"""Look-ups per second against a real rbldnsd, and the memory of their cache:

    python benchmarks/reputation.py [--clients N] [--peer-clients N] [--runs 3] [--json]

Each client is an address that was not seen before, one in ten is listed; one zone. "stage" is the process
itself, through the embedded broker: frames of 50 connects in, events with the listings out. "look-ups" is
what it does in between, alone in a process. Beside them, on the same rbldnsd, in the same run: dnspython's
asynchronous resolver with as many questions at once, and one question after the other, as a naive policy
service asks them. Broker and rbldnsd run on the same machine and take their share.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dns.asyncresolver
import dns.resolver
import uvloop
from confluent_kafka import Producer

from benchmarks.engine import machine
from streams.agents.reputation.cache import MAX_ADDRESSES
from streams.agents.reputation.lookups import LookUps
from streams.agents.reputation.zones import Zones
from streams.config import KafkaSettings
from streams.embedded.broker import open_broker
from streams.embedded.broker.process import rss_bytes
from streams.kafka import client_config, create_topics
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.modules import Reputation, Zone
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.topics import EVENTS
from streams.wire.frames import encode_frame
from streams.wire.partition import partition_of
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file
from tests.stack.reputation_process import PARTITIONS, StageProcess

AT_ONCE = 200
TARGET = 5000
FRAME = 50
ROOM = 15_000
"""Clients that may wait in the stage; it leaves out none below 20 000."""
ROOT = Path(__file__).resolve().parent.parent
FILE = zone_file(ENTRIES + "".join(f"{a}.{b}.0.0/16\n" for a in range(11, 20) for b in range(0, 256, 10)))
ZONE = Zone(domain="bl.example")
POLICY = """
[reputation]
resolvers = ["127.0.0.1:PORT"]
[[zones]]
domain = "bl.example"
"""


def addresses(count: int, *, first: int = 0) -> Iterator[Address]:
    """Distinct ones; a tenth of them is listed."""
    for number in range(first, first + count):
        yield Address(f"{11 + (number >> 20)}.{number & 255}.{number >> 12 & 255}.{number >> 8 & 15}")


def connects(count: int) -> Iterator[Event]:
    """One of each client."""
    at = time.time_ns() // 1000
    for number, address in enumerate(addresses(count)):
        yield Event(
            id=f"{number:x}", at=Instant(at + number), kind="connect", client=Client(address),
            address=address, session=f"mx/{number % 30_000}", host="mx",
        )  # fmt: skip


async def ours(count: int, port: int) -> dict[str, float]:
    """Look-ups/s of `LookUps`, and bytes of memory a client."""
    index = PolicyIndex(
        Policy(zones=(ZONE,), reputation=Reputation(resolvers=(f"127.0.0.1:{port}",), concurrency=AT_ONCE))
    )
    troubles: list[str] = []
    zones = Zones(lambda zone, trouble: troubles.append(f"{zone.domain}: {trouble}"))
    await zones.follow(index.zones.values(), index.policy.reputation)
    await zones.test_all()
    told: list[str] = []
    lookups = LookUps(zones, lambda event: told.append(event.detail), number=0, index=index)
    before, start = rss_bytes(os.getpid()), time.perf_counter()
    for event in connects(count):
        lookups.connected(event)
        if lookups.waiting > 1000:
            await _until(lambda: lookups.waiting < 100)
    await _until(lambda: not lookups.waiting and not lookups.under_way)
    took = time.perf_counter() - start
    assert lookups.counts.looked_up == count and not lookups.counts.dropped and not troubles, troubles
    return {
        "rate": count / took,
        "listed": lookups.counts.listed,
        "bytes_per_client": (rss_bytes(os.getpid()) - before) / len(lookups.cache),
    }


def stage(count: int, port: int) -> dict[str, float]:
    """Look-ups/s of the whole stage, and its memory; as much is sent as it has room for."""
    with tempfile.TemporaryDirectory(prefix="goaway-bench-") as folder:
        broker = open_broker("tansu", folder=Path(folder) / "broker")
        broker.start()
        try:
            settings = KafkaSettings(bootstrap=broker.address)
            create_topics(settings, partitions=PARTITIONS)
            with StageProcess(Path(folder), broker.address, POLICY.replace("PORT", str(port))) as running:
                return _through(running, settings, count)
        finally:
            broker.stop()


def _through(running: StageProcess, settings: KafkaSettings, count: int) -> dict[str, float]:
    producer = Producer(client_config(settings, linger_ms=2))
    frames: dict[int, list[Event]] = {number: [] for number in range(PARTITIONS)}
    before, start, sent, done = rss_bytes(running.pid), time.perf_counter(), 0, 0

    def has_room(facts: dict[str, Any]) -> bool:
        return sent - int(facts["looked_up"]) <= ROOM

    for sent, event in enumerate(connects(count), 1):
        partition = partition_of(event.client, PARTITIONS)
        frames[partition].append(event)
        if len(frames[partition]) == FRAME:
            producer.produce(EVENTS, encode_frame(frames[partition]), partition=partition)
            producer.poll(0)
            frames[partition].clear()
        if sent - done > ROOM:
            done = int(running.wait_for(has_room)["looked_up"])
    for partition, rest in frames.items():
        producer.produce(EVENTS, encode_frame(rest), partition=partition)
    producer.flush(30)
    facts = running.wait_for(lambda facts: facts["looked_up"] + facts["dropped"] >= count, 120)
    took = time.perf_counter() - start
    if facts["dropped"] or facts["zones_out"]:
        raise SystemExit(f"not all were looked up: {facts}\n{running.log.read_text()}")
    return {
        "rate": count / took,
        "listed": facts["listed"],
        "rss_before_mib": before / 2**20,
        "rss_mib": rss_bytes(running.pid) / 2**20,
    }


async def resolver_in_batches(count: int, port: int) -> dict[str, float]:
    """Look-ups/s of dns.asyncresolver, `AT_ONCE` at once."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    room = asyncio.Semaphore(AT_ONCE)

    async def one(address: Address) -> int:
        async with room:
            try:
                await resolver.resolve(_name(address), "A")
            except dns.resolver.NXDOMAIN:
                return 0
            return 1

    start = time.perf_counter()
    listed = sum(await asyncio.gather(*(one(address) for address in addresses(count))))
    return {"rate": count / (time.perf_counter() - start), "listed": listed}


async def one_by_one(count: int, port: int) -> dict[str, float]:
    """Look-ups/s of dns.resolver, one after the other."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    start, listed = time.perf_counter(), 0
    for address in addresses(count):
        try:
            resolver.resolve(_name(address), "A")
            listed += 1
        except dns.resolver.NXDOMAIN:
            pass
    return {"rate": count / (time.perf_counter() - start), "listed": listed}


WAYS = {"look-ups": ours, "dns.asyncresolver": resolver_in_batches, "one by one": one_by_one}
OURS = ("stage", "look-ups")


def _name(address: Address) -> str:
    return ".".join(reversed(address.split("."))) + ".bl.example"


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def measure(way: str, count: int, port: int) -> dict[str, float]:
    """Run one way in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reputation",
         "--way", way, "--clients", str(count), "--port", str(port)],
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Run and print; exit status 1 where the target is missed."""
    parser = argparse.ArgumentParser(description="look-ups/s against rbldnsd, beside two usual ways")
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--peer-clients", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run = uvloop.run if options.way == "look-ups" else asyncio.run
        print(json.dumps(run(WAYS[options.way](options.clients, options.port))))
        return 0
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ("stage", *WAYS)}
    with Rbldnsd({"bl.example": ("ip4trie", FILE)}) as server:
        server.kill()
        server.start(log_queries=False)
        for _ in range(options.runs):
            for way, results in found.items():
                count = options.clients if way in OURS else options.peer_clients
                results.append((stage if way == "stage" else partial(measure, way))(count, server.port))
    middle = {
        way: {name: statistics.median(one[name] for one in results) for name in results[0]}
        for way, results in found.items()
    }
    goaway, each = middle["stage"], middle["look-ups"]["bytes_per_client"]
    met = goaway["rate"] >= TARGET
    if options.json:
        print(json.dumps({"benchmark": "reputation", "found": middle, "at_once": AT_ONCE, "target_met": met,
                          "machine": machine(), "clients": options.clients}))  # fmt: skip
        return int(not met)
    print(machine())
    print(f"distinct clients, {AT_ONCE} look-ups at once, one zone, medians of {options.runs} runs\n")
    print(f"{'':<20}{'clients':>10}{'look-ups/s':>12}{'the stage is':>16}")
    for way, one in middle.items():
        count = options.clients if way in OURS else options.peer_clients
        times = "" if one is goaway else f"{goaway['rate'] / one['rate']:.1f} times"
        print(f"{way:<20}{count:>10,}{one['rate']:>12,.0f}{times:>16}")
    print(
        f"\nmemory of the stage: {goaway['rss_before_mib']:.0f} MiB before, {goaway['rss_mib']:.0f} MiB "
        f"after; {each:.0f} bytes a client that is held, {MAX_ADDRESSES:,} at most"
    )
    print(f"target {TARGET:,} look-ups/s: {'met' if met else 'MISSED'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

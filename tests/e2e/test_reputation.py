"""DNSBLs, all of it real: Postfix, rbldnsd, `goaway up`. A listing refuses; a broken zone refuses nobody."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.embedded.broker.process import free_port
from streams.kafka import client_config
from streams.model.decision import LimitWarning
from streams.topics import WARNINGS
from streams.wire.frames import decode_warning
from tests.e2e.front_door import FrontDoor, front_door
from tests.e2e.postfix import needs_postfix
from tests.e2e.postfix_setup import Setup
from tests.e2e.running import PARTITIONS, until
from tests.e2e.smtp_client import Reply
from tests.rbldnsd import ENTRIES, Rbldnsd, zone_file

pytestmark = [pytest.mark.needs("postfix", "root", "tansu", "rbldnsd"), needs_postfix]

WAIT_MS: Final = 8000
"""A verdict takes some 100 ms; a busy machine is slow, not wrong."""
TIMEOUT_MS: Final = 500
HEALTH_S: Final = 1
FAILURES: Final = 5
"""Answers missing in a row that take a zone out (streams/agents/reputation/health.py)."""
BUDGET_S: Final = FAILURES * (TIMEOUT_MS / 1000 + HEALTH_S)
TEXT: Final = "Go away: IP listed in DNSBL: [BL]"
RCPT: Final = "anna@example.org"
ZONE: Final = '[[zones]]\ndomain = "bl.example"\nname = "BL"\ndelisting = "https://bl.example/remove"\n'
LISTED: Final = zone_file(ENTRIES + "127.0.0.51\n127.0.0.52\n127.0.0.53\n127.0.0.54\n")


def policy(resolver: str) -> str:
    """One zone, tested each second, and a bounded wait at RCPT."""
    return (
        f'[reputation]\nresolvers = ["{resolver}"]\nwait_ms = {WAIT_MS}\ntimeout_ms = {TIMEOUT_MS}\n'
        f"health_every_s = {HEALTH_S}\n{ZONE}"
    )


@contextmanager
def guarded(dns_server: Rbldnsd) -> Iterator[FrontDoor]:
    """A front door that asks this zone; the reputation stage has its partitions."""
    listen = f"inet:127.0.0.1:{free_port()}"
    setup = Setup(policy=listen)
    with front_door(setup, listen=listen, policy=policy(dns_server.address)) as door:
        until(
            lambda: door.up.facts("reputation").get("partitions") == PARTITIONS,
            lambda: f"the reputation stage\n{door.up.explain()}",
        )
        yield door


def zone_warnings(door: FrontDoor, *, seconds: float = 3.0) -> list[LimitWarning]:
    """Every warning about a zone so far, with some time for late ones."""
    consumer = Consumer(client_config(door.up.kafka, group_id="test", enable_auto_commit=False))
    consumer.assign([TopicPartition(WARNINGS, number, 0) for number in range(PARTITIONS)])
    found, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        record = consumer.poll(0.1)
        if record is not None and record.error() is None:
            found.append(decode_warning(record.value() or b""))
    consumer.close()
    return [warning for warning in found if warning.about == "zone"]


def test_listed_at_rcpt_then_at_connect_and_an_exemption_in_an_open_session() -> None:
    with Rbldnsd({"bl.example": ("ip4set", LISTED)}) as dns_server, guarded(dns_server) as door:
        first = door.session("127.0.0.51")
        assert first.command("MAIL FROM:<a@example.com>").code == 250
        refused = Reply(571, f"5.7.1 <{RCPT}>: Recipient address rejected: {TEXT}")
        assert first.command(f"RCPT TO:<{RCPT}>") == refused
        found = door.greeting("127.0.0.51")
        assert found == Reply(551, f"5.7.1 <unknown[127.0.0.51]>: Client host rejected: {TEXT}")
        assert "51.0.0.127.bl.example" in dns_server.queries

        began = time.monotonic()
        assert door.attempt("127.0.0.61").code == 250
        assert time.monotonic() - began < WAIT_MS / 1000

        # the old session goes on: what it was refused before, it is let do now
        assert first.command(f"RCPT TO:<{RCPT}>") == refused
        door.up.goaway("exempt", "dnsbl", "127.0.0.51", "--note", "partner")
        until(lambda: door.greeting("127.0.0.51").code == 220, "the exemption", seconds=2.0)
        assert first.command(f"RCPT TO:<{RCPT}>").code == 250
        first.quit()


def test_an_error_code_is_no_listing() -> None:
    file = zone_file(ENTRIES + "127.0.0.51\n", code="127.255.255.254")
    with Rbldnsd({"bl.example": ("ip4set", file)}) as dns_server, guarded(dns_server) as door:
        for source in ("127.0.0.51", "127.0.0.61", "127.0.0.51"):
            assert door.attempt(source).code == 250, source
        (warning,) = zone_warnings(door)
        assert warning.client == "bl.example"
        assert "zone [BL] (bl.example) is out" in warning.text
        assert "127.255.255.254" in warning.text
        assert door.up.facts("reputation")["zones_out"] == "bl.example"


def test_a_zone_that_dies_and_comes_back() -> None:
    with Rbldnsd({"bl.example": ("ip4set", LISTED)}) as dns_server, guarded(dns_server) as door:
        assert door.attempt("127.0.0.51").code == 571

        dns_server.kill()
        killed = time.monotonic()
        for source in ("127.0.0.52", "127.0.0.61", "127.0.0.62"):
            asked = time.monotonic()
            assert door.attempt(source).code == 250, source
            assert time.monotonic() - asked < WAIT_MS / 1000 + 2
        until(
            lambda: door.up.facts("reputation").get("zones_out") == "bl.example",
            lambda: f"the zone to be out\n{door.up.explain()}",
            seconds=killed + BUDGET_S + 2 - time.monotonic(),
        )
        print(f"out {time.monotonic() - killed:.1f} s after the kill; budget {BUDGET_S:g} s")
        assert door.attempt("127.0.0.53").code == 250
        (out,) = zone_warnings(door, seconds=1.5)
        assert "zone [BL] (bl.example) is out" in out.text

        dns_server.start()
        until(
            lambda: door.up.facts("reputation").get("zones_out") == "",
            lambda: f"the zone to be back\n{door.up.explain()}",
            seconds=10.0,
        )
        assert door.attempt("127.0.0.54").code == 571
        _, back = zone_warnings(door, seconds=1.5)
        assert "works again" in back.text

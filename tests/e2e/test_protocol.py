"""Violations of SMTP, all of it real: what Postfix logs of one session is refused at the next."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from streams.embedded.broker.process import free_port
from tests.e2e.front_door import FrontDoor, front_door
from tests.e2e.postfix import needs_postfix
from tests.e2e.postfix_setup import Setup
from tests.e2e.running import until
from tests.e2e.smtp_client import Reply

pytestmark = [pytest.mark.needs("postfix", "root", "tansu"), needs_postfix]

BLOCK_S: Final = 6
VIOLATION: Final = "Go away: SMTP protocol violation"
POLICY: Final = f"""
[protocol]
block_s = {BLOCK_S}
invalid_helo = true
[[exemptions]]
module = "protocol"
address = "127.0.1.0/24"
note = "the scanners in the hall"
[[exemptions]]
module = "rate"
address = "127.0.2.0/24"
note = "the wrong module"
"""


@pytest.fixture(scope="module")
def door() -> Iterator[FrontDoor]:
    """A Postfix that does not insist on HELO, as is its default."""
    listen = f"inet:127.0.0.1:{free_port()}"
    with front_door(Setup(policy=listen), listen=listen, policy=POLICY, iso=True) as running:
        yield running


def without_helo(door: FrontDoor, source: str) -> Reply:
    """What a message is answered that begins with MAIL."""
    with door.lab.client(source) as client:
        greeting = client.reply()
        if greeting.code != 220:
            return greeting
        said = client.message("scanner@example.com", ["anna@example.org"])
        client.quit()
    return said


def refused(source: str, violation: str = "missing HELO") -> Reply:
    """The greeting of a client that is refused for it."""
    return Reply(551, f"5.7.1 <unknown[{source}]>: Client host rejected: {VIOLATION}: {violation}")


def test_without_helo_the_next_connection_is_refused(door: FrontDoor) -> None:
    # the exempt one first: what it did has been judged when the other one's is
    assert without_helo(door, "127.0.1.5").code == 250
    began = time.monotonic()
    assert without_helo(door, "127.0.0.5").code == 250
    until(
        lambda: door.greeting("127.0.0.5") == refused("127.0.0.5"),
        lambda: f"the refusal\n{door.up.explain()}",
        seconds=5.0,
    )
    assert door.greeting("127.0.1.5").code == 220
    assert without_helo(door, "127.0.1.5").code == 250
    assert door.greeting("127.0.0.6").code == 220
    until(lambda: door.greeting("127.0.0.5").code == 220, "the end of the block", seconds=BLOCK_S + 2)
    assert time.monotonic() - began >= BLOCK_S - 0.2


def test_an_exemption_from_another_module_does_not_help(door: FrontDoor) -> None:
    assert without_helo(door, "127.0.2.5").code == 250
    until(
        lambda: door.greeting("127.0.2.5") == refused("127.0.2.5"),
        lambda: f"the refusal\n{door.up.explain()}",
        seconds=5.0,
    )


def test_an_invalid_helo_is_refused_in_its_session(door: FrontDoor) -> None:
    with door.lab.client("127.0.0.15") as client:
        assert client.reply().code == 220
        assert client.command("HELO 127.0.0.15").code == 250
        assert client.command("MAIL FROM:<a@example.com>").code == 250
        assert client.command("RCPT TO:<anna@example.org>") == Reply(
            571, f"5.7.1 <anna@example.org>: Recipient address rejected: {VIOLATION}: invalid HELO"
        )
        assert client.command("HELO [127.0.0.15]").code == 250
        assert client.command("MAIL FROM:<a@example.com>").code == 250
        assert client.command("RCPT TO:<anna@example.org>").code == 250
        client.quit()
    assert door.greeting("127.0.0.15").code == 220

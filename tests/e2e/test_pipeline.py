"""The whole of it, real: Postfix refuses a client for what its own log says, by way of Kafka and Faust."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streams.embedded.broker.process import free_port
from tests.e2e.front_door import WORDS, FrontDoor, front_door
from tests.e2e.postfix import needs_postfix
from tests.e2e.postfix_setup import Setup
from tests.e2e.running import LET_IN, REFUSED, until
from tests.e2e.smtp_client import Reply

pytestmark = [pytest.mark.needs("postfix", "root", "tansu"), needs_postfix]

COOL_DOWN_S: Final = 4
STAMP_S: Final = 1.0
"""Resolution of the stamps in `maillog_file`: a block may end this much early, since it began in the log."""


@pytest.fixture(scope="module")
def door() -> Iterator[FrontDoor]:
    """A TCP policy service, Postfix's own stamps, a short cool-down."""
    listen = f"inet:127.0.0.1:{free_port()}"
    policy = f"[limits]\ncool_down_s = {COOL_DOWN_S}\n"
    with front_door(Setup(policy=listen), listen=listen, policy=policy) as running:
        yield running


@pytest.fixture(scope="module")
def side_door() -> Iterator[FrontDoor]:
    """A unix socket, rsyslog's stamps, port logging; an exemption and a block from the start."""
    folder = Path(tempfile.mkdtemp(prefix="goaway-socket-"))
    folder.chmod(0o755)
    listen = f"unix:{folder}/policy"
    policy = """
        [[exemptions]]
        module = "rate"
        address = "127.0.0.5"
        note = "the branch office"

        [[exemptions]]
        module = "greylist"
        address = "127.0.0.9"
        note = "exempt from something else"

        [[blocks]]
        address = "127.0.0.66"
        note = "ticket 42"
    """
    try:
        with front_door(
            Setup(policy=listen, port_logging=True), listen=listen, policy=policy, iso=True
        ) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_twelve_connections_held_open_and_a_thirteenth(door: FrontDoor) -> None:
    held = [door.lab.client("127.0.0.5") for _ in range(12)]
    opened = time.monotonic()
    door.wait_refused("127.0.0.5")
    door.assert_refused("127.0.0.5")
    assert door.greeting("127.0.0.6").code == 220
    for client in held:
        client.close()
    door.up.wait_answer("127.0.0.5", LET_IN, seconds=COOL_DOWN_S + 2)
    assert COOL_DOWN_S - STAMP_S - 0.2 <= time.monotonic() - opened <= COOL_DOWN_S + 1
    assert door.greeting("127.0.0.5").code == 220
    door.lab.wait_for_log("NOQUEUE: reject: CONNECT from unknown[127.0.0.5]: 551 5.7.1 <unknown[127.0.0.5]>:")


def test_twenty_one_messages_of_one_session(door: FrontDoor) -> None:
    with door.session("127.0.0.15") as client:
        for number in range(1, 22):
            sent = client.message("a@example.com", ["anna@example.org", "bert@example.org"])
            assert sent.code == 250, (number, sent)
        door.wait_refused("127.0.0.15")
        assert client.command("MAIL FROM:<a@example.com>").code == 250
        assert client.command("RCPT TO:<anna@example.org>") == Reply(
            571, f"5.7.1 <anna@example.org>: Recipient address rejected: {WORDS}"
        )
    door.assert_refused("127.0.0.15")
    assert door.greeting("127.0.0.16").code == 220
    door.up.wait_answer("127.0.0.15", LET_IN, seconds=COOL_DOWN_S + 2)
    assert door.greeting("127.0.0.15").code == 220


def test_twenty_messages_are_allowed(door: FrontDoor) -> None:
    with door.session("127.0.0.17") as client:
        for _ in range(20):
            assert client.message("a@example.com", ["anna@example.org"]).code == 250
        time.sleep(0.5)
        assert client.command("MAIL FROM:<a@example.com>").code == 250
        assert client.command("RCPT TO:<anna@example.org>").code == 250
        client.quit()


def test_twenty_one_sessions_of_one_message(door: FrontDoor) -> None:
    for number in range(1, 22):
        with door.session("127.0.0.25") as client:
            assert client.message("a@example.com", ["anna@example.org"]).code == 250, number
            client.quit()
    door.wait_refused("127.0.0.25")
    door.assert_refused("127.0.0.25")
    assert door.greeting("127.0.0.26").code == 220
    door.up.wait_answer("127.0.0.25", LET_IN, seconds=COOL_DOWN_S + 2)
    assert door.greeting("127.0.0.25").code == 220


def test_thirty_one_connections_while_one_session_is_open(door: FrontDoor) -> None:
    with door.session("127.0.0.35") as first:
        assert first.command("MAIL FROM:<a@example.com>").code == 250
        for number in range(2, 32):
            assert door.greeting("127.0.0.35").code == 220, number
        door.wait_refused("127.0.0.35")
        door.assert_refused("127.0.0.35")
        assert first.command("RCPT TO:<anna@example.org>") == Reply(
            571, f"5.7.1 <anna@example.org>: Recipient address rejected: {WORDS}"
        )
        assert door.greeting("127.0.0.36").code == 220
        door.up.wait_answer("127.0.0.35", LET_IN, seconds=COOL_DOWN_S + 2)
        assert first.command("RCPT TO:<anna@example.org>").code == 250
    # its 31 connections are still within the minute
    assert door.greeting("127.0.0.35").code == 220
    door.wait_refused("127.0.0.35")


def test_what_is_refused_does_not_keep_a_client_out(door: FrontDoor) -> None:
    held = [door.lab.client("127.0.0.45") for _ in range(11)]
    opened = time.monotonic()
    door.wait_refused("127.0.0.45")
    for client in held:
        client.close()
    attempts = 0
    while door.greeting("127.0.0.45").code == 551:
        attempts += 1
        assert time.monotonic() - opened < COOL_DOWN_S + 2
        time.sleep(0.02)
    # more attempts than either limit, none of them counted
    assert attempts > 30
    assert time.monotonic() - opened >= COOL_DOWN_S - STAMP_S - 0.2
    time.sleep(0.5)
    assert door.greeting("127.0.0.45").code == 220


def test_a_client_of_ipv6(door: FrontDoor) -> None:
    if not door.lab.ipv6:
        pytest.skip("no IPv6 on loopback here")
    held = [door.lab.client("::1") for _ in range(11)]
    door.wait_refused("::1")
    door.assert_refused("::1")
    # the whole /64 is one client
    assert door.up.ask("::2:3:4:5") == REFUSED
    assert door.up.ask("0:0:0:1::1") == LET_IN
    assert door.greeting("127.0.0.6").code == 220
    for client in held:
        client.close()
    door.up.wait_answer("::1", LET_IN, seconds=COOL_DOWN_S + 2)


def test_an_exemption_keeps_the_door_open(side_door: FrontDoor) -> None:
    held = [side_door.lab.client("127.0.0.5") for _ in range(35)]
    assert {client.reply().code for client in held} == {220}
    with side_door.session("127.0.0.5") as client:
        for _ in range(25):
            assert client.message("a@example.com", ["anna@example.org"]).code == 250
        client.quit()
    # these came later, so the others' events have been decided upon as well
    others = [side_door.lab.client("127.0.0.9") for _ in range(11)]
    side_door.wait_refused("127.0.0.9")
    assert side_door.greeting("127.0.0.9").code == 551
    assert side_door.greeting("127.0.0.5").code == 220
    for client in held + others:
        client.close()


def test_an_administrators_block_from_the_first_connection_on(side_door: FrontDoor) -> None:
    with side_door.lab.client("127.0.0.66") as client:
        found = client.reply()
        assert found.code == 551
        assert found.text.endswith("Client host rejected: Go away: blocked by administrator: ticket 42")
    assert side_door.greeting("127.0.0.67").code == 220


def test_a_unix_socket_and_rsyslog_stamps(side_door: FrontDoor) -> None:
    with side_door.session("127.0.0.55") as first:
        held = [side_door.lab.client("127.0.0.55") for _ in range(11)]
        side_door.wait_refused("127.0.0.55")
        found = side_door.greeting("127.0.0.55")
        assert (found.code, found.text.endswith(WORDS)) == (551, True)
        assert first.command("MAIL FROM:<a@example.com>").code == 250
        assert first.command("RCPT TO:<anna@example.org>").code == 571
        for client in held:
            client.close()


def test_the_default_policy_with_everything_stored() -> None:
    """A cool-down of a minute, to the second; events and decisions lie in ClickHouse afterwards."""
    listen = f"inet:127.0.0.1:{free_port()}"
    with front_door(Setup(policy=listen), listen=listen, clickhouse="embedded") as door:
        before = time.time()
        held = [door.lab.client("127.0.0.5") for _ in range(12)]
        door.wait_refused("127.0.0.5")
        door.assert_refused("127.0.0.5")
        assert door.greeting("127.0.0.6").code == 220
        for client in held:
            client.close()
        time.sleep(max(0.0, before + 60 - STAMP_S - 0.5 - time.time()))
        door.assert_refused("127.0.0.5")
        door.up.wait_answer("127.0.0.5", LET_IN, seconds=3.0)
        assert door.greeting("127.0.0.5").code == 220
        # 12 + 1 + 1 + 1 + 1 connections, each with its end; one decision, one warning at 80 %
        until(
            lambda: int(door.up.facts("sink").get("rows") or 0) >= 34,
            lambda: f"the rows: {door.up.facts('sink')}",
        )
        until(lambda: door.up.facts("sink").get("lag") == 0, "the sink to have caught up")
        assert door.up.facts("ship").get("unreadable") == 0

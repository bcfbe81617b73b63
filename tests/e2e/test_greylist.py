"""Greylisting, all of it real: Postfix, `goaway up`; who is put off, who is learnt, who never retries."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streams.embedded.broker.process import free_port
from streams.model.client import Client
from streams.model.decision import Action
from streams.recorded import decisions_of
from tests.e2e.front_door import WORDS, FrontDoor, front_door
from tests.e2e.postfix import needs_postfix
from tests.e2e.postfix_setup import Setup
from tests.e2e.running import PARTITIONS, until
from tests.e2e.smtp_client import Reply

pytestmark = [pytest.mark.needs("postfix", "root", "tansu"), needs_postfix]

DELAY_S: Final = 4
NO_RETRY_COUNT: Final = 3
NO_RETRY_AFTER_S: Final = 6
REQUESTS: Final = 6
SENDER: Final = "ada@example.com"
ANNA: Final = "anna@example.org"
BERT: Final = "bert@example.org"
NO_RETRY: Final = "Go away: greylist policy: no retry"
POLICY: Final = f"""
[limits]
requests_per_minute = {REQUESTS}
warn_at = 0
[greylist]
enabled = true
delay_s = {DELAY_S}
retry_window_s = 120
no_retry_count = {NO_RETRY_COUNT}
no_retry_after_s = {NO_RETRY_AFTER_S}
ipv4_prefix = 32
"""
"""`ipv4_prefix`: all clients here are of one /24."""


@pytest.fixture(scope="module")
def door() -> Iterator[FrontDoor]:
    """A short delay; stamps as exact as rsyslog's."""
    listen = f"inet:127.0.0.1:{free_port()}"
    with front_door(Setup(policy=listen), listen=listen, policy=POLICY, iso=True) as running:
        yield running


def seconds_left(said: Reply, recipient: str = ANNA) -> int:
    """What a deferral says; fails where it is none."""
    found = re.fullmatch(
        rf"4\.7\.1 <{recipient}>: Recipient address rejected: Go away: greylisted, retry in (\d+) s",
        said.text,
    )
    assert said.code == 451, said
    assert found, said
    return int(found[1])


def wait_on_record(door: FrontDoor, source: str, action: Action) -> None:
    """Wait until the worker has decided so about this client."""
    until(
        lambda: action in {it.action for it in decisions_of(door.up.kafka, Client(source))},
        lambda: f"{action} about {source}\n{door.up.explain()}",
    )


def assert_learnt(door: FrontDoor, source: str) -> None:
    """Once the worker says so, a triplet that nobody has seen passes at once."""
    wait_on_record(door, source, "pass")
    until(lambda: door.up.facts("shim").get("learnt", 0) != 0, "the shim to know")
    time.sleep(0.2)
    assert door.attempt(source, "eve@example.com", "carl@example.org").code == 250


def deliver(door: FrontDoor, source: str, sender: str = SENDER, recipient: str = ANNA) -> Reply:
    """One whole message."""
    with door.session(source) as client:
        said = client.message(sender, [recipient])
        client.quit()
    return said


def test_first_too_early_accepted_learnt(door: FrontDoor) -> None:
    began = time.monotonic()
    first = seconds_left(door.attempt("127.0.0.11", SENDER))
    assert first == DELAY_S
    time.sleep(1.5)
    assert 0 < seconds_left(door.attempt("127.0.0.11", SENDER)) < first
    time.sleep(max(0.0, began + DELAY_S + 0.3 - time.monotonic()))
    assert deliver(door, "127.0.0.11").code == 250
    assert_learnt(door, "127.0.0.11")
    # the others are not learnt by that
    assert seconds_left(door.attempt("127.0.0.12", SENDER)) == DELAY_S


def test_a_client_that_never_retries(door: FrontDoor) -> None:
    began = time.monotonic()
    for number in range(NO_RETRY_COUNT):
        seconds_left(door.attempt("127.0.0.21", f"{'abc'[number]}@example.com"))
    time.sleep(max(0.0, began + NO_RETRY_AFTER_S + 1.2 - time.monotonic()))
    seconds_left(door.attempt("127.0.0.21", "d@example.com"))
    refused = Reply(571, f"5.7.1 <{ANNA}>: Recipient address rejected: {NO_RETRY}")
    until(
        lambda: door.attempt("127.0.0.21", SENDER) == refused,
        lambda: f"the refusal\n{door.up.explain()}",
        seconds=5.0,
    )
    assert door.greeting("127.0.0.21").code == 220
    assert door.greeting("127.0.0.22").code == 220


def test_the_worker_is_killed_between_first_attempt_and_retry(door: FrontDoor) -> None:
    began = time.monotonic()
    seconds_left(door.attempt("127.0.0.31", SENDER))
    killed = door.up.part_pid("worker")
    os.kill(killed, signal.SIGKILL)
    time.sleep(max(0.0, began + DELAY_S + 0.3 - time.monotonic()))
    assert deliver(door, "127.0.0.31").code == 250
    until(
        lambda: (
            door.up.facts("worker").get("pid") not in (None, killed)
            and door.up.facts("worker").get("partitions") == PARTITIONS
        ),
        lambda: f"another worker\n{door.up.explain()}",
    )
    assert_learnt(door, "127.0.0.31")


def test_the_shim_is_killed_between_first_attempt_and_retry(door: FrontDoor) -> None:
    began = time.monotonic()
    seconds_left(door.attempt("127.0.0.41", SENDER))
    # what the shim knows lies in Kafka as soon as the worker has read the log
    wait_on_record(door, "127.0.0.41", "defer")
    killed = door.up.part_pid("shim")
    os.kill(killed, signal.SIGKILL)
    until(
        lambda: (
            door.up.facts("shim").get("pid") not in (None, killed)
            and door.up.facts("shim").get("caught_up") is True
        ),
        lambda: f"another shim\n{door.up.explain()}",
    )
    time.sleep(max(0.0, began + DELAY_S + 0.3 - time.monotonic()))
    assert deliver(door, "127.0.0.41").code == 250
    assert_learnt(door, "127.0.0.41")


def test_what_is_put_off_consumes_no_limit(door: FrontDoor) -> None:
    """More deferrals than requests are allowed; then as many messages as are allowed, and one more."""
    began = time.monotonic()
    for _ in range(REQUESTS + 2):
        seconds_left(door.attempt("127.0.0.51", SENDER))
    seconds_left(door.attempt("127.0.0.51", SENDER, BERT), BERT)
    assert door.greeting("127.0.0.51").code == 220
    time.sleep(max(0.0, began + DELAY_S + 0.3 - time.monotonic()))
    for number in range(REQUESTS):
        assert deliver(door, "127.0.0.51").code == 250, number
    time.sleep(1.0)
    assert door.greeting("127.0.0.51").code == 220
    assert deliver(door, "127.0.0.51").code == 250
    door.up.wait_answer("127.0.0.51", seconds=5.0)
    found = door.greeting("127.0.0.51")
    assert found == Reply(551, f"5.7.1 <unknown[127.0.0.51]>: Client host rejected: {WORDS}")


def test_who_delivered_before_is_learnt_from_a_log(door: FrontDoor, tmp_path: Path) -> None:
    log = tmp_path / "old.log"
    lines = []
    for number, source in enumerate(["127.0.0.71", "127.0.0.71", "127.0.0.72"], start=1):
        lines += [
            f"smtpd[{number}]: connect from unknown[{source}]",
            f"smtpd[{number}]: A{number}: client=unknown[{source}]",
            f"qmgr[9]: A{number}: from=<{SENDER}>, size=300, nrcpt=1 (queue active)",
            f"smtpd[{number}]: disconnect from unknown[{source}] ehlo=1 mail=1 rcpt=1 data=1 commands=4",
        ]
    log.write_text("".join(f"2026-11-01T10:00:00+00:00 mx1 postfix/{line}\n" for line in lines))
    said = door.up.goaway("greylist", "learn", str(log), "--dry-run")
    assert "1 clients would be learnt" in said
    seconds_left(door.attempt("127.0.0.71", "a@example.com"))
    door.up.goaway("greylist", "learn", str(log))
    assert_learnt(door, "127.0.0.71")
    seconds_left(door.attempt("127.0.0.72", SENDER))
    door.up.goaway("forget", "127.0.0.71")
    until(
        lambda: door.attempt("127.0.0.71", "b@example.com").code == 451,
        lambda: f"it to be forgotten\n{door.up.explain()}",
        seconds=3.0,
    )


def test_many_recipients_that_are_put_off_in_one_session_consume_no_limit(door: FrontDoor) -> None:
    """Messages of one sender, each to somebody else, as a mailing list sends them."""
    with door.session("127.0.0.61") as client:
        for number in range(REQUESTS + 3):
            recipient = f"{'abcdefghijkl'[number]}@example.org"
            assert client.command(f"MAIL FROM:<{SENDER}>").code == 250
            seconds_left(client.command(f"RCPT TO:<{recipient}>"), recipient)
            assert client.command("RSET").code == 250
        client.quit()
    wait_on_record(door, "127.0.0.61", "defer")
    time.sleep(1.0)
    assert {it.action for it in decisions_of(door.up.kafka, Client("127.0.0.61"))} == {"defer"}
    assert door.greeting("127.0.0.61").code == 220

"""The private Postfix does what the other tests trust it to do."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.policy_server import PolicyServer
from tests.e2e.postfix import USERS, PostfixLab, needs_postfix
from tests.e2e.postfix_setup import Setup
from tests.e2e.sasl import plain

pytestmark = needs_postfix
REFUSAL = "Go away: exceeded connection rate limit"


@pytest.fixture(scope="module")
def lab() -> Iterator[PostfixLab]:
    with PostfixLab(Setup(recipients=("anna",), names={"127.0.0.5": "mail.example.com"})) as running:
        yield running


def test_each_loopback_address_is_a_client_of_its_own(lab: PostfixLab) -> None:
    for source in ("127.0.0.5", "127.0.0.6", *(["::1"] if lab.ipv6 else [])):
        with lab.client(source) as client:
            assert client.reply().code == 220
            client.command("EHLO mail.example.com")
            assert client.message("a@example.com", ["anna@example.org"]).code == 250
            client.quit()
    log = lab.wait_for_log("disconnect from", times=3 if lab.ipv6 else 2)
    assert "connect from mail.example.com[127.0.0.5]\n" in log
    assert "connect from unknown[127.0.0.6]\n" in log
    assert ("connect from unknown[::1]\n" in log) == lab.ipv6
    lab.wait_for_log("status=sent (example.org)", times=2)


def test_postfix_own_limits_do_not_interfere(lab: PostfixLab) -> None:
    """Its defaults are 50 connections at a time and none per minute; anvil would speak up at 51."""
    clients = [lab.client("127.0.0.7") for _ in range(55)]
    try:
        assert {client.reply().code for client in clients} == {220}
    finally:
        for client in clients:
            client.close()
    lab.wait_for_log("lost connection after CONNECT from unknown[127.0.0.7]", times=55)
    assert "limit exceeded" not in lab.log()


def test_unknown_recipients_and_relaying_are_refused(lab: PostfixLab) -> None:
    with lab.client("127.0.0.8") as client:
        client.reply()
        replies = client.commands(
            [
                "EHLO x",
                "MAIL FROM:<a@example.com>",
                "RCPT TO:<nobody@example.org>",
                "RCPT TO:<x@elsewhere.example>",
            ]
        )
    assert [reply.code for reply in replies] == [250, 250, 550, 554]


def test_postscreen_hands_a_patient_client_to_smtpd(lab: PostfixLab) -> None:
    with lab.client("127.0.0.9", port=lab.ports.postscreen) as client:
        client.reply()
        assert client.command("EHLO x").code == 250
        client.quit()
    log = lab.wait_for_log("disconnect from unknown[127.0.0.9]")
    assert "PASS NEW [127.0.0.9]" in log


@pytest.mark.parametrize(("port", "tag"), [("submission", "submission"), ("smtps", "smtps")])
def test_signed_in_clients_may_relay(lab: PostfixLab, port: str, tag: str) -> None:
    with lab.client("127.0.0.10", port=getattr(lab.ports, port)) as client:
        if port == "smtps":
            client.wrap_tls()
        client.reply()
        client.command("EHLO laptop")
        assert client.command(f"AUTH PLAIN {plain('alice', 'wrong')}").code == 535
        assert client.command(f"AUTH PLAIN {plain('alice', USERS['alice'])}").code == 235
        assert client.message("alice@example.org", ["x@elsewhere.example"]).code == 250
        client.quit()
    log = lab.wait_for_log(f"postfix/{tag}/smtpd")
    assert "sasl_method=PLAIN, sasl_username=alice" in log


@pytest.mark.parametrize(("stage", "code"), [("CONNECT", 551), ("RCPT", 571)])
def test_a_policy_server_can_refuse(stage: str, code: int) -> None:
    with (
        PolicyServer({stage: f"{code} 5.7.1 {REFUSAL}"}) as policy,
        PostfixLab(Setup(policy=policy.address, port_logging=True)) as lab,
        lab.client("127.0.0.5") as client,
    ):
        replies = [
            client.reply(),
            *client.commands(["EHLO x", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"]),
        ]
        refused = replies[0 if stage == "CONNECT" else 3]
        assert refused.code == code
        assert refused.text.startswith("5.7.1 ")
        assert refused.text.endswith(REFUSAL)
        lab.wait_for_log(
            f"NOQUEUE: reject: {stage} from unknown[127.0.0.5]:{client.source_port}: {code} 5.7.1 <"
        )


def test_a_reload_takes_another_policy_into_use() -> None:
    with PolicyServer({"CONNECT": f"551 5.7.1 {REFUSAL}"}) as policy, PostfixLab() as lab:
        with lab.client("127.0.0.5") as client:
            assert client.reply().code == 220
        lab.reload(Setup(policy=policy.address))
        lab.wait_for_log("reload -- version")
        time.sleep(0.3)
        with lab.client("127.0.0.5") as client:
            assert client.reply().code == 551


def test_it_comes_and_goes_quickly_and_touches_nothing_else() -> None:
    before = _digest()
    began = time.monotonic()
    with PostfixLab() as lab, lab.client() as client:
        assert client.reply().code == 220
    assert time.monotonic() - began < 5
    assert not lab.where.root.exists()
    assert _digest() == before


def _digest() -> str:
    files = sorted(path for path in Path("/etc/postfix").rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()

"""Answers beyond the cases: a policy that changes, the memo's bound, and what is written to the log."""

import logging

import pytest

from streams.model.client import parse_network
from streams.model.decision import Trigger
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist, Protocol
from streams.model.policy import Block, Policy
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.refusal_log import MAX_CLIENTS, QUIET_S, RefusalLog
from streams.shim.reply import MAX_REPLY, Refusal
from streams.shim.table import DecisionTable
from streams.wire.policy_protocol import PolicyRequest
from streams.wire.policy_toml import read_policy
from tests.policy_cases import NOW, decision

EXEMPT = '[[exemptions]]\nmodule = "rate"\naddress = "192.0.2.1"\n'


def _answers(*clients: str) -> Answers:
    table = DecisionTable()
    for client in clients:
        table.apply(decision("rate", client, NOW, NOW + 60 * MICROSECONDS, "too many"), NOW)
    return Answers(PolicyIndex(Policy()), table)


def _refusal(client: bytes = b"192.0.2.1", stage: bytes = b"CONNECT") -> Refusal:
    refusal = _answers(client.decode()).refusal(PolicyRequest(client, stage), NOW)
    assert refusal is not None
    return refusal


def test_a_new_policy_is_in_force_for_an_address_that_was_asked_about_before() -> None:
    answers, request = _answers("192.0.2.1"), PolicyRequest(b"192.0.2.1", b"CONNECT")
    assert answers.refusal(request, NOW) is not None
    answers.use(PolicyIndex(read_policy(EXEMPT)))
    assert answers.refusal(request, NOW) is None
    answers.use(PolicyIndex(Policy()))
    assert answers.refusal(request, NOW) is not None


def test_the_memo_is_bounded() -> None:
    answers = _answers()
    for number in range(70_000):
        address = b"10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)
        assert answers.refusal(PolicyRequest(address), NOW) is None
    answers.refusal(PolicyRequest(b"x" * 8000), NOW)
    assert len(answers._plain) + len(answers._special) < 66_000
    assert max(map(len, answers._special), default=0) <= 64


@pytest.mark.parametrize("reason", ["x" * 5000, "ÿ" * 5000, "\r\n\0" * 300])
def test_a_reply_is_one_bounded_line_of_printable_ascii(reason: str) -> None:
    table = DecisionTable()
    table.apply(decision("rate", "192.0.2.1", NOW, NOW + 1, reason), NOW)
    refusal = Answers(PolicyIndex(Policy()), table).refusal(PolicyRequest(b"192.0.2.1", b"MAIL"), NOW)
    assert refusal is not None
    reply = refusal.action.removeprefix(b"action=").removesuffix(b"\n\n")
    assert len(reply) == MAX_REPLY
    assert all(32 <= byte < 127 for byte in reply)


def test_a_note_does_not_read_like_the_end_of_the_clients_words() -> None:
    """Behind `>: ` a log line has the MTA's own words (streams/wire/postfix/ours.py)."""
    block = Block(network=parse_network("192.0.2.1"), note="see <https://x.example/1>: spam")
    answers = Answers(PolicyIndex(Policy(blocks=(block,))), DecisionTable())
    refusal = answers.refusal(PolicyRequest(b"192.0.2.1", b"CONNECT"), NOW)
    assert refusal is not None
    assert refusal.action == (
        b"action=551 5.7.1 Go away: blocked by administrator: see <https://x.example/1> spam\n\n"
    )


def test_a_refusal_says_who_where_what_why_and_until_when() -> None:
    assert str(_refusal()) == (
        "refused 192.0.2.1 at CONNECT: 551 5.7.1 Go away: too many "
        "(rate_rule, until 1970-01-01T00:02:40.000000Z)"
    )


def test_a_refusals_stage_cannot_forge_a_log_line() -> None:
    text = str(_refusal(stage=b"RCPT\x1b[2J\xff" + b"x" * 500))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200


def test_a_client_is_logged_once_in_a_while_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    log, refusal, other = RefusalLog(), _refusal(), _refusal(b"192.0.2.2")
    for _ in range(50):
        log.note(refusal, NOW)
    log.note(other, NOW)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "refused 192.0.2.1 at CONNECT",
        "refused 192.0.2.2 at CONNECT",
    ]
    caplog.clear()
    log.note(refusal, NOW + QUIET_S * MICROSECONDS)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "refused 49 more requests of the clients above and 0 of others",
        "refused 192.0.2.1 at CONNECT",
    ]


def test_who_is_refused_in_the_session_only_is_not_reported_as_let_in_again() -> None:
    table, log = DecisionTable(), RefusalLog()
    blocks: list[tuple[Trigger, str]] = [("greylist", "192.0.2.1"), ("protocol", "192.0.2.2")]
    for trigger, client in blocks:
        table.apply(decision(trigger, client, NOW, NOW + 9, "no"), NOW)
    policy = Policy(protocol=Protocol(invalid_helo=True), greylist=Greylist(enabled=True))
    answers = Answers(PolicyIndex(policy), table)
    bad_helo = PolicyRequest(b"192.0.2.3", b"MAIL", b"\nhelo_name=[x\n")
    put_off = PolicyRequest(b"192.0.2.4", b"RCPT", b"\nsender=a@example.org\nrecipient=b@example.com\n")
    for request in (PolicyRequest(b"192.0.2.1", b"MAIL"), PolicyRequest(b"192.0.2.2"), bad_helo, put_off):
        refusal = answers.refusal(request, NOW)
        assert refusal is not None
        log.note(refusal, NOW)
    assert log.refused == {b"192.0.2.2"}


def test_many_clients_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = RefusalLog()
    for number in range(MAX_CLIENTS + 500):
        log.note(_refusal(b"10.0.%d.%d" % (number >> 8, number & 255)), NOW)
    assert len(caplog.records) == MAX_CLIENTS

"""Postfix's policy protocol: every case at every buffer size, through the parser and the answers."""

import pytest

from streams.wire.policy_protocol import (
    DUNNO,
    MAX_REQUEST_BYTES,
    PolicyReader,
    PolicyRequest,
    ProtocolFault,
)
from tests.policy_cases import BUFFER_SIZES, CASES, NOW, PolicyCase

KIND_LINE = b"request=smtpd_access_policy\n"


def test_there_are_cases() -> None:
    assert len(CASES) >= 20


@pytest.mark.parametrize("size", BUFFER_SIZES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: PolicyCase, size: int) -> None:
    reader, answers = PolicyReader(), case.answers()
    answered, dropped = b"", False
    for start in range(0, len(case.sent), size):
        for request in reader.feed(case.sent[start : start + size]):
            assert not dropped, "something was read after a fault"
            if isinstance(request, ProtocolFault):
                dropped = True
                continue
            refusal = answers.refusal(request, NOW)
            answered += refusal.action if refusal else DUNNO
    assert answered == case.answered
    assert dropped == case.dropped


def test_reads_what_is_asked_and_ignores_the_rest() -> None:
    asked = b"recipient=x@example.org\nclient_address=192.0.2.1\nprotocol_state=RCPT\n" + KIND_LINE + b"\n"
    (request,) = PolicyReader().feed(asked)
    assert isinstance(request, PolicyRequest)
    assert (request.client_address, request.protocol_state) == (b"192.0.2.1", b"RCPT")
    assert request.text(b"recipient") == "x@example.org"
    assert request.attribute(b"sender") == b""


@pytest.mark.parametrize("size", BUFFER_SIZES)
def test_any_attribute_can_be_asked_for_and_the_last_of_a_name_counts(size: int) -> None:
    sent = KIND_LINE + b"sender=a@example.org\nxsender=no\nsender=b=c@example.org\nhelo_name=\xff\xc3\xbc\n\n"
    (request,) = _fed(sent, size)
    assert isinstance(request, PolicyRequest)
    assert request.attribute(b"sender") == b"b=c@example.org"
    assert request.attribute(b"ender") == b""
    assert request.text(b"helo_name") == "\ufffd\xfc"
    assert request.client_address == b""


def test_a_reader_after_a_fault_reads_nothing() -> None:
    reader = PolicyReader()
    assert reader.feed(b"junk\n") == [ProtocolFault("a line that is not name=value")]
    assert reader.feed(b"request=smtpd_access_policy\n\n") == []


@pytest.mark.parametrize("size", [1, 4096, MAX_REQUEST_BYTES + 10])
def test_a_request_of_exactly_the_bound_is_read(size: int) -> None:
    lines = [b"request=smtpd_access_policy"]
    while (left := MAX_REQUEST_BYTES + 1 - sum(len(line) + 1 for line in lines)) > 0:
        lines.append(b"a=" + b"x" * (min(left, 8000) - 3))
    asked = b"\n".join(lines) + b"\n\n"
    assert len(asked) == MAX_REQUEST_BYTES + 2
    assert _fed(asked, size) == [PolicyRequest(lines=b"\n" + asked[:-1])]
    longer = asked.replace(b"a=", b"ab=", 1)
    assert _fed(longer, size) == [ProtocolFault(f"a request of more than {MAX_REQUEST_BYTES} bytes")]


def _fed(sent: bytes, size: int) -> list[PolicyRequest | ProtocolFault]:
    reader = PolicyReader()
    return [found for start in range(0, len(sent), size) for found in reader.feed(sent[start : start + size])]

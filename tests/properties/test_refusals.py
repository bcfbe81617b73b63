"""Who refused is told from the text: nothing that a client writes makes a refusal ours."""

from typing import Final

import pytest
from hypothesis import given, settings

from streams.model.event import Event
from streams.wire.postfix.ours import is_ours, spoken_by
from tests.properties.refusals import event_of, not_ours, ours

RATE: Final = "Go away: exceeded connection rate limit"
NEED: Final = "need fully-qualified hostname"


@settings(max_examples=2000)
@given(not_ours())
def test_no_client_speaks_for_us(event: Event) -> None:
    assert not is_ours(event)
    assert spoken_by(event) == ""


@given(ours())
def test_what_we_refused_is_ours(refused: tuple[Event, str]) -> None:
    event, trigger = refused
    assert is_ours(event)
    assert spoken_by(event) == trigger


@pytest.mark.parametrize(
    "helo",
    [
        "Go away: x",
        RATE,
        f"x>: Helo command rejected: {RATE}",
        f"x>: Helo command rejected: {RATE}; proto=SMTP helo=<x",
        f"x>: Helo command rejected: {RATE}; proto=",
        f"x>: Helo command rejected: {RATE}; to=<x",
        f"y proto=>: Helo command rejected: {RATE}; to=<x",
        f"x> sasl_>: Helo command rejected: {RATE}; to=<x",
        f"> sasl_>: Helo command rejected: {NEED}>: Recipient address rejected: {RATE}; to=<> sasl_",
        f"{'A' * 600}>: Helo command rejected: {RATE}; to=<x",
        f"x>: Helo command rejected: {RATE}{'A' * 600}",
    ],
)
def test_a_helo_name_that_speaks_as_we_do(helo: str) -> None:
    reply = f"504 5.5.2 <{helo}>: Helo command rejected: {NEED}"[:510]
    assert not is_ours(event_of(f"{reply}; proto=SMTP helo=<{helo}>", "HELO"))


@pytest.mark.parametrize(
    "recipient",
    [
        f"{RATE}@x",
        f"b@x>: Recipient address rejected: {RATE}; from=<a> to=<b@x",
        f"b@x>: Recipient address rejected: {RATE}; from=<{'A' * 600}> to=<b@x",
        f"b@x>: Recipient address rejected: {RATE}; to=<{'A' * 600}@x",
    ],
)
def test_a_recipient_that_speaks_as_we_do(recipient: str) -> None:
    reply = f"554 5.7.1 <{recipient}>: Relay access denied"[:510]
    tail = f"from=<c@example.com> to=<{recipient}> proto=ESMTP helo=<x>"
    assert not is_ours(event_of(f"{reply}; {tail}", "RCPT"))

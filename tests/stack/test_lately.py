"""What `explain` asks ClickHouse about a client's last day."""

from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from streams.audit.lately import lately
from streams.engine.state import State
from streams.engine.step import step
from streams.errors import UnavailableError
from streams.model.client import Client, parse_address
from streams.model.decision import Decision
from streams.model.instant import MICROSECONDS, Instant, parse_instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.sending import administrators_event
from tests.policy_cases import decision
from tests.stack.recorded_store import Recorder
from tests.stack.sink_process import Store

pytestmark = pytest.mark.needs("chdb")

CLIENT: Final = Client("203.0.113.250")
NOW: Final = parse_instant("2026-11-24T14:05:00Z")
DAY_S: Final = 86_400


def refusals(texts: list[str]) -> bytes:
    who, lines = f"unknown[{CLIENT}]", []
    for number, text in enumerate(texts):
        stamp = f"2026-11-24T14:00:{number:02}.000000+00:00 mx2 postfix/smtpd[{number}]:"
        lines.append(f"{stamp} connect from {who}\n")
        lines.append(f"{stamp} NOQUEUE: reject: RCPT from {who}: {text}; proto=ESMTP helo=<a>\n")
    return "".join(lines).encode()


def ago(seconds: int) -> int:
    return NOW - seconds * MICROSECONDS


def test_the_latest_decisions_and_refusals_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    try:
        recorder = Recorder(store.settings)
        helo = f"571 5.7.1 <{CLIENT}>: Client host rejected: Go away: SMTP protocol violation: invalid HELO"
        recorder.log(refusals([helo, helo, *(f"450 4.7.1 <x{n}>: Helo command rejected" for n in range(5))]))
        old = [decision("rate", CLIENT, ago(2 * DAY_S), ago(2 * DAY_S - 60))]
        stood = [replace(decision("rate", CLIENT, ago(600 + n), ago(540 + n)), id=f"b{n}") for n in range(3)]
        word = administrators_event("forget", CLIENT, parse_address(CLIENT), Instant(ago(60)), "by ada")
        dropped = step(PolicyIndex(Policy()), State(memory_s=60), word)
        defer = replace(stood[0], id="d", action="defer", trigger="greylist")
        recorder.outcomes([*old, *stood, *dropped, defer, stood[0]])
        found = lately(store.settings, CLIENT, NOW, period_s=DAY_S, most=5)
        assert len([it for it in dropped if isinstance(it, Decision)]) == 4
        assert [(it.action, it.rule) for it in found.decisions][:1] == [("release", "forgotten")]
        assert [it.id for it in found.decisions][1:] == ["b0", "b1", "b2"]
        assert len(found.refused) == 5
        few = lately(store.settings, CLIENT, NOW, period_s=DAY_S, most=1)
        assert (few.decisions, len(few.refused)) == (found.decisions, 1)
        assert {it.code for it in found.refused} == {450}
        (helos,) = [
            it for it in lately(store.settings, CLIENT, NOW, period_s=DAY_S, most=9).refused if it.code == 571
        ]
        assert helos.count == 2
        assert helos.detail.endswith("invalid HELO")
        assert helos.last == parse_instant("2026-11-24T14:00:01Z")
        assert lately(store.settings, Client("192.0.2.9"), NOW, period_s=DAY_S, most=5).decisions == ()
    finally:
        store.stop()
    with pytest.raises(UnavailableError):
        lately(store.settings, CLIENT, NOW, period_s=DAY_S, most=5)

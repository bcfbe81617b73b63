"""What the parser remembers is bounded, and a saved state that is none is refused."""

from datetime import UTC

import pytest

from streams.errors import InvalidValueError
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.wire.lines import MAX_LINE_BYTES
from streams.wire.postfix import Ignored, LogParser, Unreadable, handover, memory, sessions, smtpd

AT = "2023-03-14T00:00:00.1Z mx postfix/"


def parser() -> LogParser:
    return LogParser(zone=UTC, reference=Instant(parse_instant("2026-12-31T00:00:00Z")), source="mail.log")


def events(reader: LogParser, text: str) -> list[Event]:
    result = reader.read((AT + text).encode(), 77)
    return result if isinstance(result, list) else []


def test_events_say_where_they_were_read() -> None:
    (event,) = events(parser(), "smtpd[7]: connect from unknown[2001:db8:1:2:3::4]")
    assert (event.source, event.position, event.client) == ("mail.log", 77, "2001:db8:1:2::/64")


def test_the_longest_known_sessions_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    reader = parser()
    for pid in range(10):
        events(reader, f"smtpd[{pid}]: connect from unknown[192.0.2.{pid}]")
    kept = reader.snapshot()["sessions"]
    assert isinstance(kept, dict)
    assert list(kept) == ["mx/7", "mx/8", "mx/9"]


def test_the_oldest_queue_ids_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd, "MAX_QUEUE_IDS", 2)
    reader = parser()
    for number in range(5):
        events(reader, f"smtpd[7]: 4104E3{number}: client=unknown[192.0.2.5]")
    assert events(reader, "qmgr[8]: 4104E32: from=<a>, size=1, nrcpt=1 (queue active)") == []
    assert len(events(reader, "qmgr[8]: 4104E33: from=<a>, size=1, nrcpt=1 (queue active)")) == 1


def test_a_queue_id_used_again_is_of_the_client_that_opened_it_last() -> None:
    reader = parser()
    for last in (5, 6):
        events(reader, f"smtpd[7]: 4104E3D: client=unknown[192.0.2.{last}]")
    (message,) = events(reader, "qmgr[8]: 4104E3D: from=<a>, size=1, nrcpt=1 (queue active)")
    assert message.address == "192.0.2.6"


@pytest.mark.parametrize("name", ["MAX_HANDOVERS", "MAX_HANDOVERS_OF_ADDRESS"])
def test_what_makes_room_for_a_hand_over_has_ended(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(handover, name, 2)
    reader = parser()
    passed = [
        events(reader, f"postscreen[31]: PASS OLD [192.0.2.{n if name == 'MAX_HANDOVERS' else 5}]:{n}")
        for n in range(1, 4)
    ]
    assert [[(event.kind, event.session) for event in found] for found in passed] == [
        [],
        [],
        [("disconnect", "mx/31/1")],
    ]


def test_refused_recipients_remembered_are_bounded() -> None:
    reader = parser()
    found = [
        events(
            reader,
            "smtpd[7]: NOQUEUE: reject: RCPT from unknown[192.0.2.5]: 550 5.1.1 no; "
            f"from=<a> to=<{n}> proto=SMTP helo=<h>",
        )[0].kind
        for n in range(memory.MAX_RECIPIENTS + 10)
    ]
    assert found == ["mail"] + ["rcpt"] * (memory.MAX_RECIPIENTS + 9)


def test_a_count_that_is_no_count_owes_nothing() -> None:
    for counts in ("", " rcpt=1", " mail=x", " mail=99999999999999999999"):
        reader = parser()
        for recipient in ("x", "y"):
            events(
                reader,
                "smtpd[7]: NOQUEUE: reject: RCPT from unknown[192.0.2.5]: 550 5.1.1 no; "
                f"from=<a> to=<{recipient}> proto=SMTP helo=<h>",
            )
        found = events(reader, f"smtpd[7]: disconnect from unknown[192.0.2.5] ehlo=1{counts}")
        assert [event.kind for event in found] == ["disconnect"]


def test_empty_and_too_long_lines() -> None:
    reader = parser()
    assert reader.read(b"") == reader.read(b" \r\n") == Ignored("empty")
    line = AT.encode() + b"smtpd[7]: " + b"x" * MAX_LINE_BYTES
    assert isinstance(reader.read(line), Unreadable)
    assert not isinstance(reader.read(line[: MAX_LINE_BYTES - 1]), Unreadable)


@pytest.mark.parametrize(
    "state", [{"sessions": 1}, {"queue": {"a": {}}}, {"calendar": {"latest": "yesterday"}}, {"second": "x"}]
)
def test_a_saved_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError):
        parser().restore(state)


def test_an_empty_state_is_a_new_parser() -> None:
    reader = parser()
    events(reader, "smtpd[7]: connect from unknown[192.0.2.5]")
    reader.restore({})
    assert reader.snapshot() == parser().snapshot()

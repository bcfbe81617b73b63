"""Records as rows: nothing readable is dropped, nothing unreadable is fatal, and twice is the same."""

from ipaddress import IPv6Address
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.event_lines import lines_of, read_lines
from streams.audit.ledger import LogIdentity
from streams.audit.rows import Record, Rows, TopicRows, month_of
from streams.audit.tables import packed
from streams.errors import InvalidValueError
from streams.model.client import Address, Client, parse_address
from streams.model.deadletter import DeadLetter
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant, rfc3339
from streams.topics import DEADLETTERS, DECISIONS, EVENTS, WARNINGS
from streams.wire.frames import decode_frame, encode, encode_frame
from streams.wire.instants import microseconds
from tests.unit.test_schemas import EVENTS as EVENTS_OF_ANY_KIND

AT: Final = parse_instant("2026-01-31T23:59:59.999999Z")
TAKEN: Final = parse_instant("2026-02-01T00:00:01Z")


def event(number: int, at: int = AT, address: str = "192.0.2.7") -> Event:
    return Event(
        id=f"{number:016x}",
        at=Instant(at),
        kind="connect",
        client=Client("192.0.2.7"),
        address=Address(address),
        session="mx/1",
        host="mx",
    )


def record(value: bytes | None, topic: str = EVENTS, offset: int = 7) -> Record:
    return Record(topic, 3, offset, TAKEN, value)


def gathered(*records: Record) -> TopicRows:
    rows = TopicRows(records[0].topic)
    for each in records:
        rows.add(each)
    return rows


def ids(rows: Rows) -> list[str]:
    return [msgspec.json.decode(line)[0] for line in rows.column("line")]


def test_a_frame_is_its_events_in_their_order() -> None:
    found = gathered(record(encode_frame([event(1), event(2)])), record(encode_frame([event(3)]), offset=9))
    assert found.rows is not None
    columns = dict(zip(found.rows.table.names, found.rows.columns(5), strict=True))
    assert ids(found.rows) == [f"{n:016x}" for n in (1, 2, 3)]
    assert columns["at"] == [AT] * 3
    assert columns["address"] == [b"\0" * 10 + b"\xff\xff\xc0\x00\x02\x07"] * 3
    assert (columns["kafka_epoch"], columns["kafka_partition"]) == ([5] * 3, [3] * 3)
    assert (columns["kafka_offset"], columns["frame_index"]) == ([7, 7, 9], [0, 1, 0])
    assert not found.letters


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\x00garbage", "not an event"),
        (b"{}", "missing required field"),
        (encode(event(9, address="192.0.2.07")), "address"),
        (encode(event(9, address="::ffff:192.0.2.7")), "canonical"),
        (encode(msgspec.structs.replace(event(9), code=65_536)), "code is out of range"),
        (encode(msgspec.structs.replace(event(9), position=-1)), "position is out of range"),
        (encode(msgspec.structs.replace(event(9), size=2**80)), "not an event|out of range"),
        (encode(event(9, at=-1)), "at is out of range"),
        (encode(event(9)).replace(b'"mx"', b'"\\ud800"'), "not an event"),
        (b"[" * 100_000, "not an event"),
    ],
)
def test_one_bad_line_costs_that_line(line: bytes, reason: str) -> None:
    frame = encode_frame([event(1)]) + line + b"\n" + encode_frame([event(2)])
    found = gathered(record(frame))
    assert found.rows is not None
    assert ids(found.rows) == [event(1).id, event(2).id]
    assert len(found.letters) == 1
    at, source, position, said, _, topic = found.letters.made_of[0]
    assert (at, topic) == (TAKEN, EVENTS)
    assert (source, position) == ("smtp.events/3", 7)
    assert msgspec.json.decode(msgspec.json.encode(said))  # it can be written
    assert any(part in said for part in reason.split("|")), said
    assert found.letters.columns(1)


@pytest.mark.parametrize("topic", [DECISIONS, WARNINGS, DEADLETTERS])
def test_an_unreadable_record_is_a_letter(topic: str) -> None:
    found = gathered(record(b'{"position": -1}', topic))
    assert not found.rows
    assert found.letters.column("source") == [f"{topic}/3"]


def test_a_dead_letter_is_kept_as_it_came() -> None:
    letter = DeadLetter(source="/var/log/mail.log", position=12, reason="r", text="t")
    [kept] = gathered(record(encode(letter), DEADLETTERS)).letters.made_of
    assert kept == (TAKEN, letter.source, letter.position, letter.reason, letter.text, DEADLETTERS)
    broken = DeadLetter(source="s", position=-1, reason="r", text="t")
    assert "position" in gathered(record(encode(broken), DEADLETTERS)).letters.column("reason")[0]


@pytest.mark.parametrize("topic", [EVENTS, DECISIONS])
def test_a_tombstone_has_no_rows(topic: str) -> None:
    assert len(gathered(record(None, topic))) == 0


def test_an_insert_holds_one_month() -> None:
    found = gathered(record(encode_frame([event(1), event(2, AT + 1), event(3)])))
    assert found.rows is not None
    months = {month: rows.indexes for month, rows in found.rows.months()}
    assert months == {202601: [0, 2], 202602: [1]}


@given(st.integers(0, 10_413_791_999_999_999))
def test_a_month_is_its_own(at: int) -> None:
    month = month_of(at)
    text = repr(Instant(at))
    assert f"{month // 100}-{month % 100:02d}-" in text


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_whatever_comes_twice_is_the_same_twice(lines: list[bytes]) -> None:
    frame = record(b"\n".join([*lines, encode(event(1))]))
    first, second = gathered(frame), gathered(frame)
    assert first.letters.made_of == second.letters.made_of
    assert first.rows is not None and second.rows is not None
    assert first.rows.columns(1) == second.rows.columns(1)
    assert len(first) == sum(bool(part.strip()) for line in lines for part in line.split(b"\n")) + 1


def test_packed_refuses_what_is_not_canonical() -> None:
    assert packed("2001:db8::1")[:4] == b"\x20\x01\x0d\xb8"
    with pytest.raises(InvalidValueError):
        packed("2001:DB8::1")


@pytest.mark.parametrize(
    ("recorded", "seen", "same"),
    [
        (LogIdentity("a", ""), LogIdentity("a", ""), True),
        (LogIdentity("a", "x"), LogIdentity("a", "y"), True),
        (LogIdentity("a", "x"), LogIdentity("b", "x"), False),
        (LogIdentity("", "x"), LogIdentity("b", "x"), True),
        (LogIdentity("", "x"), LogIdentity("", "y"), False),
        (LogIdentity("a", ""), LogIdentity("", "y"), None),
        (LogIdentity(), LogIdentity(), None),
    ],
)
def test_one_life_of_a_log_is_told_from_the_next(
    recorded: LogIdentity, seen: LogIdentity, same: bool | None
) -> None:
    assert seen.same_as(recorded) is same


TEXTS: Final = st.one_of(
    st.integers(0, 10_413_791_999_999_999).map(rfc3339),
    st.sampled_from(
        [
            *("2026-01-31T23:59:59Z", "2026-01-31T23:59:59.1Z", "2026-01-31T23:59:59.123456+01:00"),
            *(
                "2026-01-31T23:59:59.12345\u0663Z",
                "2026-01-31T23:59:59.+12345Z",
                "2026-01-31T23:59:59.1_2345Z",
            ),
            *(
                "2026-13-31T23:59:59.000000Z",
                "",
                "x" * 27,
                "2026-01-31 23:59:59.123456Z",
                "1969-12-31T23:59:59.999999Z",
            ),
        ]
    ),
)


@given(st.lists(TEXTS, max_size=4))
def test_instants_are_read_as_everywhere(texts: list[str]) -> None:
    try:
        expected = [int(parse_instant(text)) for text in texts]
    except InvalidValueError:
        with pytest.raises(InvalidValueError):
            microseconds(texts)
    else:
        assert microseconds(texts) == expected


@given(st.lists(EVENTS_OF_ANY_KIND, max_size=6))
def test_the_fast_way_yields_what_the_slow_way_does(events: list[Event]) -> None:
    frame = encode_frame(events)
    try:
        found = read_lines(frame)
    except InvalidValueError:
        assert any(max(event.size, event.position) > 2**63 - 1 for event in events)
    else:
        assert found == lines_of(decode_frame(frame))
    lines = lines_of(events).columns[2]
    names = Event.__struct_fields__
    assert [dict(zip(names, msgspec.json.decode(line), strict=True)) for line in lines] == [
        {name: getattr(event, name) for name in names} | {"at": rfc3339(event.at)} for event in events
    ]


@given(
    st.ip_addresses()
    | st.sampled_from(["::ffff:192.0.2.7", "::192.0.2.7", "::1", "::", "192.0.2.07", "2001:DB8::1"])
)
def test_addresses_are_packed_as_the_library_does(address: object) -> None:
    text = str(address)
    try:
        canonical = parse_address(text) == text
    except InvalidValueError:
        canonical = False
    if canonical:
        assert packed(text) == IPv6Address(f"::ffff:{text}" if "." in text else text).packed
    else:
        with pytest.raises(InvalidValueError):
            packed(text)

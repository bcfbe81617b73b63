"""When and by whom: every form of stamp, the year that is not written, the hour that comes twice."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from streams.model.instant import Instant, parse_instant, rfc3339
from streams.wire.syslog import Header, SyslogReader, Unreadable

BERLIN = ZoneInfo("Europe/Berlin")
REFERENCE = "2026-11-24T12:00:00Z"


def reader(zone: tzinfo = UTC, reference: str = REFERENCE) -> SyslogReader:
    return SyslogReader(zone, Instant(parse_instant(reference)))


def times(stamps: list[str], zone: tzinfo = UTC, reference: str = REFERENCE) -> list[str]:
    """The instants of classic stamps, in their order, without fraction."""
    read = reader(zone, reference).read
    found = [read(f"{stamp} mx postfix/smtpd[1]: x".encode()) for stamp in stamps]
    return [rfc3339(h.at)[:19] if isinstance(h, Header) else h.reason for h in found]


def test_the_parts_of_a_head() -> None:
    head = reader().read(b"Nov  4 00:00:31 mx.example.com postfix/submission/smtpd[123]: connect from a: b")
    assert head == Header(
        Instant(parse_instant("2026-11-04T00:00:31Z")),
        False,
        "mx.example.com",
        "postfix/submission/smtpd",
        "123",
        "connect from a: b",
    )


@pytest.mark.parametrize(
    ("line", "at", "precise"),
    [
        ("2023-03-14T00:00:31.185246+01:00 mx t[1]: x", "2023-03-13T23:00:31.185246Z", True),
        ("2023-03-14T00:00:31.185246Z mx t[1]: x", "2023-03-14T00:00:31.185246Z", True),
        ("2023-03-14T00:00:31.5Z mx t[1]: x", "2023-03-14T00:00:31.500000Z", True),
        ("2023-03-14T00:00:31Z mx t[1]: x", "2023-03-14T00:00:31.000000Z", False),
        ("2023-03-14T00:00:31-05:00 mx t[1]: x", "2023-03-14T05:00:31.000000Z", False),
        ("2023-03-14T00:00:31+0100 mx t[1]: x", "2023-03-13T23:00:31.000000Z", False),
        ("2023-07-14T00:00:31 mx t[1]: x", "2023-07-13T22:00:31.000000Z", False),
        ("<22>Jul 14 00:00:31 mx t[1]: x", "2026-07-13T22:00:31.000000Z", False),
        ("<22>2023-03-14T00:00:31Z mx t[1]: x", "2023-03-14T00:00:31.000000Z", False),
        ("<22>1 2023-03-14T00:00:31.185246Z mx t 1 - - x", "2023-03-14T00:00:31.185246Z", True),
        ('<22>1 2023-03-14T00:00:31Z mx t 1 - [a b="c d\\"]"][e] x', "2023-03-14T00:00:31.000000Z", False),
        ("<22>1 2023-03-14T00:00:31Z mx t 1 - - \ufeffx", "2023-03-14T00:00:31.000000Z", False),
        ("\0\0\0002023-03-14T00:00:31Z mx t[1]: x", "2023-03-14T00:00:31.000000Z", False),
        ("2023-03-14T00:00:31Z mx t[1]:  x", "2023-03-14T00:00:31.000000Z", False),
        (
            '{"__REALTIME_TIMESTAMP":"1678752031185246","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"t","_PID":"1",'
            '"MESSAGE":"x"}',
            "2023-03-14T00:00:31.185246Z",
            True,
        ),
        (
            '{"__REALTIME_TIMESTAMP":"1678752031185246","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"t",'
            '"SYSLOG_PID":"1","_PID":"2","MESSAGE":[120]}',
            "2023-03-14T00:00:31.185246Z",
            True,
        ),
    ],
)
def test_every_form(line: str, at: str, precise: bool) -> None:
    head = reader(BERLIN).read(line.encode())
    assert isinstance(head, Header)
    assert (rfc3339(head.at), head.precise, head.host, head.tag, head.pid, head.text) == (
        at,
        precise,
        "mx",
        "t",
        "1",
        "x",
    )


@pytest.mark.parametrize(
    "line",
    [
        b"nothing of the kind",
        b"Mar 40 00:00:31 mx t[1]: x",
        b"Feb 29",
        b"Mar  4 00:00:31",
        b"Mar  4 00:00:31 mx",
        b"2023-13-14T00:00:31.185246+01:00 mx t[1]: x",
        b"2023-03-14T00:00:31.18524x+01:00 mx t[1]: x",
        b"0001-01-01T00:00:00+23:00 mx t[1]: x",
        b"9999-12-31T23:59:59.000000-23:00 mx t[1]: x",
        b"1678752031 mx t[1]: x",
        b"<22>1 2023-03-14T00:00:31Z mx t 1",
        b"<22>1 - mx t 1 - - x",
        b"<22222>Mar  4 00:00:31 mx t[1]: x",
        b"{",
        b"{}",
        b'{"__REALTIME_TIMESTAMP":"99999999999999999999","MESSAGE":"x"}',
        b'{"__REALTIME_TIMESTAMP":"1678752031185246","MESSAGE":null}',
        b'{"__REALTIME_TIMESTAMP":"1678752031185246","MESSAGE":[300]}',
        b'{"__REALTIME_TIMESTAMP":1,"MESSAGE":"x"}',
        b"{" * 100_000,
        b"\xff\xfe\xfd",
    ],
)
def test_no_head(line: bytes) -> None:
    found = reader().read(line)
    assert isinstance(found, Unreadable)
    assert found.reason


def test_bytes_that_are_no_text_and_controls_are_made_printable() -> None:
    head = reader().read(b"2023-03-14T00:00:31Z mx t[1]: a\xffb\x1b[31m\tc")
    assert isinstance(head, Header)
    assert head.text == "a\\xffb?[31m?c"


def test_a_line_without_a_tag_keeps_its_text() -> None:
    head = reader().read(b"Mar  4 00:00:31 mx last message repeated 3 times")
    assert isinstance(head, Header)
    assert (head.tag, head.text) == ("", "last message repeated 3 times")


def test_the_first_line_is_in_the_latest_year_that_is_not_in_the_future() -> None:
    assert times(["Nov 25 11:59:59"]) == ["2026-11-25T11:59:59"]
    assert times(["Nov 25 12:00:01"]) == ["2025-11-25T12:00:01"]
    assert times(["Dec 31 23:00:00"], reference="2027-01-01T00:10:00Z") == ["2026-12-31T23:00:00"]
    assert times(["Jan  1 00:00:00"], reference="2026-12-31T23:50:00Z") == ["2027-01-01T00:00:00"]
    assert times(["Feb 29 12:00:00"]) == ["2024-02-29T12:00:00"]


def test_new_year_and_its_stragglers() -> None:
    assert times(
        [
            "Nov 30 00:00:00",
            "Dec 31 23:59:59",
            "Jan  1 00:00:00",
            "Dec 31 23:59:58",
            "Jan  1 00:00:01",
            "Jul  1 00:00:00",
        ]
    ) == [
        "2025-11-30T00:00:00",
        "2025-12-31T23:59:59",
        "2026-01-01T00:00:00",
        "2025-12-31T23:59:58",
        "2026-01-01T00:00:01",
        "2026-07-01T00:00:00",
    ]


def test_leap_day_of_the_year_that_follows() -> None:
    assert times(
        ["Dec 31 00:00:00", "Feb 29 00:00:00", "Mar  1 00:00:00"], reference="2024-01-01T00:00:00Z"
    ) == [
        "2023-12-31T00:00:00",
        "2024-02-29T00:00:00",
        "2024-03-01T00:00:00",
    ]


def test_the_hour_that_autumn_repeats() -> None:
    stamps = ["01:59:59", "02:00:00", "02:30:00", "02:29:55", "02:59:59", "02:00:00", "02:30:00", "03:00:00"]
    assert times([f"Oct 25 {stamp}" for stamp in stamps], BERLIN) == [
        "2026-10-24T23:59:59",
        "2026-10-25T00:00:00",
        "2026-10-25T00:30:00",
        "2026-10-25T00:29:55",
        "2026-10-25T00:59:59",
        "2026-10-25T01:00:00",
        "2026-10-25T01:30:00",
        "2026-10-25T02:00:00",
    ]


def test_the_next_autumn_begins_with_the_first_pass_again() -> None:
    stamps = ["Oct 26 02:30:00", "Oct 26 02:10:00", "Mar  1 00:00:00", "Oct 25 02:30:00"]
    assert times(stamps, BERLIN, "2026-01-01T00:00:00Z") == [
        "2025-10-26T00:30:00",
        "2025-10-26T01:10:00",
        "2026-02-28T23:00:00",
        "2026-10-25T00:30:00",
    ]


def test_the_hour_that_spring_skips() -> None:
    assert times(["Mar 29 01:59:59", "Mar 29 02:30:00", "Mar 29 03:00:00"], BERLIN) == [
        "2026-03-29T00:59:59",
        "2026-03-29T01:30:00",
        "2026-03-29T01:00:00",
    ]


def test_a_restored_reader_goes_on_in_the_second_pass_and_the_next_year() -> None:
    first = reader(BERLIN)
    for stamp in ("02:59:59", "02:00:00"):
        first.read(f"Oct 25 {stamp} mx t[1]: x".encode())
    second = reader(BERLIN, "2020-01-01T00:00:00Z")
    second.restore(first.snapshot())
    for line in (b"Oct 25 02:30:00 mx t[1]: x", b"Jan  1 00:00:00 mx t[1]: x"):
        assert second.read(line) == first.read(line)
    head = second.read(b"Jan  1 00:00:00 mx t[1]: x")
    assert isinstance(head, Header)
    assert head.at == Instant(parse_instant(datetime(2027, 1, 1, tzinfo=BERLIN).isoformat()))

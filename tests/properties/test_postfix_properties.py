"""What holds for every log: nothing raises, nobody is read as somebody else, resuming changes nothing."""

import json
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from streams.model.event import MAX_TEXT, Event
from streams.model.instant import Instant, parse_instant
from streams.wire.postfix import Ignored, LogParser, Result, Unreadable

CASES: Final = Path(__file__).parent.parent / "cases"
LINES: Final = [
    line
    for path in sorted([*CASES.glob("postfix/*.case"), *CASES.glob("postfix-lines/*.log")])
    for line in path.read_bytes().partition(b"----\n")[0].splitlines()
    if line and line[:1] != b"#"
]
CLIENT: Final = "192.0.2.5"
EVIL: Final = "192.0.2.99"


def parser() -> LogParser:
    return LogParser(zone=ZoneInfo("Europe/Berlin"), reference=Instant(parse_instant("2026-12-31T00:00:00Z")))


def events_of(results: list[Result]) -> list[Event]:
    return [event for result in results if isinstance(result, list) for event in result]


def check(result: Result) -> None:
    if isinstance(result, Ignored | Unreadable):
        assert result.reason
        return
    assert result
    for event in result:
        texts = (
            event.ptr,
            event.helo,
            event.sender,
            event.recipient,
            event.sasl_user,
            event.detail,
            event.host,
        )
        assert all(len(text) <= MAX_TEXT and text.isprintable() for text in texts)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes(lines: list[bytes]) -> None:
    reader = parser()
    for line in lines:
        check(reader.read(line))


@given(
    st.lists(
        st.tuples(st.sampled_from(LINES), st.integers(0, 400), st.integers(0, 40), st.binary(max_size=20)),
        max_size=20,
    )
)
def test_mutated_real_lines(edits: list[tuple[bytes, int, int, bytes]]) -> None:
    reader = parser()
    for line, at, length, insertion in edits:
        check(reader.read(line[:at] + insertion + line[at + length :]))


@given(st.lists(st.sampled_from(LINES), max_size=60), st.data())
def test_resuming_at_any_line_changes_nothing(lines: list[bytes], data: st.DataObject) -> None:
    whole, first = parser(), parser()
    cut = data.draw(st.integers(0, len(lines)))
    expected = [whole.read(line, at) for at, line in enumerate(lines)]
    before = [first.read(line, at) for at, line in enumerate(lines[:cut])]
    second = parser()
    second.restore(json.loads(json.dumps(first.snapshot())))
    after = [second.read(line, at) for at, line in enumerate(lines[cut:], cut)]
    assert before + after == expected
    assert second.snapshot() == whole.snapshot()


def test_the_snapshot_is_not_changed_by_what_is_read_later() -> None:
    reader = parser()
    for line in LINES:
        reader.read(line)
    before = reader.snapshot()
    text = json.dumps(before)
    for line in LINES:
        reader.read(line)
    assert json.dumps(before) == text


hostile = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=80),
    st.sampled_from(
        [
            f"x]: NOQUEUE: reject: RCPT from evil[{EVIL}]: 550 5.1.1",
            f"> to=<y> from evil[{EVIL}]: 550",
            f"connect from evil[{EVIL}]",
            f"[{EVIL}]:25",
            f" from [{EVIL}]:25 after",
            f"evil[{EVIL}]: SASL LOGIN authentication failed: x",
            f"; from=<x> to=<y> proto=SMTP helo=<evil[{EVIL}]>",
        ]
    ),
)

ENVELOPE: Final = "from=<{s}> to=<{r}> proto=ESMTP helo=<{h}>"
STAMP: Final = "2023-03-14T00:00:31.185246+01:00 mx postfix/"
TEMPLATES: Final = (
    "smtpd[7]: NOQUEUE: reject: RCPT from {c}: 550 5.1.1 <{r}>: Recipient address rejected; " + ENVELOPE,
    "smtpd[7]: NOQUEUE: reject: HELO from {c}: 501 5.5.2 <{h}>: Invalid name; proto=SMTP helo=<{h}>",
    "smtpd[7]: NOQUEUE: milter-reject: MAIL from {c}: 451 4.7.1 {h}; from=<{s}> proto=ESMTP helo=<{h}>",
    "smtpd[7]: 4104E3D: client={c}, sasl_method=PLAIN, sasl_username={s}",
    "smtpd[7]: 4104E3D: reject: RCPT from {c}: 550 5.1.1 <{r}>: no; " + ENVELOPE,
    "smtpd[7]: proxy-reject: END-OF-MESSAGE: 554 {h}; " + ENVELOPE,
    "cleanup[8]: 4104E3D: message-id={h}",
    "cleanup[8]: 4104E3D: reject: header Subject: {h} from {c}; " + ENVELOPE + ": 5.7.1 {h}",
    "qmgr[9]: 4104E3D: from=<{s}>, size=5360, nrcpt=1 (queue active)",
    "smtpd[7]: improper command pipelining after EHLO from {c}: {h}",
    "smtpd[7]: warning: non-SMTP command from {c}: {h}",
    "smtpd[7]: warning: {c}: SASL LOGIN authentication failed: {h}, sasl_username={s}",
    "smtpd[7]: warning: Illegal address syntax from {c} in MAIL command: <{s}>",
    "smtpd[7]: warning: {c}: request longer than 2048: {h}",
    "smtpd[7]: warning: hostname {h} does not resolve to address 192.0.2.5",
    "postscreen[6]: PREGREET 6 after 1.2 from [192.0.2.5]:43421: {h}",
    "postscreen[6]: COMMAND PIPELINING from [192.0.2.5]:43421 after {h}: {s}",
    "postscreen[6]: NON-SMTP COMMAND from [192.0.2.5]:43421 after CONNECT: {h}",
    "postscreen[6]: BARE NEWLINE from [192.0.2.5]:43421 after {h}",
    "postscreen[6]: NOQUEUE: reject: RCPT from [192.0.2.5]:43421: 550 5.5.1 {h}; "
    "from=<{s}>, to=<{r}>, proto=SMTP, helo=<{h}>",
)


@given(st.lists(st.tuples(st.sampled_from(TEMPLATES), hostile, hostile, hostile), min_size=1, max_size=8))
@example([(template, f"x]: from evil[{EVIL}]: 550", f"x> to=<evil[{EVIL}]", "y") for template in TEMPLATES])
def test_what_a_client_writes_never_speaks_of_another(rows: list[tuple[str, str, str, str]]) -> None:
    reader = parser()
    results: list[Result] = [reader.read(f"{STAMP}smtpd[7]: connect from a.example.com[{CLIENT}]".encode())]
    for template, helo, sender, recipient in rows:
        text = template.format(c=f"a.example.com[{CLIENT}]", h=helo, s=sender, r=recipient)
        results.append(reader.read((STAMP + text).encode()))
    results.append(reader.read(f"{STAMP}smtpd[7]: disconnect from a.example.com[{CLIENT}] ehlo=1".encode()))
    for result in results:
        check(result)
        assert not isinstance(result, Unreadable)
    assert {event.address for event in events_of(results)} == {CLIENT}


@given(st.sampled_from(TEMPLATES), st.text("abc019.-_", min_size=1, max_size=255))
@example(TEMPLATES[0], EVIL)
def test_a_client_name_never_speaks_of_another(template: str, name: str) -> None:
    """All that Postfix lets stand as a name (its valid_hostname)."""
    text = template.format(c=f"{name}[{CLIENT}]", h="h", s="s@example.com", r="r@example.com")
    reader = parser()
    lines = (f"smtpd[7]: connect from {name}[{CLIENT}]", text, f"smtpd[7]: disconnect from {name}[{CLIENT}]")
    results = [reader.read((STAMP + line).encode()) for line in lines]
    assert {event.address for event in events_of(results)} == {CLIENT}


@given(st.sampled_from(TEMPLATES), st.text("[]:;<> ab", max_size=30))
def test_a_name_that_postfix_would_not_log_is_no_client(template: str, before: str) -> None:
    name = f"{before}[{EVIL}]"
    text = template.format(c=f"{name}[{CLIENT}]", h="h", s="s@example.com", r="r@example.com")
    results = [
        parser().read((STAMP + line).encode()) for line in (f"smtpd[7]: connect from {name}[{CLIENT}]", text)
    ]
    assert EVIL not in {event.address for event in events_of(results)}


@given(st.lists(st.sampled_from(LINES), max_size=40))
def test_ids_depend_on_the_line_alone(lines: list[bytes]) -> None:
    first, second = parser(), parser()
    at_start = [first.read(line, 0) for line in lines]
    elsewhere = [second.read(line + b"\n", 1000 + at) for at, line in enumerate(lines)]
    assert [event.id for event in events_of(at_start)] == [event.id for event in events_of(elsewhere)]

"""Postfix logs and the events they become, as data.

`postfix/*.case`: log lines, `----`, then what each comes to, one JSON object a line. `# zone: NAME` and
`# reference: RFC 3339` in the first lines set what the parser is told. `postfix-lines/*.log` are recorded
from a real Postfix; `postfix/recorded.summary` says what each comes to. `GOAWAY_REWRITE_CASES=1` writes
both anew.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.wire.frames import encode
from streams.wire.lines import LineReader
from streams.wire.postfix import Ignored, LogParser, Result, Unreadable

HERE: Final = Path(__file__).parent
CASES: Final = sorted((HERE / "postfix").glob("*.case"))
RECORDED: Final = sorted((HERE / "postfix-lines").glob("*.log"))
SUMMARY: Final = HERE / "postfix" / "recorded.summary"
REWRITE: Final = os.environ.get("GOAWAY_REWRITE_CASES", "") not in ("", "0")


def parser_for(text: str) -> LogParser:
    """A parser told what the case's comments say."""
    zone, reference = "UTC", "2026-12-31T00:00:00Z"
    for line in text.splitlines():
        zone = line.removeprefix("# zone: ") if line.startswith("# zone: ") else zone
        reference = line.removeprefix("# reference: ") if line.startswith("# reference: ") else reference
    return LogParser(zone=ZoneInfo(zone), reference=Instant(parse_instant(reference)))


def log_of(text: str) -> bytes:
    """The log without the case's comments."""
    return "".join(line + "\n" for line in text.splitlines() if line and line[0] != "#").encode()


def results(parser: LogParser, log: bytes, chunk: int = 1 << 16) -> list[Result]:
    """What each line comes to, the log fed in pieces of this size."""
    reader = LineReader()
    lines = [line for at in range(0, len(log), chunk) for line in reader.feed(log[at : at + chunk])]
    return [parser.read(line.content, line.position) for line in lines + reader.finish()]


def shown(result: Result) -> list[str]:
    """One JSON object for each event, or one for the reason that there is none."""
    if isinstance(result, Ignored):
        return [json.dumps({"ignored": result.reason})]
    if isinstance(result, Unreadable):
        return [json.dumps({"unreadable": result.reason})]
    return [encode(event).decode() for event in result]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    log, _, expected = path.read_text().partition("----\n")
    found = [line for result in results(parser_for(log), log_of(log)) for line in shown(result)]
    if REWRITE:
        path.write_text(log + "----\n" + "".join(line + "\n" for line in found))
        return
    assert found == expected.splitlines()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case_byte_by_byte(path: Path) -> None:
    log = path.read_text().partition("----\n")[0]
    assert results(parser_for(log), log_of(log), 1) == results(parser_for(log), log_of(log))


def summary_of(path: Path) -> str:
    """`name: connect 1, mail 1, …`, violations and ignored lines by their names."""
    counts: Counter[str] = Counter()
    for result in results(parser_for(""), log_of(path.read_text())):
        if isinstance(result, list):
            counts.update(f"{event.kind} {event.violation}".strip() for event in result)
    return f"{path.stem}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def test_recorded_lines_come_to_what_the_summary_says() -> None:
    assert RECORDED, "no recorded lines"
    found = "".join(summary_of(path) + "\n" for path in RECORDED)
    if REWRITE:
        SUMMARY.write_text(found)
    assert found == SUMMARY.read_text()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_line_is_known_and_of_the_right_client(path: Path) -> None:
    events: list[Event] = []
    for result in results(parser_for(""), log_of(path.read_text())):
        assert not isinstance(result, Unreadable), result
        if isinstance(result, Ignored):
            assert not result.reason.startswith("unknown"), result
        else:
            events += result
    # 192.0.2.99 stands only in what hostile clients wrote
    assert "192.0.2.99" not in {event.address for event in events}
    assert len({event.id for event in events}) == len(events)
    opened = Counter((event.session, event.address) for event in events if event.kind == "connect")
    closed = Counter((event.session, event.address) for event in events if event.kind == "disconnect")
    assert opened == closed

"""How far a history is read, as a terminal of 60 columns shows it."""

import re
import time
from dataclasses import dataclass, field

import pytest

from streams.cli.progress import shown
from streams.replay.counts import ReadCounts
from streams.replay.extent import Extent


@dataclass
class Read:
    counts: ReadCounts = field(default_factory=ReadCounts)
    extent: Extent = field(default_factory=Extent)


def lines_of(captured: pytest.CaptureFixture[str]) -> list[str]:
    """What was drawn, without the terminal's control sequences."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.readouterr().err)
    return [line.rstrip() for line in re.split(r"[\r\n]", plain) if line.strip()]


@pytest.fixture(name="terminal")
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.usefixtures("terminal")
def test_each_pass_shows_events_share_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    reading, passes = Read(extent=Extent(1000, 250)), ["clients 1/2"]
    reading.counts.events = 12_345_678
    with shown(reading, lambda: passes[-1]):
        time.sleep(0.7)
        passes.append("settings 2/2")
        reading.counts, reading.extent = ReadCounts(events=7), Extent(1000, 500)
        time.sleep(0.7)
    drawn = lines_of(capsys)
    assert max(map(len, drawn)) <= 60
    assert any(re.search(r"clients 1/2 .* 25% 12\.3 M events, .*/s .* left", it) for it in drawn)
    assert any(re.search(r"settings 2/2 .* 50% 7 events, .*/s .* left", it) for it in drawn)


@pytest.mark.usefixtures("terminal")
def test_where_the_end_is_not_known_none_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    reading = Read(extent=Extent(None, 250))
    with shown(reading, "replay"):
        time.sleep(0.4)
    drawn = lines_of(capsys)
    assert not any("left" in it or "%" in it or "events" in it for it in drawn)


def test_what_is_no_terminal_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Read(), "replay"):
        pass
    assert lines_of(capsys) == []

"""What a traffic needs: measured the same however a history comes, and reckoned by formulas that come out.

Lines are counted where the history is a log, and assumed, and said so, where not."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from streams.cli.capacity import capacity
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.marker import marker
from streams.model.policy import Policy
from streams.replay.capacity import Need, Rates, Traffic, figure, needs
from streams.replay.measuring import BusiestMinute, traffic_of
from streams.replay.order import Batch, Batches
from tests.unit.tune_history import START, event, made, write

RATES = Rates(parse_per_s=1000, engine_per_s=50_000, worker_per_s=10_000)
GIVEN = ("--rate", "parse=1000", "--rate", "engine=50000", "--rate", "worker=10000", "--timezone", "utc")
LOG = """\
2026-11-01T08:00:00.000000+00:00 mx postfix/smtpd[7]: connect from a.example[192.0.2.1]
2026-11-01T08:00:00.100000+00:00 mx postfix/qmgr[8]: 4F2A1C0001: removed
2026-11-01T08:00:00.200000+00:00 mx dovecot: nothing of ours
2026-11-01T08:00:01.000000+00:00 mx postfix/smtpd[7]: disconnect from a.example[192.0.2.1] quit=1 commands=1
"""


def traffic(lines: int) -> Traffic:
    return Traffic(events=600, seconds=60, peak_per_s=10, clients=1, decisions=3, lines=lines)


def reading(found: list[Need]) -> Need:
    return next(it for it in found if it.name == "cores that read logs")


@pytest.mark.parametrize(
    ("lines", "cores", "said"),
    [(960, 0.032, "× 960 lines ÷ 600 events ÷"), (0, 0.02, "(1 is assumed: the history is no log")],
)
def test_cores_that_read_logs_are_by_lines(lines: int, cores: float, said: str) -> None:
    found = reading(needs(traffic(lines), RATES))
    assert found.value == pytest.approx(cores)
    assert said in found.numbers


def batches(events: Sequence[Event], size: int) -> Batches:
    for at in range(0, len(events), size):
        some = events[at : at + size]
        yield Batch(some, some[-1].at)


def crowd() -> list[Event]:
    """Six hours, each with a crowd of other clients, who are forgotten while the next come."""
    found = [
        event(hour * 3600 + number, "connect", f"10.{hour}.0.{number}", "1")
        for hour in range(6)
        for number in range(1, 200)
    ]
    return sorted([*found, *made()], key=lambda it: (it.at, it.id))


def test_a_history_has_the_same_traffic_however_it_is_cut() -> None:
    events = crowd()
    once, *others = (traffic_of(batches(events, size), Policy()) for size in (len(events), 1, 7, 2048))
    assert others == [once] * 3
    assert once[0].events == len(events)


def test_markers_are_no_traffic() -> None:
    events = made()
    before = marker(0, 1, 0, "abcdef012345", int(events[0].at) - 3600 * MICROSECONDS)
    burst = [marker(0, number, number - 1, "abcdef012345", int(events[9].at)) for number in range(2, 999)]
    marked = [before, *events[:9], *burst, *events[9:]]
    assert traffic_of(batches(marked, 100), Policy()) == traffic_of(batches(events, 100), Policy())


@pytest.mark.parametrize("shift_s", [0, 0.5, 17, 30, 59.9])
@pytest.mark.parametrize("late", [False, True])
def test_the_busiest_minute_may_begin_anywhere(shift_s: float, late: bool) -> None:
    times = [int((START + shift_s + 60 * n) * MICROSECONDS) for n in range(6000)]
    times += [int((START + shift_s + 40 + n / 10) * MICROSECONDS) for n in range(400)]
    times.sort()
    if late:  # by less than ten minutes
        chance = random.Random(shift_s)
        times.sort(key=lambda it: it + chance.randrange(500 * MICROSECONDS))
    minute = BusiestMinute()
    for at in times:
        minute.add(at)
    minute.look()
    assert minute.events == 401


def test_a_stray_old_event_makes_no_month() -> None:
    events = made()
    stray = event(-40 * 86_400, "connect", "192.0.2.1", "old")
    found, _ = traffic_of(batches([stray, *events], 500), Policy())
    alone, _ = traffic_of(batches(events, 500), Policy())
    assert found.seconds == alone.seconds
    assert found.holes_s == pytest.approx(40 * 86_400, abs=3600)


SAID: Final = re.compile(
    r"(?P<sum>.+?) = (?P<result>[\d.,]+)(?! ÷)(?: (GB|MB|a day))?(?:, rounded up to .+| \(.+\))?"
)


def reckoned(need: Need) -> tuple[float, float]:
    """What the numbers of a result come to, and what they say that they come to."""
    found = SAID.fullmatch(need.numbers)
    assert found is not None, need.numbers
    plain = re.sub(r"/s| s\b| events| lines| bytes|(?<=\d),(?=\d)", "", found["sum"])
    plain = plain.replace("×", "*").replace("÷", "/").replace("10⁶", "1e6").replace("10⁹", "1e9")
    assert re.fullmatch(r"[-+*/().,e0-9 max]+", plain), plain
    return eval(plain), float(found["result"].replace(",", ""))


@pytest.mark.parametrize(
    "of",
    [
        Traffic(events=868, seconds=200.4, peak_per_s=433 / 60, clients=31, decisions=2),
        Traffic(events=1, seconds=60, peak_per_s=1 / 60, clients=1, decisions=0, lines=3),
        Traffic(123_456_789, 30.4 * 86_400, 48_000.25, 1_234_567, 98_765, 345_678_901),
    ],
)
def test_formulas_come_out(of: Traffic) -> None:
    for need in needs(of, RATES):
        comes_to, said = reckoned(need)
        assert comes_to == pytest.approx(said, rel=1e-3), need
        if need.name != "workers":
            assert said == pytest.approx(need.value, rel=1e-3), need
    assert "rounded up to 1" in needs(traffic(0), RATES)[0].numbers


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (4, "4"), (0.00001234, "0.00001234"), (6.44444, "6.444"), (12345.6, "12,346")],
)
def test_figures_have_four_digits_and_no_exponent(value: float, said: str) -> None:
    assert figure(value) == said


def test_a_short_history_is_cautioned_of_and_lines_fit_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    environ = {
        "GOAWAY_POLICY": None,
        "GOAWAY_DATA": str(tmp_path / "none"),
        "GOAWAY_CLICKHOUSE": "127.0.0.1:1",
    }
    file = str(write(tmp_path / "events.jsonl"))
    done = CliRunner().invoke(capacity, [file, *GIVEN], env=environ)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "note: The history is 8.0 hours long: a month-end, a newsletter or a new partner may be" in said
    assert max(map(len, done.stdout.splitlines())) <= 60
    (note,) = json.loads(CliRunner().invoke(capacity, [file, "--json", *GIVEN], env=environ).stdout)["notes"]
    assert note.startswith("The history is 8.0 hours long")


def test_the_lines_of_a_log_are_known_and_those_of_events_are_not(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text(LOG)
    environ = {
        "GOAWAY_POLICY": None,
        "GOAWAY_DATA": str(tmp_path / "none"),
        "GOAWAY_CLICKHOUSE": "127.0.0.1:1",
    }
    found = {}
    for file in (tmp_path / "mail.log", write(tmp_path / "events.jsonl")):
        done = CliRunner().invoke(capacity, [str(file), "--json", *GIVEN], env=environ)
        assert done.exit_code == 0, done.output
        found[file.name] = json.loads(done.stdout)["traffic"]
    assert (found["mail.log"]["lines"], found["mail.log"]["events"]) == (4, 2)
    assert found["events.jsonl"]["lines"] == 0

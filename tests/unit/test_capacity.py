"""What a traffic needs: lines are counted where the history is a log, and assumed, and said so, where not."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.capacity import capacity
from streams.replay.capacity import Need, Rates, Traffic, needs
from tests.unit.tune_history import write

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


@pytest.mark.parametrize(("lines", "cores", "said"), [(960, 0.032, "× 1.60 ÷"), (0, 0.02, "× 1 (assumed")])
def test_cores_that_read_logs_are_by_lines(lines: int, cores: float, said: str) -> None:
    found = reading(needs(traffic(lines), RATES))
    assert found.value == pytest.approx(cores)
    assert said in found.numbers


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

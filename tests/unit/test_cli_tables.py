"""Answers at every width, in terminals of their own; what cannot be written, what keeps one waiting."""

import os
import pty
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from streams.cli.tables import print_table
from tests.parts import ROOT

CLIENT: Final = "2001:db80:1234:5678::/64"
NUMBERS: Final = (112_345_678, 12_345_678, 2_822, 331, 77)
TABLE: Final = f"""
from streams.cli.tables import print_table
rows = [({CLIENT!r}, *{NUMBERS!r}, "11-24 13:05"), ("192.0.2.7", 1, 2, 3, 4, 5, "11-24 13:05")]
heading = ("client", "conns", "reqs", "msgs", "refused", "peak", "last")
print_table(heading, rows, total=("all 2", *{NUMBERS!r}, "11-24 13:05"), folded=1, spare=%s)
"""


def in_terminal(code: str, columns: int) -> str:
    """What Python prints in a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as run:
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # EIO: nobody writes there any more
            while some := os.read(ours, 65_536):
                printed += some
        os.close(ours)
        assert run.stderr is not None
        assert run.wait(20) == 0, run.stderr.read()
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 120])
@pytest.mark.parametrize("spare", [(), ("last", "peak", "reqs", "msgs")])
def test_no_number_is_cut_in_any_terminal(columns: int, spare: tuple[str, ...]) -> None:
    printed = in_terminal(TABLE % repr(spare), columns)
    lines = printed.splitlines()
    assert all(len(line.rstrip()) <= columns for line in lines if not line.startswith("left out"))
    assert CLIENT in printed and "192.0.2.7" in printed and "all 2" in printed
    left_out = re.search(r"^left out for want of room: (.*); --json has all$", printed, re.MULTILINE)
    missing = left_out.group(1).split(", ") if left_out else []
    for name, number in zip(("conns", "reqs", "msgs", "refused", "peak"), NUMBERS, strict=True):
        found = len(re.findall(rf"(?<![\d,]){number:,}(?![\d,])", printed))
        assert found == (0 if name in missing else 2), (name, printed)
    assert set(missing) <= set(spare)
    assert bool(missing) == (bool(spare) and columns == 60)


def test_what_is_left_out_is_the_least_needed() -> None:
    spare = repr(("last", "peak", "reqs", "msgs"))
    assert "left out" not in in_terminal(TABLE % spare, 80)
    assert "left out for want of room: last; --json" in in_terminal(TABLE % spare, 70)
    assert "left out for want of room: peak, last; --json" in in_terminal(TABLE % spare, 64)
    assert f"{CLIENT}\n  conns 112,345,678" in in_terminal(TABLE % "()", 40)


def test_a_long_first_column_is_broken_before_a_column_is_left_out() -> None:
    name = "a-very-long-name-of-a-host-somewhere.example.org"
    code = f"""
from streams.cli.tables import print_table
print_table(("host", "conns"), [({name!r}, 2822)], folded=1, spare=("conns",))
"""
    lines = in_terminal(code, 40).splitlines()
    assert lines[1].split() == [name[:34], "2,822"]
    assert lines[2].strip() == name[34:]


def test_outside_a_terminal_everything_stands_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "x" * 150
    print_table(("host", "conns"), [(name, 112_345_678)] * 2, folded=1, spare=("conns",))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["host", "conns"],
        *[[name, "112,345,678"]] * 2,
    ]
    print_table(("host", "conns"), [])
    assert capsys.readouterr().out.split() == ["host", "conns"]


def test_a_new_file_of_csv_has_the_mark_of_utf8_and_nothing_else_has(tmp_path: Path) -> None:
    code = "from streams.cli.tables import print_csv; print_csv(('name',), [('ä;=1',)])"
    file = tmp_path / "out.csv"
    for marks in (1, 1):  # the second is added to the first
        with file.open("ab") as opened:
            subprocess.run([sys.executable, "-c", code], stdout=opened, cwd=ROOT, check=True)
        assert file.read_bytes().startswith(b"\xef\xbb\xbfname\r\n")
        assert file.read_bytes().count(b"\xef\xbb\xbf") == marks
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, check=True)
    assert piped.stdout == "name\r\nä;'=1\r\n".encode()


@pytest.mark.parametrize("command", ["policy show", "parse streams/embedded/sample/mail.log.gz", "--help"])
def test_a_full_disk_is_one_line(command: str) -> None:
    script = f"{sys.executable} -m streams.cli {command} >/dev/full"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("goaway: ")]
    assert done.returncode == 4 and "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert said == ["goaway: the output cannot be written (No space left on device). Try: df -h"]


def test_who_waits_for_clickhouse_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        ours, theirs = pty.openpty()
        run = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "stats", "--data", "/nonexistent"],
            stderr=theirs,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "GOAWAY_CLICKHOUSE": place},
            cwd=ROOT,
        )
        began = time.monotonic()
        try:
            assert f"waiting for ClickHouse at {place} …" in os.read(ours, 1000).decode()
            assert time.monotonic() - began > 4
        finally:
            run.kill()
            run.wait(10)
            os.close(ours)
            os.close(theirs)

"""`goaway up` as a person meets it: it comes up, survives the death of any part, leaves nothing behind."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.embedded.broker import open_broker
from streams.embedded.broker.process import free_port
from streams.embedded.clickhouse.process import EmbeddedClickHouse
from streams.errors import GoawayError
from tests.e2e.running import (
    LET_IN,
    PARTITIONS,
    STOP_S,
    RunningUp,
    WrittenLog,
    goaway,
    listens,
    processes_on,
    until,
)
from tests.parts import ROOT

pytestmark = pytest.mark.needs("tansu")

PARTS = ["worker", "shim", "ship", "sink", "clickhouse", "broker"]


class Supervised:
    """One pipeline whose parts are killed one after the other, and the log that feeds it."""

    def __init__(self, folder: Path) -> None:
        self.log = WrittenLog(folder / "mail.log")
        self.up = RunningUp(folder, self.log.path, clickhouse="embedded")
        self._clients = 0

    def abuse(self, *, seconds: float = 30.0) -> str:
        """A client that nobody knows opens one connection too many and is refused; its address."""
        self._clients += 1
        address = f"198.51.100.{self._clients}"
        self.log.connect(address, 11)
        self.up.wait_answer(address, seconds=seconds)
        return address

    def stored(self, address: str) -> int:
        """Rows about this client in ClickHouse: events, warnings, decisions; -1 while it does not answer."""
        found = re.findall(r"clickhouse +at (\S+):(\d+), tables ready", self.up.output)
        password = (self.up.data / "clickhouse.password").read_text().strip()
        host, port = found[-1]
        clickhouse = ClickHouse(ClickHouseSettings(host, int(port), "default", password, "goaway"))
        tables = ("events", "warnings", "decisions")
        try:
            return sum(
                int(clickhouse.rows(f"SELECT count() FROM {table} WHERE client = '{address}'")[0][0])
                for table in tables
            )
        except GoawayError:
            return -1
        finally:
            clickhouse.close()


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    made = Supervised(tmp_path_factory.mktemp("supervised"))
    with made.up:
        yield made
        assert made.up.stop() == 0
        made.up.assert_nothing_left()


@pytest.mark.needs("chdb")
def test_the_sample_shows_who_is_refused(tmp_path: Path) -> None:
    up = RunningUp(tmp_path, clickhouse="embedded", arguments=["--sample"])
    began = time.monotonic()
    with up:
        until(lambda: up.output.count(" REFUSED ") >= 3, up.explain, seconds=60)
        assert time.monotonic() - began < 60
        assert "551 5.7.1 Go away: exceeded connection rate limit" in up.output
        assert "No log is followed" not in up.output
        until(lambda: int(up.facts("sink").get("rows") or 0) > 100, "the sample's rows")
        ports = [
            int(found) for found in re.findall(r"(?:tansu|clickhouse) +at 127\.0\.0\.1:(\d+)", up.output)
        ]
        assert all(listens(port) for port in ports)
        asked = time.monotonic()
        assert up.stop() == 0
        assert time.monotonic() - asked < STOP_S
        up.assert_nothing_left()
        assert not [port for port in ports if listens(port)]
    assert "Traceback" not in up.explain()


@pytest.mark.needs("chdb")
@pytest.mark.parametrize("part", PARTS)
def test_what_is_killed_comes_back_and_the_pipeline_goes_on(supervised: Supervised, part: str) -> None:
    up = supervised.up
    before = supervised.abuse()
    killed = up.part_pid(part)
    assert killed
    os.kill(killed, signal.SIGKILL)
    until(lambda: up.part_pid(part) not in (0, killed), lambda: f"another {part}\n{up.explain()}")
    if part == "broker":
        # everything it knew is gone, and what the shim knows stands
        assert up.ask(before).startswith("551 ")
    after = supervised.abuse()
    assert up.ask("192.0.2.1") == LET_IN
    if part != "broker":
        up.wait_answer(before, seconds=5.0)
    until(lambda: up.ask(after).startswith("551 "), "the refusal to stand")
    # whatever was killed, what came after it is stored: 11 connections, a warning, a decision
    until(lambda: supervised.stored(after) == 13, lambda: f"the rows about {after}\n{up.explain()}")


def test_a_part_that_keeps_dying_is_restarted_more_slowly(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path) as up:
        for _ in range(3):
            until(lambda: up.part_pid("ship") != 0, up.explain)
            os.kill(up.part_pid("ship"), signal.SIGKILL)
            until(lambda: up.part_pid("ship") == 0, up.explain)
            until(lambda: up.part_pid("ship") != 0, up.explain)
        pauses = re.findall(r"ship +ended with signal 9, starts again in ([\d.]+) s", up.output)
        assert pauses == ["0.5", "1", "2"]
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        assert up.stop() == 0
        up.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_while_it_works(tmp_path: Path, number: signal.Signals) -> None:
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path, listen=f"unix:{tmp_path}/policy") as up:
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        log.connect("198.51.100.2", 5000)
        up.signal(number)
        assert up.wait() == 0
        up.assert_nothing_left()
        assert "Traceback" not in up.explain()


def test_it_stops_while_it_starts(tmp_path: Path) -> None:
    for pause_s in (0.3, 1.0, 2.0):
        up = RunningUp(tmp_path, clickhouse="embedded")
        up.start()
        time.sleep(pause_s)
        up.signal(signal.SIGTERM)
        code = up.wait(2 * STOP_S)
        # before its first line it may still be dying of the signal itself
        assert code in ((0,) if "broker" in up.output else (0, -signal.SIGTERM)), up.explain()
        up.assert_nothing_left()


def test_killed_outright_its_parts_end_by_themselves(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path, clickhouse="embedded") as up:
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        assert len(processes_on(up.data)) >= 6
        os.kill(up.pid, signal.SIGKILL)
        assert up.wait() == -signal.SIGKILL
        up.assert_nothing_left(seconds=STOP_S)
    # and the folder is free for the next
    with RunningUp(tmp_path, log.path, clickhouse="embedded") as up:
        log.connect("198.51.100.2", 11)
        up.wait_answer("198.51.100.2")
        assert len(list((up.data / "tmp").iterdir())) == 1  # the worker's; not the killed one's too
        assert up.stop() == 0


def test_a_second_one_on_the_same_folder_is_told_so(tmp_path: Path) -> None:
    with RunningUp(tmp_path) as up:
        second = goaway("up", "--data", str(up.data), "--policy-listen", up.listen, "--clickhouse", "none")
        assert second.returncode == 2
        assert second.stderr.startswith("goaway: another goaway up runs on ")
        assert "--data DIR" in second.stderr
        assert "Traceback" not in second.stderr
        assert up.ask("198.51.100.1") == LET_IN
        assert up.stop() == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in (tmp_path / "file" / "data", Path("/proc/goaway")):
        told = goaway("up", "--data", str(where), "--clickhouse", "none")
        assert told.returncode == 4
        assert told.stderr.startswith(f"goaway: {where} cannot be written (")
        assert told.stderr.count("\n") == 1


def test_a_policy_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with RunningUp(tmp_path) as first:
        other = tmp_path / "other"
        other.mkdir()
        second = RunningUp(other, listen=first.listen)
        second.start()
        try:
            until(lambda: "shim        ended" in second.output, second.explain)
            assert "in use" in (second.data / "log" / "shim.log").read_text()
        finally:
            assert second.stop() == 0
        assert first.stop() == 0


def test_status_while_it_runs_and_after(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path) as up:
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        told = goaway("status", "--data", str(up.data), "--json")
        assert (told.returncode, told.stderr) == (0, "")
        found = json.loads(told.stdout)
        assert found["trouble"] is None
        assert {name: part["state"] for name, part in found["parts"].items()} == dict.fromkeys(
            ("shim", "worker", "ship"), "runs"
        )
        assert found["parts"]["worker"]["partitions"] == PARTITIONS
        refused = [(one["client"], one["rule"], one["code"], one["reason"]) for one in found["refused"]]
        assert refused == [("198.51.100.1", "concurrent_connections", 551, "exceeded connection rate limit")]
        shown = goaway("status", "--data", str(up.data))
        assert shown.returncode == 0
        assert "198.51.100.1" in shown.stdout
        assert up.stop() == 0
        # stopped: Kafka is gone with it, which is an exit code and a sentence
        for arguments in (["--json"], []):
            late = goaway("status", "--data", str(up.data), *arguments)
            assert late.returncode == 4, late
            assert late.stderr.startswith("goaway: Kafka at ")
            assert "Traceback" not in late.stderr
        assert json.loads(goaway("status", "--data", str(up.data), "--json").stdout)["trouble"]


def test_a_broker_of_ones_own(tmp_path: Path) -> None:
    broker = open_broker("tansu", folder=tmp_path / "own")
    broker.start()
    try:
        log = WrittenLog(tmp_path / "mail.log")
        with RunningUp(tmp_path, log.path, broker=broker.address) as up:
            log.connect("198.51.100.1", 11)
            up.wait_answer("198.51.100.1")
            assert up.stop() == 0
            up.assert_nothing_left()
        assert broker.alive()
        # it kept everything: the next start knows who is refused, and counts nothing twice
        with RunningUp(tmp_path, log.path, broker=broker.address) as up:
            up.wait_answer("198.51.100.1")
            log.connect("198.51.100.2", 10)
            log.connect("198.51.100.3", 11)
            up.wait_answer("198.51.100.3")
            assert up.ask("198.51.100.2") == LET_IN
            assert up.stop() == 0
    finally:
        broker.stop()


@pytest.mark.needs("chdb")
def test_a_clickhouse_of_ones_own_that_comes_later(tmp_path: Path) -> None:
    port, password = free_port(), "not a secret"
    log = WrittenLog(tmp_path / "mail.log")
    up = RunningUp(
        tmp_path,
        log.path,
        clickhouse=f"127.0.0.1:{port}",
        environ={"GOAWAY_CLICKHOUSE_PASSWORD": password, "GOAWAY_CLICKHOUSE_USER": "default"},
    )
    up.start()
    try:
        until(lambda: "clickhouse" in up.output, up.explain)
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        with EmbeddedClickHouse() as clickhouse:
            clickhouse.start(tmp_path / "own", port=port, password=password)
            # 11 events, a warning, a decision, a change of the policy in two records, a marker a partition
            until(lambda: up.facts("sink").get("rows") == 19, up.explain)
            assert up.stop() == 0
            up.assert_nothing_left()
            assert clickhouse.alive()
    finally:
        up.end()
    assert password not in up.explain()


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    port = free_port()
    told = goaway("up", "--data", str(tmp_path), "--clickhouse", "none", "--broker", f"127.0.0.1:{port}")
    assert told.returncode == 4
    assert f"127.0.0.1:{port}" in told.stderr
    assert "Traceback" not in told.stderr
    assert not processes_on(tmp_path)


@pytest.mark.needs("java")
def test_apache_kafka_goes_on_where_it_stopped(tmp_path: Path) -> None:
    policy = "[limits]\ncool_down_s = 600\n"
    log = WrittenLog(tmp_path / "mail.log")
    with RunningUp(tmp_path, log.path, broker="apache", policy=policy) as up:
        log.connect("198.51.100.1", 11)
        log.connect("198.51.100.2", 6)
        up.wait_answer("198.51.100.1")
        assert up.stop() == 0
        up.assert_nothing_left()
    log.connect("198.51.100.3", 11)  # logged while nobody looked
    with RunningUp(tmp_path, log.path, broker="apache", policy=policy) as up:
        up.wait_answer("198.51.100.1")
        up.wait_answer("198.51.100.3")
        log.connect("198.51.100.2", 4)
        log.connect("198.51.100.4", 11)
        up.wait_answer("198.51.100.4")
        assert up.ask("198.51.100.2") == LET_IN
        log.connect("198.51.100.2", 1)  # 6 + 4 + 1 sessions are open
        up.wait_answer("198.51.100.2")
        assert up.stop() == 0
        up.assert_nothing_left()


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path / "later" / "mail.log")
    with RunningUp(tmp_path, log.path) as up:
        log.path.parent.mkdir()
        log.connect("198.51.100.1", 11)
        up.wait_answer("198.51.100.1")
        assert up.stop() == 0


def test_a_policy_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[limits]\ncool_down_s = -5\n")
    told = goaway("up", "--data", str(tmp_path / "data"), "--policy", str(tmp_path / "policy.toml"))
    assert told.returncode != 0
    assert "cool_down_s = -5 must be positive" in told.stderr
    assert not (tmp_path / "data" / "status").exists()


_TAKE_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Run a command whose controlling terminal is its standard input, so that Ctrl-C there is a SIGINT."""


class Terminal:
    """`goaway up` on a terminal of its own: what it draws, and keys that are pressed."""

    def __init__(self, up: RunningUp, *, columns: int, rows: int = 30) -> None:
        self._keys, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *up.command], stdin=inside, stdout=inside, stderr=inside,
            cwd=ROOT, start_new_session=True, env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(inside)
        self.drawn = ""

    def look(self, seconds: float = 0.2) -> str:
        """Take in what is drawn within this time; all that has been drawn so far."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if select.select([self._keys], [], [], left)[0]:
                try:
                    self.drawn += os.read(self._keys, 65536).decode("utf-8", "replace")
                except OSError:  # everybody on the other side has left
                    return self.drawn
        return self.drawn

    def press(self, keys: bytes) -> None:
        """Press these keys."""
        os.write(self._keys, keys)

    def close(self) -> None:
        """Take the terminal away."""
        os.close(self._keys)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2 * STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.mark.needs("chdb")
@pytest.mark.parametrize("columns", [60, 100, 20])
def test_control_c_on_a_terminal(tmp_path: Path, columns: int) -> None:
    up = RunningUp(tmp_path, clickhouse="embedded", arguments=["--sample"])
    terminal = Terminal(up, columns=columns)
    try:
        shown = "551" if columns >= 60 else "…"
        until(lambda: shown in terminal.look(), lambda: f"{shown} on {terminal.drawn[-4000:]}", seconds=60)
        terminal.look(2.0)
        asked = time.monotonic()
        terminal.press(b"\x03")
        until(lambda: (terminal.look(), terminal.process.poll())[1] is not None, "its end", seconds=STOP_S)
        assert time.monotonic() - asked < STOP_S
        assert terminal.process.returncode == 0, terminal.drawn[-3000:]
        up.assert_nothing_left()
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.drawn)
        assert "Traceback" not in plain + up.explain()
        assert "stopped" in plain
        lines = [line.rstrip() for line in plain.splitlines() if "stopped; " not in line]
        assert columns < 60 or [line for line in lines if len(line) > columns] == []
    finally:
        terminal.close()


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    up = RunningUp(tmp_path)
    terminal = Terminal(up, columns=80)
    try:
        until(lambda: "caught up yes" in terminal.look(), lambda: terminal.drawn[-3000:], seconds=60)
    finally:
        os.close(terminal._keys)
    terminal.process.wait(STOP_S)
    up.assert_nothing_left(seconds=STOP_S)

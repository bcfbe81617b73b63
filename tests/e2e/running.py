"""A running `goaway up` for tests: started as a user would, asked as Postfix would, killed as none would."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from streams.config import KafkaSettings
from streams.embedded.broker.process import free_port
from streams.status import Fact, read_status
from tests.parts import ROOT
from tests.shim_process import ask

REFUSED: Final = "551 5.7.1 Go away: exceeded connection rate limit"
LET_IN: Final = "DUNNO"
PARTITIONS: Final = 4
READY_S: Final = 60.0
STOP_S: Final = 15.0
"""How long a clean stop may take."""


def until(holds: Callable[[], bool], what: str | Callable[[], str], *, seconds: float = 30.0) -> None:
    """Wait until it holds; `AssertionError` says what was waited for."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


def goaway(
    *arguments: str, timeout_s: float = 60.0, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of `goaway` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        check=False,
    )


def processes_on(folder: Path) -> dict[int, str]:
    """Process ids whose command line or working folder names this folder, with their command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            where = str((entry / "cwd").readlink())
        except OSError:
            continue  # it ended meanwhile
        if line and (str(folder) in line or where.startswith(str(folder))):
            found[int(entry.name)] = line.strip()
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


class RunningUp:
    """One `goaway up` on a data folder of its own; entering starts it and waits until it is ready.

    `listen`: what is given as `--policy-listen`, a free port of 127.0.0.1 by default. `policy` is the text
    of policy.toml. Leaving stops it, with force where it does not end, and does not judge.
    """

    def __init__(
        self,
        folder: Path,
        *logs: Path,
        listen: str = "",
        policy: str = "",
        clickhouse: str = "none",
        broker: str = "tansu",
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.data = folder / "data"
        self.listen = listen or f"inet:127.0.0.1:{free_port()}"
        self.output_path = folder / "up.out"
        self.clickhouse = clickhouse
        self._logs = logs
        self._environ = dict(environ or {})
        self._arguments = ["--data", str(self.data), "--policy-listen", self.listen, "--broker", broker]
        self._arguments += ["--clickhouse", clickhouse, *arguments]
        if policy:
            (folder / "policy.toml").write_text(policy)
            self._arguments += ["--policy", str(folder / "policy.toml")]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", "streams.cli", "up", *self._arguments, *map(str, self._logs)]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_path.read_text("utf-8", "replace") if self.output_path.exists() else ""

    @property
    def pid(self) -> int:
        """Process id of `up` itself."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it; does not wait."""
        with self.output_path.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **self._environ},
            )

    def start_again(self) -> None:
        """Stop it in order and start it on the same data folder; returns when it is ready."""
        assert self.stop() == 0, self.explain()
        for file in (self.data / "status").glob("*.json"):
            file.unlink()  # what the former stages said would pass for the new ones
        self.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every stage works: partitions taken, decisions read, log followed, rows stored."""
        until(self._ready, lambda: f"the pipeline:\n{self.explain()}", seconds=READY_S)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended with {self._process.poll()}:\n{self.explain()}"
        stages = {"shim": self.facts("shim")}
        if self._logs:
            stages["ship"] = self.facts("ship")
        if self.clickhouse != "none":
            stages["sink"] = self.facts("sink")
        return (
            all(stages.values())
            and stages["shim"].get("caught_up") is True
            and sum(int(facts.get("partitions") or 0) for facts in self.workers()) == PARTITIONS
        )

    def workers(self) -> list[dict[str, Fact]]:
        """What each worker last said of itself."""
        return [
            facts
            for file in (self.data / "status").glob("worker*.json")
            if (facts := read_status(file)) is not None
        ]

    def facts(self, stage: str) -> dict[str, Fact]:
        """What a stage last said of itself; nothing where that is not of this start."""
        return read_status(self.data / "status" / f"{stage}.json") or {}

    def part_pid(self, part: str) -> int:
        """Process id of a stage, of `broker` or of `clickhouse`; 0 where it does not run."""
        words = {"broker": "tansu broker", "clickhouse": "streams.embedded.clickhouse"}.get(
            part, f"status/{part}.json"
        )
        # the watcher that a leash leaves behind has the same arguments
        return next(
            (
                pid
                for pid, line in processes_on(self.data).items()
                if words in line and "leash.py" not in line and " up " not in line
            ),
            0,
        )

    @property
    def kafka(self) -> KafkaSettings:
        """Its broker."""
        return KafkaSettings(bootstrap=json.loads((self.data / "up.json").read_text())["kafka"])

    def goaway(self, *arguments: str, code: int = 0) -> str:
        """What a command prints, run on this data folder; its exit code is checked."""
        done = goaway(*arguments, environ={"GOAWAY_DATA": str(self.data), "COLUMNS": "80"})
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr, self.explain())
        return done.stdout + done.stderr

    def explained(self, address: str) -> dict[str, Any]:
        """`goaway explain ADDRESS --json`."""
        found: dict[str, Any] = json.loads(self.goaway("explain", address, "--json"))
        return found

    def run_advice(self, command: str) -> str:
        """Run a command as `goaway explain` printed it."""
        program, *arguments = shlex.split(command)
        assert program == "goaway"
        return self.goaway(*arguments)

    def connect(self) -> socket.socket:
        """A connection to the policy service."""
        kind, _, where = self.listen.partition(":")
        if kind == "unix":
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(5.0)
            peer.connect(where)
            return peer
        host, _, port = where.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=5.0)

    def ask(self, address: str, stage: str = "CONNECT", /, **attributes: str) -> str:
        """The shim's answer about this client, or why there was none."""
        try:
            with self.connect() as peer:
                return ask(peer, address, stage, **attributes)
        except (OSError, IndexError) as error:
            return f"no answer ({error})"

    def wait_answer(self, address: str, answer: str = REFUSED, *, seconds: float = 30.0) -> None:
        """Wait until the shim answers so about this client."""
        until(
            lambda: self.ask(address) == answer,
            lambda: f"{answer!r} about {address}, still {self.ask(address)!r}\n{self.explain()}",
            seconds=seconds,
        )

    def explain(self) -> str:
        """Output and the ends of all logs, for an error's text."""
        told = [self.output[-3000:]]
        for log in sorted((self.data / "log").glob("*.log")):
            told.append(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-1500:]}")
        for file in sorted((self.data / "status").glob("*.json")):
            told.append(f"--- {file.stem}: {json.dumps(self.facts(file.stem))}")
        return "\n".join(told)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to `up` alone."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM; the exit code. Raises `subprocess.TimeoutExpired` where it does not end in time."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def assert_nothing_left(self, *, seconds: float = 1.0) -> None:
        """No process on its folder, nobody on its policy address."""
        until(
            lambda: not processes_on(self.data),
            lambda: f"the end of {processes_on(self.data)}",
            seconds=seconds,
        )
        kind, _, where = self.listen.partition(":")
        if kind == "unix":
            assert not Path(where).exists()
        else:
            assert not listens(int(where.rpartition(":")[2]))

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop it, with force where it does not end; nothing to do where it has."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2 * STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class WrittenLog:
    """A Postfix log that a test writes, line by line, in the form of Postfix 3.7 behind rsyslog."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._session = 20_000
        self._queue_id = 0xA00000

    def connect(self, address: str, times: int, *, ago_s: float = 0.0) -> None:
        """That many connections of this client that stay open, each of an smtpd process of its own."""
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        self._write([[f"connect from unknown[{address}]"] for _ in range(times)], at)

    def request(self, address: str, times: int, *, helo: bool = True) -> None:
        """That many connections, one after the other, each with one message that is taken."""
        verbs = "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5" if helo else "mail=1 rcpt=1 data=1 commands=3"
        sessions = []
        for _ in range(times):
            self._queue_id += 1
            taken = f"{self._queue_id:X}: client=unknown[{address}]"
            left = f"disconnect from unknown[{address}] {verbs}"
            sessions.append([f"connect from unknown[{address}]", taken, left])
        self._write(sessions, datetime.now(UTC))

    def deferred(self, address: str, sender: str, recipient: str, answer: str) -> None:
        """A connection whose only recipient was put off with this answer of the shim."""
        code, status, reason = answer.split(" ", 2)
        refused = (
            f"NOQUEUE: reject: RCPT from unknown[{address}]: {code} {status} <{recipient}>: "
            f"Recipient address rejected: {reason}; from=<{sender}> to=<{recipient}> "
            "proto=ESMTP helo=<mail.example.com>"
        )
        left = f"disconnect from unknown[{address}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"
        self._write([[f"connect from unknown[{address}]", refused, left]], datetime.now(UTC))

    def _write(self, sessions: list[list[str]], at: datetime) -> None:
        lines = []
        for session in sessions:
            self._session += 1
            for text in session:
                at += timedelta(microseconds=1)
                stamp = at.isoformat(timespec="microseconds")
                lines.append(f"{stamp} mx1 postfix/smtpd[{self._session}]: {text}\n")
        with self.path.open("a") as log:
            log.write("".join(lines))

"""The embedded ClickHouse as its parent sees it: a child process to start, watch and stop."""

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from streams.config import ClickHouseSettings
from streams.errors import UnavailableError

USER: Final = "default"
DATABASE: Final = "goaway"
HOST: Final = "127.0.0.1"
READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
_MAX_READY_BYTES: Final = 64 * 1024


class EmbeddedClickHouse:
    """One ClickHouse on one folder, on loopback, behind a random password.

    The child ends with its parent, even where that is killed. Not for use by several threads at once.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.log: Path | None = None

    def start(self, folder: Path, *, port: int = 0, password: str | None = None) -> ClickHouseSettings:
        """Start it and wait until clients are welcome; returns how to reach it.

        The folder is made where it is missing. Port 0 is one that is free; the password is random where none
        is given (no line breaks in it). Raises `UnavailableError`: folder held, port taken, engine missing.
        """
        if self.alive():
            raise RuntimeError("already started")
        secret = secrets.token_urlsafe(24) if password is None else password
        if not secret or "\n" in secret:
            raise ValueError("a password is one line, and not empty")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = folder / "clickhouse.log"
        read_end, write_end = os.pipe()
        try:
            self._child = self._spawn(folder, port, write_end)
        finally:
            os.close(write_end)
        try:
            with contextlib.suppress(BrokenPipeError):  # a child that is gone already says why
                _standard_input(self._child).write(secret.encode() + b"\n")
                _standard_input(self._child).flush()
            ready = self._await_ready(read_end)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(read_end)
        return ClickHouseSettings(host=HOST, port=ready, user=USER, password=secret, database=DATABASE)

    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return None if self._child is None else self._child.pid

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Stop it, with force after `timeout_s`; the exit code, or None where it was not started."""
        child = self._child
        if child is None:
            return None
        with contextlib.suppress(OSError):
            _standard_input(child).close()
        if child.poll() is None:
            child.terminate()
        try:
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()
        finally:
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, folder: Path, port: int, ready_fd: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "streams.embedded.clickhouse", "--data", str(folder.resolve())]
        command += ["--ready-fd", str(ready_fd), "--port", str(port), "--user", USER, "--database", DATABASE]
        log = os.open(folder / "clickhouse.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(ready_fd,), bufsize=-1
            )
        finally:
            os.close(log)

    def _await_ready(self, read_end: int) -> int:
        told = _read_line(read_end, READY_TIMEOUT_S)
        if told is None:
            raise UnavailableError(
                f"ClickHouse was not ready within {READY_TIMEOUT_S:.0f} s", try_next=f"cat {self.log}"
            )
        if not told:
            raise UnavailableError("ClickHouse ended before it was ready", try_next=f"cat {self.log}")
        answer = json.loads(told)
        if "error" in answer:
            raise UnavailableError(answer["error"], try_next=answer["try_next"])
        return int(answer["port"])


def _standard_input(child: subprocess.Popen[bytes]) -> IO[bytes]:
    if child.stdin is None:
        raise RuntimeError("the child was started without a standard input")
    return child.stdin


def _read_line(file: int, timeout_s: float) -> bytes | None:
    """A line, or what came before the end of file; None after `timeout_s`."""
    until = time.monotonic() + timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < _MAX_READY_BYTES:
            if not selector.select(max(0.0, until - time.monotonic())):
                return None
            chunk = os.read(file, 4096)
            if not chunk:
                break
            line += chunk
    return line

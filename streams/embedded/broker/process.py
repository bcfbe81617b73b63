"""A server process on loopback: started on a leash, waited for, measured, stopped."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from streams.config import KafkaSettings
from streams.embedded.broker import leash
from streams.errors import UnavailableError
from streams.kafka import admin

LOOPBACK: Final = "127.0.0.1"
_TAIL_BYTES: Final = 65536
_TAIL_LINES: Final = 3
_LINE_CHARACTERS: Final = 200
_CAUSE: Final = re.compile(r"\b(ERROR|FATAL|panicked|Error:|\w*Exception)\b")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def refuse_taken_port(port: int) -> None:
    """`UnavailableError` when somebody else listens on that port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise UnavailableError(
                f"port {port} of {LOOPBACK} cannot be listened on ({error.strerror})",
                try_next=f"ss -ltnp 'sport = :{port}', or another port",
            ) from error


def rss_bytes(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when there is none of that id."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        pass
    with contextlib.suppress(OSError, ValueError):
        asked = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
        )
        return int(asked.stdout.strip() or 0) * 1024
    return 0


def log_tail(log: Path) -> str:
    """The last words of a log file on one line, bounded and printable: of its errors, where it names any."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "its log cannot be read"
    said = [line.strip() for line in lines if line.strip()]
    # a Java trace ends with frames that nobody needs; what was thrown stands above them
    said = [line for line in said if not line.startswith("at ")] or said
    said = [line for line in said if _CAUSE.search(line)] or said
    shown = " | ".join(line[:_LINE_CHARACTERS] for line in said[-_TAIL_LINES:])
    return "".join(c if c.isprintable() else "?" for c in shown) or "it said nothing"


class ServerProcess:
    """One program with its log; the same object can start it again after it ended."""

    def __init__(self, name: str, *, log: Path, own_log: Path | None = None) -> None:
        """`log` is emptied at each start and takes what the program writes to stdout and stderr.

        `own_log` is a file that the program writes by itself; it explains a failure when `log` is empty.
        """
        self.name = name
        self.log = log
        self._own_log = own_log or log
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Id of the program's process, and of its process group; None before the first start."""
        return self._running.pid if self._running else None

    def start(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        """Run the command (its first word an absolute path) in that folder, with that environment only."""
        on_leash = [sys.executable, "-I", "-S", str(Path(leash.__file__)), str(os.getpid()), *command]
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(
                on_leash,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=dict(environment),
                process_group=0,
            )

    def alive(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.poll() is None

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it does not run."""
        return rss_bytes(self._running.pid) if self._running is not None and self.alive() else 0

    def stop(self, *, timeout_s: float) -> None:
        """SIGTERM to its group, SIGKILL after `timeout_s`; returns when it is gone."""
        running = self._running
        if running is None or running.poll() is not None:
            return
        os.killpg(running.pid, signal.SIGTERM)
        try:
            running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    def wait_for_kafka(self, port: int, *, cluster: str, timeout_s: float) -> None:
        """Return when this very cluster answers on that port; or stop it and raise `UnavailableError`."""
        deadline = time.monotonic() + timeout_s
        try:
            # librdkafka waits longer and longer between attempts; a plain connect finds the moment
            while not _accepts(port):
                self._refuse_late(deadline)
                time.sleep(0.02)
            while (found := _cluster(port)) is None:
                self._refuse_late(deadline)
            # a program that took the port first must not be mistaken for ours
            if found != cluster:
                raise UnavailableError(
                    f"port {port} of {LOOPBACK} is answered by another Kafka",
                    try_next=f"ss -ltnp 'sport = :{port}', or another port",
                )
        except BaseException:
            self.stop(timeout_s=1.0)
            raise

    def _refuse_late(self, deadline: float) -> None:
        log = self.log if self.log.stat().st_size else self._own_log
        if not self.alive():
            raise UnavailableError(
                f"broker {self.name} ended while starting ({log_tail(log)})", try_next=f"less {log}"
            )
        if time.monotonic() > deadline:
            raise UnavailableError(f"broker {self.name} does not answer", try_next=f"less {log}")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _cluster(port: int) -> str | None:
    settings = KafkaSettings(bootstrap=f"{LOOPBACK}:{port}")
    try:
        answer = admin(settings).list_topics(timeout=1.0).cluster_id
    except KafkaException:
        return None
    return str(answer)

"""Receive the log of a private Postfix as a syslog daemon would, on a clock that can skip waiting time."""

import datetime
import re
import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

from tests.e2e.postfix_setup import LabDirectories

_CLASSIC_STAMP: Final = len("Nov 24 12:29:06 ")
_QUIET_S: Final = 0.12
_LOOPBACK: Final = re.compile(rb"\b127\.1\.(2|51|113)\.(\d{1,3})\b")
_DOCUMENTATION: Final = {b"2": b"192.0.2", b"51": b"198.51.100", b"113": b"203.0.113"}


class Journal:
    """The lines that Postfix logs while this is entered, each with the time at which it arrived.

    `skip(seconds)` moves the clock on without waiting; nothing else separates it from the real one.
    Times never repeat and never run backwards. Every line is bytes without its line end.
    """

    def __init__(self, where: LabDirectories, ports: dict[int, int]) -> None:
        postlog = where.postlog
        self._folders = {
            str(where.config).encode(): b"/etc/postfix",
            str(where.data).encode(): b"/var/lib/postfix",
        }
        self._names = {f"{port}".encode(): f"{known}".encode() for port, known in ports.items()}
        self._own_port = re.compile(rb"(\]:|for service )(" + b"|".join(self._names) + rb")\b")
        self._begun = time.monotonic()
        self._start = datetime.datetime.now(datetime.UTC)
        self._skipped = 0.0
        self._last = self._start
        self._arrived = time.monotonic()
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(postlog))
        postlog.chmod(0o666)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning on the journal's clock: real ones and skipped ones."""
        return time.monotonic() - self._begun + self._skipped

    def skip(self, seconds: float) -> None:
        """Let this much time pass at once, after everything under way has been logged."""
        self.settle()
        with self._lock:
            self._skipped += max(0.0, seconds)

    def settle(self) -> None:
        """Wait until Postfix has been silent for a moment."""
        self._arrived = max(self._arrived, time.monotonic() - _QUIET_S / 2)
        while (left := self._arrived + _QUIET_S - time.monotonic()) > 0:
            time.sleep(left)

    def take(self) -> list[bytes]:
        """The lines since the last call."""
        self.settle()
        with self._lock:
            taken, self._lines = self._lines, []
        return taken

    def __enter__(self) -> Self:
        threading.Thread(target=self._receive, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                octets = self._socket.recv(65536)
            except OSError:
                return
            with self._lock:
                self._arrived = time.monotonic()
                now = self._start + datetime.timedelta(seconds=self.elapsed_s)
                self._last = max(now, self._last + datetime.timedelta(microseconds=1))
                stamp = self._last.isoformat(timespec="microseconds").encode()
                self._lines.append(stamp + b" " + self._public(octets.rstrip(b"\n")[_CLASSIC_STAMP:]))

    def _public(self, line: bytes) -> bytes:
        """Documentation addresses for loopback ones, the usual ports and folders for the lab's."""
        line = _LOOPBACK.sub(lambda found: _DOCUMENTATION[found[1]] + b"." + found[2], line)
        line = line.replace(b"[127.0.0.1]", b"[203.0.113.25]").replace(b"[::1]", b"[2001:db8:25::7]")
        for ours, usual in self._folders.items():
            line = line.replace(ours, usual)
        return self._own_port.sub(lambda found: found[1] + self._names[found[2]], line)

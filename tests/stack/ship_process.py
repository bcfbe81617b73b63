"""A shipper in a process of its own, to be stopped and killed: `python -m tests.stack.ship_process …`."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC
from pathlib import Path

from streams.config import KafkaSettings, Settings
from streams.model.client import ClientPrefixes
from streams.ship.run import follow
from streams.status import Fact, StatusFile, read_status


def main(address: str, state: str, *files: str) -> None:
    """Follow until SIGTERM."""
    logging.basicConfig(format="%(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Path(state).mkdir(parents=True, exist_ok=True)
    (Path(state) / f"listening-{os.getpid()}").touch()
    follow(
        Settings(kafka=KafkaSettings(bootstrap=address)),
        [Path(file) for file in files],
        state=Path(state),
        zone=UTC,
        prefixes=ClientPrefixes(),
        status=StatusFile(Path(state) / "status.json"),
        stop=stop,
    )


class ShipProcess:
    """The same shipper started again and again on one state folder."""

    def __init__(self, address: str, state: Path, *files: Path) -> None:
        self._state = state
        self._command = [
            sys.executable,
            "-m",
            "tests.stack.ship_process",
            address,
            str(state),
            *map(str, files),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._said = state.parent / "shipper.err"

    def start(self) -> None:
        """Run it."""
        with self._said.open("ab") as err:
            self._process = subprocess.Popen(self._command, stderr=err)

    def kill(self) -> None:
        """As a power failure would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """In order; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if how == signal.SIGTERM:  # before its handler stands, a signal ends it as any program
            deadline = time.monotonic() + 20
            while not (self._state / f"listening-{process.pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, how)
        return process.wait(timeout=30)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """Its stderr so far."""
        return self._said.read_text() if self._said.exists() else ""

    def status(self) -> dict[str, Fact]:
        """What it says of itself; empty as long as only its predecessor has spoken."""
        facts = read_status(self._state / "status.json") or {}
        return facts if self._process is not None and facts.get("pid") == self._process.pid else {}

    def rss_bytes(self) -> int:
        """Resident memory."""
        if self._process is None:
            return 0
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(*sys.argv[1:])

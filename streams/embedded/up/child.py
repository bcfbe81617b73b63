"""One stage as a child process: started on a leash, restarted with back-off, stopped in peace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.embedded.broker import leash

BACK_OFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before the first, second, … restart in a row; the last one from then on."""

STEADY_S: Final = 60.0
"""A child that ran this long starts again at the first pause."""


class Child:
    """A command of `goaway` that runs until it is stopped, or once (`once`).

    Its output goes to `log`. Secrets travel in its environment, never in its arguments.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        log: Path,
        once: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self.once = once
        self.exit_code: int | None = None
        self._arguments = list(arguments)
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._in_a_row = 0
        self._start_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The stage's process id while it runs."""
        return self._process.pid if self._process is not None and self.exit_code is None else None

    @property
    def running_s(self) -> float:
        """Seconds since the present start; 0 when it does not run."""
        return time.monotonic() - self._started if self.pid else 0.0

    def start(self) -> None:
        """Run it now."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "streams.cli", *self._arguments]
        on_leash = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                on_leash,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started, self.exit_code, self._start_at = time.monotonic(), None, None

    def look(self) -> str:
        """Notice an end, restart when the pause is over; what there is to say, or nothing."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.restarts += 1
                self.start()
                return "started again"
            return ""
        if self._process is None or self.exit_code is not None:
            return ""
        self.exit_code = self._process.poll()
        if self.exit_code is None:
            return ""
        if self.once:
            return "done" if self.exit_code == 0 else f"ended with {self.exit_code}: see {self.log}"
        self._in_a_row = 0 if now - self._started > STEADY_S else self._in_a_row
        pause = BACK_OFF_S[min(self._in_a_row, len(BACK_OFF_S) - 1)]
        self._in_a_row += 1
        self._start_at = now + pause
        how = f"signal {-self.exit_code}" if self.exit_code < 0 else f"code {self.exit_code}"
        return f"ended with {how}, starts again in {pause:g} s; see {self.log}"

    def stop(self, *, timeout_s: float = 12.0) -> None:
        """SIGTERM, and SIGKILL after the timeout; no restart any more."""
        self._start_at = None
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()

    def pause(self) -> None:
        """Kill it, which every stage survives without loss, and leave it so until `resume` or `start`."""
        self._start_at = None
        if self._process is not None and self.exit_code is None:
            self._process.kill()
            self.exit_code = self._process.wait()

    def resume(self) -> None:
        """Start it at once, outside the back-off."""
        self.restarts += 1
        self.start()

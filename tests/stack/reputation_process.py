"""The reputation stage as a process of its own, for tests and benchmarks, followed by its status file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
PARTITIONS: Final = 4
RUN: Final = "from streams.cli.reputation import reputation; reputation()"


class StageProcess:
    """`goaway reputation`, killed when the context ends."""

    def __init__(self, folder: Path, kafka: str, policy_text: str) -> None:
        self.log = folder / "reputation.log"
        self._status = folder / "reputation.json"
        policy = folder / "policy.toml"
        policy.write_text(policy_text)
        self._arguments = [
            "--policy", str(policy), "--status-file", str(self._status),
            "--state", str(folder / "state"), "--instance", "r1",
        ]  # fmt: skip
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "GOAWAY_KAFKA": kafka}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it (again); it has its partitions when this returns."""
        self._status.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUN, *self._arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd=ROOT,
            )  # fmt: skip
        self.wait_for(lambda facts: facts.get("partitions") == PARTITIONS)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def terminate(self, timeout_s: float) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout_s)

    def wait_for(self, true: Callable[[dict[str, Any]], bool], timeout_s: float = 60) -> dict[str, Any]:
        """Wait until its facts are such; they then."""
        deadline, facts = time.monotonic() + timeout_s, dict[str, Any]()
        while True:
            if self._status.exists():
                facts = dict(json.loads(self._status.read_text()))
                if true(facts):
                    return facts
            assert self._process is not None
            assert self._process.poll() is None and time.monotonic() < deadline, (
                f"{facts}\n{self.log.read_text()}"
            )
            time.sleep(0.05)

"""A worker as a process of its own, for tests and benchmarks: the real one, followed by its status file."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from streams.agents.run import run_worker
from streams.cli.options import start_logging
from streams.config import KafkaSettings, Settings
from streams.errors import GoawayError
from streams.model.standing import PolicyIndex
from streams.status import Fact, StatusFile
from streams.wire.policy_toml import read_policy

ROOT: Final = Path(__file__).resolve().parent.parent.parent
EMBEDDED_SESSION_S: Final = 2.0
"""The embedded broker lets a joining worker wait for half of it."""

APACHE_SESSION_S: Final = 6.0


class WorkerProcess:
    """Starts the worker; killed when the context ends. `policy` is the text of policy.toml.

    `kafka` is an address, or settings for a broker with TLS and SASL; these go through the environment.
    `before` is a command that starts the command after it, such as `taskset`.
    """

    def __init__(
        self,
        folder: Path,
        kafka: str | KafkaSettings,
        *,
        policy: str = "",
        instance: str = "",
        session_s: float = APACHE_SESSION_S,
        before: Sequence[str] = (),
    ) -> None:
        name = instance or f"worker-{os.urandom(3).hex()}"
        self.status = folder / f"{name}.json"
        self.log = folder / f"{name}.log"
        settings = kafka if isinstance(kafka, KafkaSettings) else KafkaSettings(bootstrap=kafka)
        self._arguments = [instance, str(session_s), str(self.status), policy]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WORKER_KAFKA": json.dumps({name: getattr(settings, name) for name in KafkaSettings.__slots__}),
        }
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "tests.stack.worker_process", *self._arguments],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
            )

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def terminate(self, timeout_s: float) -> int:
        """SIGTERM once it has started (before, it ends by the signal); its exit code, or `TimeoutExpired`."""
        assert self._process is not None
        deadline = time.monotonic() + 30
        while not self.facts() and self.ended() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def ended(self) -> int | None:
        """Exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def facts(self) -> dict[str, Fact]:
        """What this process last wrote of itself."""
        try:
            facts: dict[str, Fact] = json.loads(self.status.read_text())
        except FileNotFoundError:
            return {}
        return facts if facts.get("pid") == self.pid else {}

    def wait_for(self, name: str, value: Fact, timeout_s: float = 60.0) -> dict[str, Fact]:
        """Wait until a fact has this value, or fail with the log; all facts then."""
        deadline = time.monotonic() + timeout_s
        while (facts := self.facts()).get(name) != value:
            assert self.ended() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{name} != {value}: {facts}\n{self.log.read_text()}"
            time.sleep(0.05)
        return facts

    def wait_for_partitions(self, count: int) -> None:
        """Wait until it has that many, or fail with its log."""
        self.wait_for("partitions", count)


def main() -> int:
    """Run a worker as the command line does."""
    instance, session_s, status, policy = sys.argv[1:]
    start_logging()
    settings = Settings(kafka=KafkaSettings(**json.loads(os.environ["WORKER_KAFKA"])))
    try:
        run_worker(
            settings,
            PolicyIndex(read_policy(policy)),
            status=StatusFile(Path(status)),
            instance=instance,
            session_timeout_s=float(session_s),
        )
    except GoawayError as error:
        logging.getLogger("worker").critical("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

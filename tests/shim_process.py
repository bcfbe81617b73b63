"""A shim as a process of its own, for tests: the real server, followed by its status file."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

from streams.config import KafkaSettings, Settings
from streams.model.standing import PolicyIndex
from streams.shim.run import run_shim
from streams.status import Fact, StatusFile
from streams.wire.policy_toml import read_policy

NO_KAFKA: Final = "127.0.0.1:9"
"""The discard port: nobody listens."""

_PATIENCE_S: Final = 30.0


class ShimProcess:
    """Runs the shim with these listen addresses; a context manager. `policy` is the text of policy.toml."""

    def __init__(
        self,
        folder: Path,
        *listen: str,
        kafka: str = NO_KAFKA,
        policy: str = "",
        max_connections: int = 100,
    ) -> None:
        self._status = folder / "shim.json"
        self.log = folder / "shim.log"
        self._arguments = [kafka, policy, str(max_connections), str(self._status), *listen]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shim_process", *self._arguments],
                stderr=log,
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PYTHONPATH": "."},
            )
        self.wait_for("pid", self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def facts(self) -> dict[str, Fact]:
        """What the shim last wrote of itself."""
        try:
            facts: dict[str, Fact] = json.loads(self._status.read_text())
        except FileNotFoundError:
            return {}
        return facts

    def wait_for(self, name: str, value: Fact) -> None:
        """Wait until a fact has this value, or fail with the log."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.facts().get(name) != value:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{name} != {value}: {self.facts()}\n{self.log.read_text()}"
            time.sleep(0.02)

    def connect(self) -> socket.socket:
        """A connection to the first listen address."""
        kind, _, where = str(self.facts()["listening"]).split(", ")[0].partition(":")
        if kind == "unix":
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(where)
        else:
            host, _, port = where.rpartition(":")
            peer = socket.create_connection((host.strip("[]"), int(port)))
        peer.settimeout(_PATIENCE_S)
        return peer

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_PATIENCE_S)


def asked(address: str, stage: str = "CONNECT", /, **attributes: str) -> bytes:
    """A request as short as one can be, and these attributes."""
    more = "".join(f"{name}={value}\n" for name, value in attributes.items())
    return f"request=smtpd_access_policy\nprotocol_state={stage}\nclient_address={address}\n{more}\n".encode()


def ask(peer: socket.socket, address: str, stage: str = "CONNECT", /, **attributes: str) -> str:
    """One answer, without `action=`."""
    peer.sendall(asked(address, stage, **attributes))
    return read_answers(peer, 1)[0]


def read_answers(peer: socket.socket, count: int) -> list[str]:
    """That many answers, or as many as come before the connection ends."""
    got = b""
    while got.count(b"\n\n") < count and (chunk := peer.recv(65536)):
        got += chunk
    return [answer.removeprefix("action=") for answer in got.decode().split("\n\n")[:-1]]


def _main(kafka: str, policy: str, max_connections: str, status: str, *listen: str) -> None:
    import logging

    logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
    run_shim(
        Settings(kafka=KafkaSettings(bootstrap=kafka)),
        PolicyIndex(read_policy(policy)),
        listen,
        status=StatusFile(Path(status)),
        max_connections=int(max_connections),
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])

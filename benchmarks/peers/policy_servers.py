"""The policy servers that `shim.py` compares, each on a free loopback port, with a simple configuration."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
LOAD: Final = ROOT / "benchmarks" / "_policy_load.py"
POSTFWD_RULES: Final = Path(__file__).with_name("postfwd.cf")
PID_FILE: Final = "pid"
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """One server: how to start it on a port with a folder of its own, and what version it says it is."""

    name: str
    command: Callable[[int, Path], list[str]]
    program: str = ""
    """The program it needs; empty where Python is enough."""

    @property
    def is_here(self) -> bool:
        """Whether this machine has it."""
        return not self.program or shutil.which(self.program, path=_PATH) is not None


def shim(kafka: str, name: str = "goaway shim") -> PolicyServer:
    """Our own, following this Kafka."""
    return PolicyServer(
        name,
        lambda port, folder: [
            sys.executable, "-m", "benchmarks.peers.shim_server", kafka, str(port), str(folder / "shim.json"),
        ],
    )  # fmt: skip


NULL: Final = PolicyServer(
    "null server", lambda port, _: [sys.executable, str(LOAD), "null", "127.0.0.1", str(port)]
)
"""Not a peer: the ceiling of the load generator."""

POSTFWD: Final = PolicyServer(
    "postfwd 2",
    lambda port, folder: [
        "postfwd2", "--nodns", "--perfmon", "--norulelog", "--file", str(POSTFWD_RULES),
        "--user", "nobody", "--group", "nogroup", "--interface", "127.0.0.1", "--port", str(port),
        "--cache_socket", f"unix::{folder / 'cache.sock'}", "--pidfile", str(folder / PID_FILE),
        # one child serves one connection: as many as there are connections, so that none waits
        "--min_servers", "20", "--max_servers", "40", "--min_spare_servers", "2", "--max_spare_servers", "20",
    ],
    "postfwd2",
)  # fmt: skip
"""It serves only as a daemon, so it is ended by its pid file; it logs nothing, which is its fastest."""

POSTGREY: Final = PolicyServer(
    "postgrey",
    lambda port, folder: [
        "postgrey", f"--inet=127.0.0.1:{port}", f"--dbdir={folder}", "--user=nobody", "--group=nogroup",
        f"--pidfile={folder / PID_FILE}", "--quiet",
    ],
    "postgrey",
)  # fmt: skip


@contextmanager
def running(server: PolicyServer, folder: Path) -> Iterator[int]:
    """Start it, wait until it answers; its port. Whatever it started is ended with it."""
    folder.mkdir()
    folder.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            server.command(port, folder),
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "PATH": _PATH, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, port, folder / "log")
        yield port
    finally:
        _end(process, folder / PID_FILE)


def _end(process: "subprocess.Popen[bytes]", pid_file: Path) -> None:
    """End the process, and the daemon that it may have left behind."""
    if pid_file.exists():
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    request = b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
    request += b"client_name=unknown\nsender=a@example.net\nrecipient=b@example.com\n\n"
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                peer.sendall(request)
                if peer.recv(4096).startswith(b"action="):
                    return
        except OSError:
            pass
        if process.poll() or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)

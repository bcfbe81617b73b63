"""A real Postfix of our own for tests: private directories, loopback, unprivileged ports.

The machine's own Postfix and /etc/postfix are never touched. Postfix's master needs root.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.e2e.postfix_setup import QUEUE_NAMES, LabDirectories, Ports, Setup, main_cf, master_cf
from tests.e2e.sasl import SaslServer
from tests.e2e.smtp_client import SmtpClient

POSTFIX: Final = Path("/usr/sbin/postfix")
USERS: Final = {"alice": "wonderland", "bob": "builder"}
"""The SASL users of the submission and smtps ports, with their passwords."""


def why_not() -> str:
    """Why a private Postfix cannot run here; empty where it can."""
    if not POSTFIX.exists():
        return f"no Postfix here ({POSTFIX}): apt-get install postfix"
    if os.geteuid() != 0:
        return "Postfix's master must be started by root"
    if shutil.which("openssl") is None:
        return "no openssl here, which makes the lab's certificate: apt-get install openssl"
    return ""


needs_postfix = pytest.mark.skipif(bool(why_not()), reason=f"PRIVATE POSTFIX NOT TESTED: {why_not()}")
"""Put this on a test that uses `PostfixLab`."""


class PostfixLab:
    """One private Postfix instance; a context manager: entering starts it, leaving stops and removes it.

    `root` must be reachable by the user `postfix` (pytest's tmp_path is not: it is for its owner only);
    without one, a directory is made in the system's temporary directory and removed afterwards.
    """

    def __init__(self, setup: Setup | None = None, *, root: Path | None = None) -> None:
        self._own_root = root is None
        self.where = LabDirectories(root or Path(tempfile.mkdtemp(prefix="goaway-postfix-")))
        self.setup = setup or Setup()
        self.ipv6 = _has_ipv6()
        self.ports = _free_ports()
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LANG": "C"}
        self._helpers = ExitStack()
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """The log that the instance writes (`maillog_file`)."""
        return self.where.log

    @property
    def port(self) -> int:
        """The plain smtpd port, on 127.0.0.1 and [::1]."""
        return self.ports.smtp

    def prepare(self) -> None:
        """Write the configuration and the directories, with the owners that Postfix insists on."""
        postfix = pwd.getpwnam("postfix")
        self.where.root.chmod(0o711)
        for folder in (self.where.config, self.where.log.parent, self.where.data, self.where.queue):
            folder.mkdir(exist_ok=True)
        os.chown(self.where.data, postfix.pw_uid, -1)
        for name in QUEUE_NAMES:
            folder = self.where.queue / name
            folder.mkdir(mode=0o711 if name in ("public", "maildrop") else 0o700, exist_ok=True)
            os.chown(folder, 0 if name == "pid" else postfix.pw_uid, -1)
        inside = self.where.queue / "etc"
        inside.mkdir(exist_ok=True)
        hosts = "".join(f"{address} {name}\n" for address, name in self.setup.names.items())
        (inside / "hosts").write_text(hosts)
        (inside / "nsswitch.conf").write_text("hosts: files\n")
        make_certificate(self.where.certificate)
        self._write_configuration()

    def start(self) -> None:
        """Start it; returns when it answers. Raises `RuntimeError` with the end of its log if it does not."""
        self.prepare()
        self._helpers.enter_context(SaslServer(self.where.auth, USERS))
        daemons = self._ask("daemon_directory")
        self._master = subprocess.Popen(
            [f"{daemons}/master", "-c", str(self.where.config)],
            env=self.environment | {"MAIL_CONFIG": str(self.where.config)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(self._answers, "Postfix to answer")
        except (RuntimeError, TimeoutError) as failed:
            self.stop()
            raise RuntimeError(f"Postfix did not start: {failed}\n{self.log_tail()}") from None

    def stop(self) -> None:
        """Stop it, with all of its processes. Idempotent."""
        if self._master is not None:
            self._master.terminate()
            self._master.wait(timeout=10)
            self._master = None
        self._helpers.close()

    def reload(self, setup: Setup | None = None) -> None:
        """Take another setup into use (names and certificate stay), as `postfix reload` does."""
        self.setup = replace(setup or self.setup, names=self.setup.names)
        self._write_configuration()
        if self._master is not None:
            self._master.send_signal(signal.SIGHUP)

    def client(self, source: str = "127.0.0.1", *, port: int = 0, timeout_s: float = 10.0) -> SmtpClient:
        """A connection from `source` (`::1` for IPv6) to `port`, by default the plain smtpd's."""
        host = "::1" if ":" in source else "127.0.0.1"
        return SmtpClient(host, port or self.port, source=source, timeout_s=timeout_s)

    def log(self) -> str:
        """What has been logged so far."""
        return self.log_path.read_text("utf-8", "backslashreplace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        """The last lines of the log, for an error's text."""
        return "\n".join(self.log().splitlines()[-15:])

    def wait_for_log(self, wanted: str, *, times: int = 1) -> str:
        """The log, once `wanted` stands in it that often. Raises `TimeoutError` with the log's end."""
        try:
            wait_until(lambda: self.log().count(wanted) >= times, f"{wanted!r} in the log")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.log_tail()}") from None
        return self.log()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._own_root:
            shutil.rmtree(self.where.root, ignore_errors=True)

    def _answers(self) -> bool:
        if self._master is not None and (code := self._master.poll()) is not None:
            raise RuntimeError(f"its master ended with exit code {code}")
        return _listens(self.ports.smtp) and (self.where.queue / "pid" / "master.pid").exists()

    def _write_configuration(self) -> None:
        texts = {
            "main.cf": main_cf(self.setup, self.where, ipv6=self.ipv6),
            "master.cf": master_cf(self.setup, self.ports),
        }
        for name, text in texts.items():
            path = self.where.config / name
            path.write_text(text)
            # Postfix waits, up to two seconds, until a file it reads has not been written to lately.
            os.utime(path, (0, time.time() - 60))

    def _ask(self, parameter: str) -> str:
        command = ["/usr/sbin/postconf", "-c", str(self.where.config), "-h", parameter]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def make_certificate(path: Path) -> None:
    """A throw-away key and self-signed certificate in one PEM file."""
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=mx1.example.org -keyout {path} -out {path}.crt".split(),
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + path.with_name(path.name + ".crt").read_text())
    path.chmod(0o600)


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = 10.0) -> None:
    """Wait until it holds; `TimeoutError` names what was waited for."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.005)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    """Whether 127.0.0.1:port is listened on, without connecting: a probe would show up in the log."""
    wanted = f" 0100007F:{port:04X} 00000000:0000 0A "
    return wanted in Path("/proc/net/tcp").read_text()


def _free_ports() -> Ports:
    with ExitStack() as held:
        free: list[int] = []
        for _ in range(4):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            free.append(int(probe.getsockname()[1]))
    return Ports(smtp=free[0], postscreen=free[1], submission=free[2], smtps=free[3])

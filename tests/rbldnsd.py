"""A real rbldnsd on a loopback port, with zones that a test writes; killed and started again at will."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.parts import program

ENTRIES: Final = "127.0.0.2\n"
"""The test entry of an IPv4 zone; what it does not list, 127.0.0.1 among them, is not listed."""
ENTRIES_IPV6: Final = "0:0:0:0:0:ffff:7f00:2/128 :127.0.0.2:test\n"

_START_S: Final = 10.0


def zone_file(entries: str, *, ttl_s: int = 2100, absent_s: int = 600, code: str = "127.0.0.2") -> str:
    """A zone's file: entries one a line (`192.0.2.0/24`, `192.0.2.7 :4:why` for 127.0.0.4), all by `code`
    where they name none; TTL of its answers and of their absence."""
    soa = f"$SOA {absent_s} ns.example admin.ns.example 1 600 600 600 {absent_s}"
    return f"$TTL {ttl_s}\n{soa}\n$NS {ttl_s} ns.example\n:{code}:listed $\n{entries}"


class Rbldnsd:
    """Serves zones, `domain → (type, file)`; killed when the context ends.

    Types are rbldnsd's own: `ip4set`, `ip4trie`, `ip6trie`, `generic` (A, MX records by name).
    """

    def __init__(self, zones: Mapping[str, tuple[str, str]]) -> None:
        self._zones = dict(zones)
        self._folder = Path(tempfile.mkdtemp(prefix="goaway-rbldnsd-"))
        self._folder.chmod(0o755)  # it reads as another user than root
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def address(self) -> str:
        """For `[reputation] resolvers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def queries(self) -> list[str]:
        """Names that were asked for, in order, since the last start."""
        log = self._folder / "queries.log"
        return [line.split()[2] for line in log.read_text().splitlines()] if log.exists() else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, domain: str, file: str) -> None:
        """Replace a zone's file; it is served within two seconds."""
        kind, _ = self._zones[domain]
        self._zones[domain] = (kind, file)
        beside = self._folder / f".{secrets.token_hex(4)}"
        beside.write_text(file)
        beside.replace(self._folder / domain)

    def start(self, *, log_queries: bool = True) -> None:
        """Start it (again), on the same port; it answers when this returns."""
        for domain, (_, file) in self._zones.items():
            self.write(domain, file)
        (self._folder / "queries.log").unlink(missing_ok=True)
        command = [program("rbldnsd") or "rbldnsd", "-n", "-c", "1s", "-w", str(self._folder)]
        if os.geteuid() == 0:
            self._folder.chmod(0o777)
            command += ["-u", "nobody"]
        if log_queries:
            command += ["-l", "+queries.log"]
        command += ["-b", f"127.0.0.1/{self.port}"]
        specs = [f"{domain}:{kind}:{domain}" for domain, (kind, _) in self._zones.items()]
        said = self._folder / "rbldnsd.log"
        with said.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *specs], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while "started" not in said.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rbldnsd did not start: {said.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, if it runs: nothing listens on the port then."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

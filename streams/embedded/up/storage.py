"""ClickHouse beside the pipeline: the embedded engine or a server of one's own, and its tables."""

import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.config import parse_host_port
from streams.embedded.clickhouse.process import EmbeddedClickHouse
from streams.embedded.up.child import Child
from streams.embedded.up.plan import Part, Plan
from streams.errors import GoawayError, UnavailableError

RETRY_S: Final = 5.0
"""Pause before a ClickHouse that was not to be had is tried again."""


class Storage:
    """ClickHouse and its tables; comes up in a thread, since nothing that decides waits for it."""

    def __init__(self, plan: Plan, say: Callable[[str, str], None]) -> None:
        self._plan = plan
        self._say = say
        self._server = EmbeddedClickHouse() if plan.clickhouse == "embedded" else None
        self._restarts = 0
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        self._port = 0
        self.environ: dict[str, str] = {}
        if self._server is None:
            host, port = parse_host_port(plan.clickhouse, name="--clickhouse")
            self._address = f"{host}:{port}"
            self.environ = {"GOAWAY_CLICKHOUSE": self._address}
        else:
            self._address = ""
            self._password = _own_password(plan.data / "clickhouse.password")

    def start(self, environ: dict[str, str], then: Callable[[], None]) -> None:
        """Start the engine and migrate beside everything else, then call `then`."""
        # what an up that was killed has left there names a ClickHouse that is no more
        (self._plan.data / "up.json").unlink(missing_ok=True)
        threading.Thread(target=self._come_up, args=(environ, then), name="storage", daemon=True).start()

    def _come_up(self, environ: dict[str, str], then: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                self._start_server()
                self._migrate(environ)
            except GoawayError as error:
                if str(error) != self._trouble:
                    self._say("clickhouse", f"{error} (decisions go on without it; it is tried again)")
                self._trouble = str(error)
                self._stopping.wait(RETRY_S)
                continue
            self._trouble = ""
            if not self._stopping.is_set():
                self._say("clickhouse", f"at {self._address}, tables ready")
                self._ready.set()
                then()
            return

    def _migrate(self, environ: dict[str, str]) -> None:
        # without --data it would ask the ClickHouse of an up that runs on another folder
        migrate = Child(
            "migrate",
            ["db", "migrate", "--data", str(self._plan.data)],
            environ={**environ, **self.environ},
            log=self._plan.data / "log" / "migrate.log",
            once=True,
        )
        migrate.start()
        while not (said := migrate.look()):
            if self._stopping.wait(0.05):
                migrate.stop()
                return
        if migrate.exit_code:
            raise UnavailableError(f"db migrate {said}", try_next=f"cat {migrate.log}")

    def _start_server(self) -> None:
        if self._server is None or self._server.alive():
            return
        found = self._server.start(self._plan.data / "clickhouse", port=self._port, password=self._password)
        self._port, self._address = found.port, f"{found.host}:{found.port}"
        self.environ = {
            "GOAWAY_CLICKHOUSE": self._address,
            "GOAWAY_CLICKHOUSE_USER": found.user,
            "GOAWAY_CLICKHOUSE_DATABASE": found.database,
            "GOAWAY_CLICKHOUSE_PASSWORD": found.password,
            # what the environment says of a server of one's own is not of this one
            "GOAWAY_CLICKHOUSE_PASSWORD_FILE": "",
            "GOAWAY_CLICKHOUSE_TLS": "off",
        }

    def tend(self) -> None:
        """Start the engine again where it died, at its old port."""
        if self._ready.is_set() and self._server is not None and not self._server.alive():
            self._say("clickhouse", "ended; starting it again")
            try:
                self._start_server()
                self._restarts += 1
            except GoawayError as error:
                self._say("clickhouse", str(error))
                time.sleep(1.0)

    def stop(self) -> None:
        """Stop the engine; a server of one's own is left alone."""
        self._stopping.set()
        if self._server is not None:
            self._server.stop()

    def part(self) -> Part:
        """As the screen shows it."""
        if self._trouble:
            return Part("clickhouse", "ended", None, self._restarts, {}, self._trouble)
        pid = self._server.pid if self._server is not None else None
        state = "runs" if self._ready.is_set() else "starts"
        return Part("clickhouse", state, pid, self._restarts, {"address": self._address})


def _own_password(file: Path) -> str:
    """The embedded engine's password: made once, readable by its owner alone."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(24))
    return file.read_text(encoding="ascii").strip()

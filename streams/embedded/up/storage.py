"""ClickHouse beside the pipeline: the embedded engine or a server of one's own, and its tables."""

import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from streams.config import parse_host_port
from streams.embedded.clickhouse.process import EmbeddedClickHouse
from streams.embedded.up.child import Child
from streams.embedded.up.plan import Part, Plan
from streams.errors import GoawayError, UnavailableError


class Storage:
    """ClickHouse and its tables; comes up in a thread, since nothing that decides waits for it."""

    def __init__(self, plan: Plan, say: Callable[[str, str], None]) -> None:
        self._plan = plan
        self._say = say
        self._server = EmbeddedClickHouse() if plan.clickhouse == "embedded" else None
        self._restarts = 0
        self._ready = threading.Event()
        self._stopping = False
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
        threading.Thread(target=self._come_up, args=(environ, then), name="storage", daemon=True).start()

    def _come_up(self, environ: dict[str, str], then: Callable[[], None]) -> None:
        try:
            self._start_server()
            migrate = Child(
                "migrate",
                ["db", "migrate"],
                environ={**environ, **self.environ},
                log=self._plan.data / "log" / "migrate.log",
                once=True,
            )
            migrate.start()
            while not (said := migrate.look()):
                time.sleep(0.05)
            if migrate.exit_code:
                raise UnavailableError(f"db migrate {said}", try_next=f"cat {migrate.log}")
        except GoawayError as error:
            self._trouble = str(error)
            self._say("clickhouse", f"{error} (decisions go on without it; nothing is stored)")
            return
        if not self._stopping:
            self._say("clickhouse", f"at {self._address}, tables ready")
            self._ready.set()
            then()

    def _start_server(self) -> None:
        if self._server is None:
            return
        found = self._server.start(self._plan.data / "clickhouse", port=self._port, password=self._password)
        self._port, self._address = found.port, f"{found.host}:{found.port}"
        self.environ = {
            "GOAWAY_CLICKHOUSE": self._address,
            "GOAWAY_CLICKHOUSE_USER": found.user,
            "GOAWAY_CLICKHOUSE_DATABASE": found.database,
            "GOAWAY_CLICKHOUSE_PASSWORD": found.password,
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
        self._stopping = True
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

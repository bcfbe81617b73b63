"""A throw-away Postfix policy server: fixed answers by protocol stage, `DUNNO` for the rest."""

import contextlib
import socketserver
import threading
from types import TracebackType
from typing import Self


class PolicyServer:
    """Listens on a free loopback port from entering until leaving. `answers`: protocol_state → action."""

    def __init__(self, answers: dict[str, str]) -> None:
        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                stage = ""
                with contextlib.suppress(ConnectionError):
                    for line in self.rfile:
                        name, _, value = line.decode("utf-8", "replace").strip().partition("=")
                        if name == "protocol_state":
                            stage = value
                        elif not name:
                            self.wfile.write(f"action={answers.get(stage, 'DUNNO')}\n\n".encode())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Session)

    @property
    def address(self) -> str:
        """As `check_policy_service` wants it."""
        return f"inet:127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

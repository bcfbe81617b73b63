"""A SASL server for a private Postfix: the Dovecot auth protocol 1.1, PLAIN only, fixed users."""

import base64
import contextlib
import socketserver
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_GREETING: Final = "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"


class SaslServer:
    """Answers on a unix socket from entering until leaving. `users`: name → password."""

    def __init__(self, path: Path, users: dict[str, str]) -> None:
        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(_GREETING.encode())
                with contextlib.suppress(ConnectionError):
                    for line in self.rfile:
                        if line.startswith(b"AUTH\t"):
                            self.wfile.write(_verdict(line.decode().rstrip("\n"), users).encode())

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(str(path), Session)
        path.chmod(0o666)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def plain(user: str, password: str) -> str:
    """The argument of `AUTH PLAIN`."""
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def _verdict(line: str, users: dict[str, str]) -> str:
    """`AUTH id mechanism parameters… resp=BASE64` → `OK id user=…` or `FAIL id user=…`."""
    _, number, _, *parameters = line.split("\t")
    response = next((text[5:] for text in parameters if text.startswith("resp=")), "")
    _, user, password = base64.b64decode(response).decode().split("\0")
    return f"{'OK' if users.get(user) == password else 'FAIL'}\t{number}\tuser={user}\n"

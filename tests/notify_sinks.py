"""Where notices arrive in tests: a real HTTP and a real SMTP server on loopback, that keep what comes."""

import email
import email.policy
import http.server
import json
import socketserver
import threading
import time
from email.message import EmailMessage
from typing import Any, Self

from streams.model.client import Client, parse_address
from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.instant import MICROSECONDS, Instant


class HttpSink:
    """Takes apprise's `json://` messages; a context manager. `status` is what it answers."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.asked = 0
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                sink.asked += 1
                if sink.status == 200:
                    sink.messages.append(json.loads(content))
                self.send_response(sink.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Not on stderr."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/hooks/s3cret-token"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def texts(self) -> str:
        """All bodies."""
        return "\n".join(str(message["message"]) for message in self.messages)

    def wait_for(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """At least so many messages, or fail."""
        deadline = time.monotonic() + timeout_s
        while len(self.messages) < count:
            assert time.monotonic() < deadline, self.messages
            time.sleep(0.05)
        return self.messages


class SmtpSink:
    """An SMTP server that takes everything, or with `refuse` nothing; a context manager."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.messages: list[EmailMessage] = []
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 sink ESMTP\r\n")
                for line in self.rfile:
                    word = line[:4].upper().rstrip()
                    if word == b"EHLO":
                        self.wfile.write(b"250-sink\r\n250 8BITMIME\r\n")
                    elif word == b"MAIL" and refuse:
                        self.wfile.write(b"550 5.7.1 not from you\r\n")
                    elif word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        self._keep()
                        self.wfile.write(b"250 kept\r\n")
                    elif word == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"250 yes\r\n")

            def _keep(self) -> None:
                content = b""
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    content += line
                message = email.message_from_bytes(content, policy=email.policy.default)
                assert isinstance(message, EmailMessage)
                sink.messages.append(message)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        port = self._server.server_address[1]
        return f"mailto://127.0.0.1:{port}?from=goaway@mx.example&to=postmaster@mx.example&mode=insecure"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def warning(
    number: int, *, client: str = "", about: str = "limit", at: int = 1_700_000_000, text: str = ""
) -> LimitWarning:
    """A warning; `number` makes its id, and its client where none is named."""
    address = client or f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return LimitWarning(
        id=derived_id("warning", str(number)),
        at=Instant(at * MICROSECONDS),
        client=Client(address),
        address=parse_address(address if about == "limit" else "::"),
        rule="requests_per_minute" if about == "limit" else "",
        evidence=Evidence(count=16, limit=20, window_s=60) if about == "limit" else Evidence(),
        policy="0123456789ab",
        event=f"e{number}",
        host="mx1",
        about=about,  # type: ignore[arg-type]
        text=text,
    )


def block(number: int, *, client: str = "192.0.2.7", trigger: str = "rate", shadow: bool = False) -> Decision:
    """A block of five minutes."""
    at = 1_700_000_000 * MICROSECONDS
    return Decision(
        id=derived_id("block", str(number)),
        at=Instant(at),
        until=Instant(at + 300 * MICROSECONDS),
        action="block",
        client=Client(client),
        address=parse_address(client.partition("/")[0] + ("1" if "/" in client else "")),
        trigger=trigger,  # type: ignore[arg-type]
        rule="requests_per_minute",
        code=551,
        reason="exceeded connection rate limit",
        evidence=Evidence(count=21, limit=20, window_s=60, strike=2),
        policy="0123456789ab",
        event=f"e{number}",
        session="mx1/1",
        host="mx1",
        shadow=shadow,
    )

"""A raw SMTP client for tests: it says exactly the bytes it is told to, well-behaved or not."""

import itertools
import socket
import ssl
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self


class Reply(NamedTuple):
    """One SMTP reply: its code and its text, lines joined by a line feed. `CLOSED` is a hang-up."""

    code: int
    text: str


_message_numbers = itertools.count(1)

CLOSED = Reply(0, "connection closed by the server")


class SmtpClient:
    """One connection, from a source address of your choice. Nothing is read until you ask for it.

    Raises `OSError` (`TimeoutError` after `timeout_s`) where the server cannot be reached or is silent.
    """

    def __init__(self, host: str, port: int, *, source: str = "", timeout_s: float = 10.0) -> None:
        here = (source, 0) if source else None
        self._socket = socket.create_connection((host, port), timeout=timeout_s, source_address=here)
        self._unread = b""

    @property
    def source_port(self) -> int:
        """The client's own port, as `smtpd_client_port_logging` shows it."""
        return int(self._socket.getsockname()[1])

    def send(self, octets: bytes) -> None:
        """Send these bytes as they are; no line end is added."""
        self._socket.sendall(octets)

    def reply(self) -> Reply:
        """The next reply of the server, or `CLOSED`."""
        lines: list[str] = []
        while (line := self._line()) is not None:
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), "\n".join(lines))
        return CLOSED

    def command(self, text: str | bytes) -> Reply:
        """Send one command line and wait for its reply. Text is sent as UTF-8."""
        octets = text.encode() if isinstance(text, str) else text
        try:
            self.send(octets + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return CLOSED
        return self.reply()

    def commands(self, texts: Iterable[str | bytes]) -> list[Reply]:
        """One reply for each command, in turn; none is sent after a hang-up."""
        replies: list[Reply] = []
        for text in texts:
            replies.append(self.command(text))
            if replies[-1] == CLOSED:
                break
        return replies

    def pipeline(self, texts: Iterable[str]) -> list[Reply]:
        """Send all commands in one write, then read one reply for each."""
        lines = list(texts)
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines]

    def starttls(self) -> Reply:
        """STARTTLS without checking the certificate; the reply is the server's go-ahead."""
        go_ahead = self.command("STARTTLS")
        if go_ahead.code == 220:
            self.wrap_tls()
        return go_ahead

    def wrap_tls(self) -> None:
        """Speak TLS from here on (at once after connecting: the smtps port)."""
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        self._socket = trusting.wrap_socket(self._socket)

    def message(self, sender: str, recipients: Iterable[str], *, subject: str = "A word") -> Reply:
        """One whole mail transaction; the reply to its end, or the first refusal of MAIL or DATA."""
        opened = self.command(f"MAIL FROM:<{sender}>")
        if opened.code != 250:
            return opened
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>")
        go_ahead = self.command("DATA")
        if go_ahead.code != 354:
            return go_ahead
        known_as = f"{next(_message_numbers)}.{self.source_port}@{sender.rpartition('@')[2] or 'localhost'}"
        return self.command(
            f"From: <{sender}>\r\nMessage-ID: <{known_as}>\r\nSubject: {subject}\r\n\r\nGood day.\r\n."
        )

    def quit(self) -> None:
        """Leave politely."""
        self.command("QUIT")
        self.close()

    def close(self) -> None:
        """Hang up without a word."""
        self._socket.close()

    def reset(self) -> None:
        """Hang up with a TCP reset, as a killed client does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> str | None:
        while b"\n" not in self._unread:
            try:
                chunk = self._socket.recv(4096)
            except ConnectionResetError:
                return None
            if not chunk:
                return None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "backslashreplace")

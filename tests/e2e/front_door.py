"""A private Postfix that asks a `goaway up`, which follows that Postfix's log: the whole of it, real."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from tests.e2e.postfix import PostfixLab
from tests.e2e.postfix_setup import Setup
from tests.e2e.running import RunningUp
from tests.e2e.smtp_client import Reply, SmtpClient

WORDS: Final = "Go away: exceeded connection rate limit"


class FrontDoor:
    """A private Postfix that asks a `goaway up`, which follows that Postfix's log."""

    def __init__(self, lab: PostfixLab, up: RunningUp) -> None:
        self.lab = lab
        self.up = up

    def greeting(self, source: str) -> Reply:
        """What a connection from here is greeted with; it leaves again."""
        with self.lab.client(source) as client:
            found = client.reply()
            client.quit()
        return found

    def session(self, source: str) -> SmtpClient:
        """A session that was let in and has said EHLO."""
        client = self.lab.client(source)
        assert client.reply().code == 220
        assert client.command("EHLO mail.example.com").code == 250
        return client

    def wait_refused(self, source: str) -> None:
        """Wait until the shim refuses this client: the decision has come round."""
        self.up.wait_answer(source, seconds=5.0)

    def attempt(
        self, source: str, sender: str = "a@example.com", recipient: str = "anna@example.org"
    ) -> Reply:
        """The reply to the RCPT of a session of its own, or to what was refused before it."""
        with self.lab.client(source) as client:
            said = client.reply()
            for command in ("EHLO mail.example.com", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"):
                if said.code >= 400:
                    break
                said = client.command(command)
            client.quit()
        return said

    def assert_refused(self, source: str) -> None:
        """A new connection is refused in its greeting; it leaves again."""
        found = self.greeting(source)
        assert found == Reply(551, f"5.7.1 <unknown[{source}]>: Client host rejected: {WORDS}")


@contextmanager
def front_door(
    setup: Setup,
    *,
    listen: str,
    policy: str = "",
    clickhouse: str = "none",
    iso: bool = False,
    more: Sequence[str] = (),
) -> Iterator[FrontDoor]:
    """Both, running. `iso`: the log is stamped as rsyslog would, rather than by Postfix's postlogd. `more`:
    further flags of `goaway up`."""
    # not below pytest's own folder: that is for its owner only, and Postfix must reach the socket
    folder = Path(tempfile.mkdtemp(prefix="goaway-front-"))
    folder.chmod(0o755)
    try:
        with ExitStack() as stack:
            lab = PostfixLab(replace(setup, log_elsewhere=iso))
            lab.prepare()
            log = folder / "iso.log" if iso else lab.log_path
            arguments = ["--timezone", "UTC", "--socket-mode", "0666", *more]
            up = RunningUp(
                folder, log, listen=listen, policy=policy, clickhouse=clickhouse, arguments=arguments
            )
            if iso:
                stack.enter_context(_written_as_rsyslog_would(lab, log))
            stack.enter_context(up)
            stack.enter_context(lab)
            yield FrontDoor(lab, up)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _written_as_rsyslog_would(lab: PostfixLab, log: Path) -> Iterator[None]:
    """Receive Postfix's lines on its log socket and write them with RFC 3339 stamps of another time zone."""
    zone = timezone(timedelta(hours=5, minutes=30))
    classic = len("Nov 24 12:29:06 ")

    def receive() -> None:
        with log.open("ab", buffering=0) as written:
            while True:
                try:
                    line = receiver.recv(65536)
                except OSError:
                    return
                stamp = datetime.now(zone).isoformat(timespec="microseconds").encode()
                written.write(stamp + b" " + line.rstrip(b"\n")[classic:] + b"\n")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(lab.where.postlog))
        lab.where.postlog.chmod(0o666)
        threading.Thread(target=receive, daemon=True).start()
        yield
        receiver.shutdown(socket.SHUT_RDWR)

"""Who plays in the recorded sample, and the small things each of them does to the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.e2e.postfix import USERS, PostfixLab
from tests.e2e.sasl import plain
from tests.e2e.smtp_client import SmtpClient

# Loopback addresses that are written as documentation addresses: 127.1.2.x → 192.0.2.x,
# 127.1.51.x → 198.51.100.x, 127.1.113.x → 203.0.113.x, ::1 → 2001:db8:25::7.
PROBE: Final = "127.1.2.10"
HONEST: Final = {
    "127.1.2.21": "mail.example.com",
    "127.1.2.22": "smtp2.example.com",
    "127.1.2.23": "mx.shop.example.net",
    "127.1.2.24": "newsletter.example.net",
    "127.1.2.25": "relay.school.example.com",
    "127.1.2.26": "out1.bank.example.com",
    "127.1.51.31": "mail.club.example.net",
    "127.1.51.32": "mta7.example.net",
    "127.1.51.33": "",
    "::1": "six.example.com",
}
CUSTOMER: Final = "127.1.51.80"
BURST: Final = "127.1.113.66"
SCANNER: Final = "127.1.51.23"
HOLDER: Final = "127.1.113.200"
NO_HELO: Final = "127.1.113.7"
PIPELINER: Final = "127.1.113.8"
PREGREETER: Final = "127.1.113.9"
WEB_PROBE: Final = "127.1.113.12"
GUESSER: Final = "127.1.113.14"
SCREENED: Final = "127.1.51.40"

NAMES: Final = {address: name for address, name in HONEST.items() if name} | {
    PROBE: "monitor.example.net",
    CUSTOMER: "dsl-80.customers.example.net",
    SCREENED: "mail.partner.example.net",
    HOLDER: "203-0-113-200.pool.example.net",
}
"""What reverse DNS says of them; the rest are `unknown`."""

KNOWN_RECIPIENTS: Final = ("anna", "ben", "clara", "office", "sales", "postmaster")


@dataclass(frozen=True)
class Stage:
    """One private Postfix and the ways to play to it."""

    lab: PostfixLab

    def probe(self) -> None:
        """A monitoring system: is the server there?"""
        with self.greeted(PROBE, "monitor.example.net") as client:
            client.quit()

    def honest(self, source: str, to: Sequence[str], *, tls: bool = False, messages: int = 1) -> None:
        """A mail server with something to deliver."""
        name = NAMES.get(source, "host33.example.net")
        with self.greeted(source, name) as client:
            if tls:
                client.starttls()
                client.command(f"EHLO {name}")
            for number in range(messages):
                recipients = [f"{who}@example.org" for who in to]
                client.message(f"post{number}@{name.partition('.')[2]}", recipients)
            client.quit()

    def screened(self) -> None:
        """A mail server that comes in through postscreen and waits its turn."""
        with self.lab.client(SCREENED, port=self.lab.ports.postscreen) as client:
            client.reply()
            client.command("EHLO mail.partner.example.net")
            client.message("orders@partner.example.net", ["sales@example.org"])
            client.quit()

    def customer(self, *, smtps: bool) -> None:
        """A person's mail program, signed in."""
        port = self.lab.ports.smtps if smtps else self.lab.ports.submission
        with self.lab.client(CUSTOMER, port=port) as client:
            if smtps:
                client.wrap_tls()
            client.reply()
            client.command("EHLO laptop.example.org")
            if not smtps:
                client.starttls()
                client.command("EHLO laptop.example.org")
            client.command(f"AUTH PLAIN {plain('alice', USERS['alice'])}")
            client.message("alice@example.org", ["friend@example.com"])
            client.quit()

    def guess_password(self) -> None:
        """Somebody who tries passwords."""
        with self.lab.client(GUESSER, port=self.lab.ports.submission) as client:
            client.reply()
            client.command("EHLO User")
            client.command(f"AUTH PLAIN {plain('alice', 'letmein')}")

    def flood(self) -> None:
        """One connection and one message of a burst."""
        with self.greeted(BURST, "pc-66.example.net") as client:
            client.message("win@prize.example.net", ["anna@example.org"], subject="You won")
            client.quit()

    def scan(self, number: int) -> None:
        """Try a name that is not there."""
        with self.greeted(SCANNER, "scan.example.net") as client:
            client.command("MAIL FROM:<test@scan.example.net>")
            for who in ("admin", "info", "test")[: 1 + number % 3]:
                client.command(f"RCPT TO:<{who}{number}@example.org>")
            client.quit()

    def hold(self) -> SmtpClient:
        """Come in, say a name, and stay."""
        return self.greeted(HOLDER, "pool.example.net")

    def no_helo(self) -> None:
        """A message without HELO or EHLO."""
        with self.lab.client(NO_HELO) as client:
            client.reply()
            client.message("nobody@bulk.example.net", ["office@example.org"])
            client.quit()

    def pipeline(self) -> None:
        """Everything in one write, not waiting for EHLO's answer."""
        with self.lab.client(PIPELINER) as client:
            client.reply()
            client.pipeline(
                [
                    "EHLO hurry.example.net",
                    "MAIL FROM:<a@hurry.example.net>",
                    "RCPT TO:<ben@example.org>",
                    "QUIT",
                ]
            )

    def pregreet(self) -> None:
        """Talk to postscreen before it has greeted."""
        with self.lab.client(PREGREETER, port=self.lab.ports.postscreen) as client:
            client.send(b"EHLO eager.example.net\r\n")
            client.reply()
            client.commands(["MAIL FROM:<x@eager.example.net>", "RCPT TO:<clara@example.org>", "QUIT"])

    def web_probe(self) -> None:
        """A web scanner at the wrong door."""
        with self.lab.client(WEB_PROBE) as client:
            client.reply()
            client.send(b"GET / HTTP/1.1\r\nHost: mx1.example.org\r\n\r\n")
            client.reply()

    def greeted(self, source: str, name: str) -> SmtpClient:
        """A connection from `source` that has said EHLO."""
        client = self.lab.client(source)
        client.reply()
        client.command(f"EHLO {name}")
        return client

"""The situations that a log parser must read right, each played to a private Postfix."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tests.e2e.policy_server import PolicyServer
from tests.e2e.postfix import USERS, PostfixLab
from tests.e2e.postfix_setup import Setup
from tests.e2e.sasl import plain
from tests.e2e.smtp_client import SmtpClient

BASE: Final = Setup(recipients=("anna", "ben"), names={"127.1.2.5": "mail.example.com"})
PORTS_LOGGED: Final = replace(BASE, port_logging=True)
LIMITED: Final = replace(BASE, limits=True, main={"smtpd_client_connection_count_limit": "2"})
IMPATIENT: Final = replace(BASE, main={"smtpd_timeout": "1s", "smtpd_hard_error_limit": "3"})
STRICT: Final = replace(
    BASE,
    main={
        "smtpd_helo_required": "yes",
        "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
        "smtpd_sender_restrictions": "reject_non_fqdn_sender",
        "smtpd_data_restrictions": "reject_unauth_pipelining",
    },
)
DEFERRED: Final = replace(STRICT, delay_reject=True)
SCREENING: Final = replace(
    BASE,
    main={
        "postscreen_pipelining_enable": "yes",
        "postscreen_pipelining_action": "enforce",
        "postscreen_non_smtp_command_enable": "yes",
        "postscreen_bare_newline_enable": "yes",
        "postscreen_bare_newline_action": "enforce",
        "postscreen_command_time_limit": "2s",
    },
)
FORGED: Final = replace(BASE, names={"127.1.2.6": "10.0.0.1", "127.1.2.5": "-bad-.example.com"})


@dataclass(frozen=True)
class Situation:
    """One file of sample lines: its name, its comment line, and what the client does."""

    name: str
    title: str
    play: Callable[[PostfixLab], None]
    setup: Setup = BASE


def says(
    *commands: str | bytes, source: str = "127.1.2.5", leave: str = "quit"
) -> Callable[[PostfixLab], None]:
    """A client that says these, one by one, and leaves by `quit`, `close` or `reset`, or waits to be left."""

    def play(lab: PostfixLab) -> None:
        with lab.client(source) as client:
            client.reply()
            client.commands(commands)
            leaving(client, leave)

    return play


def leaving(client: SmtpClient, how: str) -> None:
    """Leave by `quit`, `close` or `reset`, or `wait` for the server to hang up."""
    if how == "quit":
        client.quit()
    elif how == "reset":
        client.reset()
    elif how == "wait":
        client.reply()
    client.close()


def screened(
    *commands: str, source: str, early: bytes = b"", leave: str = "quit", greeted: bool = True
) -> Callable[[PostfixLab], None]:
    """A client at postscreen's door; `early` is said before the greeting is complete."""

    def play(lab: PostfixLab) -> None:
        with lab.client(source, port=lab.ports.postscreen) as client, suppress(TimeoutError):
            if early:
                client.send(early)
            if greeted:
                client.reply()
            client.commands(commands)
            leaving(client, leave)

    return play


def written(octets: bytes, replies: int, *, source: str = "127.1.2.5") -> Callable[[PostfixLab], None]:
    """A client that writes everything at once after the greeting."""

    def play(lab: PostfixLab) -> None:
        with lab.client(source, timeout_s=3) as client, suppress(TimeoutError):
            client.reply()
            client.send(octets)
            for _ in range(replies):
                client.reply()

    return play


def signed_in(port: str, password: str) -> Callable[[PostfixLab], None]:
    """A mail program at `submission` or `smtps`."""

    def play(lab: PostfixLab) -> None:
        with lab.client("127.1.51.80", port=getattr(lab.ports, port)) as client:
            if port == "smtps":
                client.wrap_tls()
            client.reply()
            client.command("EHLO laptop.example.org")
            client.command(f"AUTH PLAIN {plain('alice', password)}")
            client.message("alice@example.org", ["friend@example.com"])
            client.quit()

    return play


def refused_by_policy(stage: str, answer: str) -> Callable[[PostfixLab], None]:
    """A policy server that refuses at this stage, and a client that tries."""

    def play(lab: PostfixLab) -> None:
        with PolicyServer({stage: answer}) as policy:
            lab.reload(replace(lab.setup, policy=policy.address))
            time.sleep(0.3)
            says(*HELLO, *MAIL, "RCPT TO:<ben@example.org>")(lab)
        lab.reload(replace(lab.setup, policy=""))
        time.sleep(0.3)

    return play


def in_turn(*plays: Callable[[PostfixLab], None]) -> Callable[[PostfixLab], None]:
    """One after the other."""

    def play(lab: PostfixLab) -> None:
        for one in plays:
            one(lab)

    return play


def together(count: int) -> Callable[[PostfixLab], None]:
    """So many connections at once from one address."""

    def play(lab: PostfixLab) -> None:
        clients = [lab.client("127.1.2.5") for _ in range(count)]
        readers = [threading.Thread(target=client.reply) for client in clients]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for client in clients:
            client.close()

    return play


HELLO: Final = ("EHLO mail.example.com",)
MAIL: Final = ("MAIL FROM:<a@example.com>", "RCPT TO:<anna@example.org>")
DATA: Final = ("DATA", "Subject: x\r\n\r\nx\r\n.")
REFUSED: Final = ("MAIL FROM:<a@example.com>", "RCPT TO:<x1@example.org>")

SOFT: Final = "551 5.7.1 Go away: exceeded connection rate limit"
LATE: Final = "571 5.7.1 Go away: exceeded connection rate limit"
TRAP: Final = "x]: NOQUEUE: reject: RCPT from evil[192.0.2.99]: 550 from=<y> to=<z>"


def tls_message(lab: PostfixLab) -> None:
    """A message after STARTTLS."""
    with lab.client("127.1.2.5") as client:
        client.reply()
        client.command(HELLO[0])
        client.starttls()
        client.commands([*HELLO, *MAIL, *DATA])
        client.quit()


def plain_at_smtps(lab: PostfixLab) -> None:
    """Plain text where TLS is spoken from the start."""
    with lab.client("127.1.2.5", port=lab.ports.smtps, timeout_s=3) as client, suppress(OSError):
        client.send(b"EHLO plain\r\n")
        client.reply()


SITUATIONS: Final = (
    Situation("one-message", "one message accepted", says(*HELLO, *MAIL, *DATA)),
    Situation("ehlo-quit", "EHLO and QUIT only", says(*HELLO)),
    Situation("no-helo-message", "a message without HELO/EHLO", says(*MAIL, *DATA)),
    Situation("no-helo-quit", "QUIT at once", says()),
    Situation("connect-only", "a connection, no word", says(leave="close")),
    Situation("connect-reset", "a connection, reset by the client", says(leave="reset")),
    Situation("two-messages", "two transactions in one session", says(*HELLO, *MAIL, *DATA, *MAIL, *DATA)),
    Situation(
        "several-refused",
        "one transaction, three recipients, all refused",
        says(*HELLO, *REFUSED, "RCPT TO:<x2@example.org>", "RCPT TO:<x3@example.org>"),
    ),
    Situation(
        "refused-then-accepted",
        "one transaction: first recipient refused, second accepted, message sent",
        says(*HELLO, *REFUSED, "RCPT TO:<anna@example.org>", *DATA),
    ),
    Situation(
        "accepted-then-refused",
        "one transaction: first recipient accepted, second and third refused, message sent",
        says(*HELLO, *MAIL, "RCPT TO:<x2@example.org>", "RCPT TO:<x3@example.org>", *DATA),
    ),
    Situation(
        "accepted-not-sent",
        "a recipient accepted, then QUIT without DATA: a queue id without a message",
        says(*HELLO, *MAIL),
    ),
    Situation(
        "two-refused-same",
        "two transactions with the same sender, each refused (RSET between): lines differ in nothing",
        says(*HELLO, *REFUSED, "RSET", *REFUSED),
    ),
    Situation(
        "two-refused-no-rset",
        "MAIL twice without RSET after a refusal (nested MAIL)",
        says(*HELLO, *REFUSED, *REFUSED),
    ),
    Situation("ehlo-resets", "refused, EHLO again, refused again", says(*HELLO, *REFUSED, *HELLO, *REFUSED)),
    Situation(
        "mixed-session",
        "refused transaction, RSET, accepted message, refused transaction",
        says(*HELLO, *REFUSED, "RSET", *MAIL, *DATA, *REFUSED),
    ),
    Situation(
        "relay-denied", "a recipient elsewhere", says(*HELLO, MAIL[0], "RCPT TO:<x@elsewhere.example>")
    ),
    Situation("null-sender", "an empty sender, refused", says(*HELLO, "MAIL FROM:<>", REFUSED[1])),
    Situation("lost-after-mail", "hung up after MAIL", says(*HELLO, MAIL[0], leave="close")),
    Situation("lost-after-rcpt", "hung up after RCPT", says(*HELLO, *MAIL, leave="close")),
    Situation("lost-in-data", "hung up within the message", says(*HELLO, *MAIL, "DATA", leave="close")),
    Situation("lost-after-reset", "reset after EHLO", says(*HELLO, leave="reset")),
    Situation("non-smtp-command", "a web request", written(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2)),
    Situation("unknown-command", "commands that do not exist", says("FOO", "AUTH LOGIN", *HELLO, "XFOO a")),
    Situation("bare-newline", "lines that end in a bare line feed", written(b"EHLO x\nQUIT\n", 2)),
    Situation(
        "ipv6", "an IPv6 client: one message, one refused", says(*HELLO, *MAIL, *DATA, *REFUSED, source="::1")
    ),
    Situation("starttls", "STARTTLS", tls_message),
    Situation("submission-accepted", "signed in at submission", signed_in("submission", USERS["alice"])),
    Situation("submission-wrong-password", "a wrong password, then MAIL", signed_in("submission", "wrong")),
    Situation("smtps-accepted", "signed in at smtps", signed_in("smtps", USERS["alice"])),
    Situation("tls-to-smtps-fails", "plain text at smtps", plain_at_smtps),
    Situation(
        "pipelining-early",
        "EHLO with more behind it, unasked",
        written(b"EHLO h\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<x1@example.org>\r\nQUIT\r\n", 4),
    ),
    Situation("helo-hostile", "HELO that looks like a log line; refused", says(f"HELO {TRAP}", *REFUSED)),
    Situation(
        "helo-hostile-accepted",
        "HELO that looks like a log line; accepted",
        says(f"HELO {TRAP}", *MAIL, *DATA),
    ),
    Situation("helo-controls", "control bytes in HELO", says(b"HELO a\tb\x01c\x1b[31md\x7f", *REFUSED)),
    Situation(
        "helo-carriage-return",
        "a bare CR in HELO",
        says(b"HELO a\rNov  1 00:00:00 h postfix/smtpd[1]: x", *REFUSED),
    ),
    Situation(
        "helo-eight-bit",
        "8-bit bytes in HELO: valid and invalid UTF-8",
        says("HELO bücher", *REFUSED, b"HELO b\xfc\xff", *REFUSED),
    ),
    Situation("helo-long", "a HELO of 3000 bytes", says("HELO " + "h" * 3000, *REFUSED)),
    Situation("helo-brackets", "HELO with > and <", says("HELO a> proto=SMTP helo=<b", *REFUSED)),
    Situation(
        "sender-quoted",
        "senders with quotes, spaces, > and from=<",
        says(
            *HELLO,
            'MAIL FROM:<"a b> to=<c@d> x"@example.com>',
            REFUSED[1],
            "RSET",
            'MAIL FROM:<"]: from=<q"@example.com>',
            REFUSED[1],
            "RSET",
            "MAIL FROM:<a b@example.com>",
            REFUSED[1],
            "RSET",
            'MAIL FROM:<"q\\"uote"@example.com>',
            REFUSED[1],
        ),
    ),
    Situation(
        "sender-accepted-quoted",
        "a quoted sender, accepted",
        says(*HELLO, 'MAIL FROM:<"a b> to=<c"@example.com>', MAIL[1], *DATA),
    ),
    Situation(
        "sender-long",
        "a sender of 3000 bytes",
        says(*HELLO, f"MAIL FROM:<{'s' * 3000}@example.com>", REFUSED[1]),
    ),
    Situation(
        "sender-medium",
        "a sender of 900 bytes",
        says(*HELLO, f"MAIL FROM:<{'s' * 900}@example.com>", REFUSED[1]),
    ),
    Situation(
        "sender-eight-bit",
        "8-bit sender and recipient",
        says(*HELLO, "MAIL FROM:<jörg@example.com> SMTPUTF8", "RCPT TO:<bücher@example.org>"),
    ),
    Situation(
        "recipient-hostile",
        "a recipient that looks like the rest of the line",
        says(*HELLO, MAIL[0], 'RCPT TO:<"x> proto=SMTP helo=<y"@example.org>'),
    ),
    Situation(
        "ports-one-message",
        "smtpd_client_port_logging: one message",
        says(*HELLO, *MAIL, *DATA),
        PORTS_LOGGED,
    ),
    Situation(
        "ports-refused",
        "smtpd_client_port_logging: refused, lost",
        says(*HELLO, *REFUSED, leave="close"),
        PORTS_LOGGED,
    ),
    Situation(
        "ports-ipv6", "smtpd_client_port_logging, IPv6", says(*HELLO, *REFUSED, source="::1"), PORTS_LOGGED
    ),
    Situation(
        "ports-pipelining",
        "smtpd_client_port_logging: pipelining",
        written(b"EHLO h\r\nQUIT\r\n", 2),
        PORTS_LOGGED,
    ),
    Situation("anvil-too-many", "Postfix's own connection limit (2)", together(4), LIMITED),
    Situation("timeout-after-ehlo", "silence after EHLO", says(*HELLO, leave="wait"), IMPATIENT),
    Situation("timeout-at-connect", "silence from the beginning", says(leave="wait"), IMPATIENT),
    Situation(
        "timeout-in-data", "silence within the message", says(*HELLO, *MAIL, "DATA", leave="wait"), IMPATIENT
    ),
    Situation("too-many-errors", "too many errors", says(*HELLO, *["FOO"] * 6, leave="close"), IMPATIENT),
    Situation(
        "too-many-refused",
        "too many errors by refused recipients",
        says(*HELLO, MAIL[0], *["RCPT TO:<x1@example.org>"] * 6, leave="close"),
        IMPATIENT,
    ),
    Situation("helo-required", "MAIL before HELO where HELO is required", says(MAIL[0]), STRICT),
    Situation("helo-refused", "HELO refused at HELO", says("HELO x", "HELO [1.2", "HELO a b", *MAIL), STRICT),
    Situation(
        "helo-refused-hostile",
        "HELO that looks like a log line, refused at HELO",
        says(f"HELO {TRAP}"),
        STRICT,
    ),
    Situation(
        "mail-refused", "MAIL refused: sender without a domain", says(*HELLO, "MAIL FROM:<nobody>"), STRICT
    ),
    Situation(
        "data-pipelined",
        "refused at DATA: improper pipelining",
        written(
            ("\r\n".join(["HELO h.example.com", *MAIL, "DATA", "x", ".", ""])).encode(),
            5,
        ),
        STRICT,
    ),
    Situation(
        "delayed-helo-refused",
        "smtpd_delay_reject=yes: HELO refused at RCPT",
        says("HELO x", *MAIL),
        DEFERRED,
    ),
    Situation(
        "delayed-mail-refused",
        "smtpd_delay_reject=yes: sender refused at RCPT",
        says(*HELLO, "MAIL FROM:<nobody>", MAIL[1]),
        DEFERRED,
    ),
    Situation("policy-connect", "policy service: 551 at connect", refused_by_policy("CONNECT", SOFT)),
    Situation("policy-rcpt", "policy service: 571 at RCPT", refused_by_policy("RCPT", LATE)),
    Situation(
        "policy-greylist",
        "policy service: 451 at RCPT",
        refused_by_policy("RCPT", "451 4.7.1 Go away: greylisted, retry in 600 s"),
    ),
    Situation(
        "policy-421",
        "policy service: 421 at connect",
        refused_by_policy("CONNECT", "421 4.7.1 Go away: exceeded connection rate limit"),
    ),
    Situation(
        "ptr-unknown",
        "numeric PTR name: warning, then unknown",
        says(*HELLO, *REFUSED, source="127.1.2.6"),
        FORGED,
    ),
    Situation("ptr-malformed", "malformed PTR name", says(*HELLO, *REFUSED), FORGED),
    Situation(
        "postscreen-pass-new",
        "postscreen: first visit, handed to smtpd",
        screened(*HELLO, *MAIL, *DATA, source="127.1.2.40"),
        BASE,
    ),
    Situation(
        "postscreen-pass-old",
        "postscreen: known client",
        in_turn(screened(*HELLO, source="127.1.2.41"), screened(*HELLO, *REFUSED, source="127.1.2.41")),
        BASE,
    ),
    Situation(
        "postscreen-pregreet",
        "postscreen: PREGREET and its refusal",
        screened(*MAIL, source="127.1.2.42", early=b"EHLO a]: from=<b\r\n"),
        SCREENING,
    ),
    Situation(
        "postscreen-pregreet-hostile",
        "postscreen: PREGREET of control and 8-bit bytes",
        screened(
            source="127.1.2.43", early=b'\x16\x03\x01\xff"\\ HANGUP after 0 from [192.0.2.99]:25 in tests\n'
        ),
        SCREENING,
    ),
    Situation(
        "postscreen-hangup",
        "postscreen: HANGUP before the greeting",
        screened(source="127.1.2.44", leave="close", greeted=False),
        SCREENING,
    ),
    Situation(
        "postscreen-deep-refused",
        "postscreen: deep tests passed, 450 at RCPT",
        screened(*HELLO, *MAIL, source="127.1.2.45"),
        SCREENING,
    ),
    Situation(
        "postscreen-non-smtp",
        "postscreen: NON-SMTP COMMAND",
        screened("GET / HTTP/1.1", source="127.1.2.46", leave="close"),
        SCREENING,
    ),
    Situation(
        "postscreen-pipelining",
        "postscreen: COMMAND PIPELINING",
        screened("EHLO p\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<anna@example.org>", source="127.1.2.47"),
        SCREENING,
    ),
    Situation(
        "postscreen-bare-newline",
        "postscreen: BARE NEWLINE",
        screened("HELO b\nNOOP", source="127.1.2.48"),
        SCREENING,
    ),
    Situation(
        "postscreen-timeout",
        "postscreen: COMMAND TIME LIMIT",
        screened("EHLO slow", source="127.1.2.49", leave="wait"),
        SCREENING,
    ),
    Situation("postscreen-ipv6", "postscreen: IPv6 client", screened(*HELLO, source="::1"), SCREENING),
)

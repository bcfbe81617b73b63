"""What an MTA saw a client do. Everything that can influence a decision is an event."""

from typing import Final, Literal

import msgspec

from streams.model.client import Address, Client
from streams.model.instant import MICROSECONDS, Instant

EventKind = Literal[
    "connect",  # a client opened a connection (counted once, also when postscreen hands it to smtpd)
    "disconnect",  # the connection ended, or its process was seen serving somebody else
    "helo",  # HELO/EHLO name became known
    "mail",  # one MAIL transaction: a queue id, or a transaction that was refused
    "rcpt",  # one refused recipient after the first of its transaction
    "message",  # a message was queued whole: size, sender, message id
    "violation",  # an SMTP protocol violation; `violation` names it
    "auth",  # a SASL login that succeeded
    "auth_failure",  # a SASL login that failed
    "refusal",  # refused before MAIL (connect, HELO), by us or by the MTA
    "reputation",  # what DNSBLs answered about the address
    "learnt",  # `greylist learn`: this client is known to deliver
    "forget",  # an administrator had all that is remembered of the client dropped
    "policy",  # from here on the partition is judged by another policy; no client's doing
]

MAX_TEXT: Final = 512
"""Longest free text kept of what a client or MTA wrote, in characters."""


FUTURE_US: Final = 3600 * MICROSECONDS
"""What is stamped later than its record, or in a history later than now, by more than this comes from a wrong
clock, and is set aside: taken at its word it would make everybody else's events look old."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One event; field order is the order on the wire (`schemas/event.v1.json`).

    `id` is derived from the log line, so that a line shipped twice yields the same id twice.
    `source` and `position` say where it was read: a source's positions only grow (see `agents`).
    """

    id: str
    at: Instant
    kind: EventKind
    client: Client
    address: Address
    session: str
    """`host/pid` (with smtpd_client_port_logging `host/pid/port`); one connection at a time has it."""
    host: str
    """The MTA's own host name, as its log says."""
    service: str = ""
    """`smtpd`, `postscreen`, `submission/smtpd`, …: the log tag without its first part."""
    ptr: str = ""
    """The client's verified name; empty when Postfix said `unknown`."""
    helo: str = ""
    sender: str = ""
    recipient: str = ""
    queue_id: str = ""
    sasl_user: str = ""
    violation: str = ""
    """`missing HELO`, `pipelining`, `non-SMTP command`, `too many errors`, `pregreet`, `hangup`."""
    code: int = 0
    """SMTP reply code of a refusal; 0 where nothing was refused."""
    detail: str = ""
    """Free text, bounded: the refusal's reason, the command counts; of a reputation event what zones
    answered: `ZONE CODE[,CODE…]`, joined by `; `, empty where none lists the address; of a policy event
    `NUMBER AFTER VERSION`."""
    size: int = 0
    """Bytes of a message."""
    ttl_s: int = 0
    """How long a reputation event's answers hold, in seconds; 0 where the source did not say."""
    source: str = ""
    position: int = 0
    """Byte offset of the line in its source."""

"""What the parser remembers between lines; all of it bounded, all of it can be saved as JSON."""

from typing import Final

import msgspec

from streams.model.client import Address
from streams.wire.calendar import CalendarState

MAX_SESSIONS: Final = 100_000
MAX_QUEUE_IDS: Final = 100_000
MAX_HANDOVERS: Final = 10_000
MAX_HANDOVERS_OF_ADDRESS: Final = 100
MAX_RECIPIENTS: Final = 64
"""Refused recipients remembered of one transaction."""


class Transaction(msgspec.Struct):
    """The MAIL transaction that a session is in, as far as the log tells."""

    sender: str | None = None
    """None where unknown: smtpd does not log the sender of an accepted recipient."""
    queue_id: str = ""
    """Set once a recipient was accepted; `NOQUEUE` where a proxy filter queues."""
    refused: list[str] = []
    """`stage recipient` of each refusal."""


class Session(msgspec.Struct):
    """One connection."""

    session: str
    address: Address
    ptr: str
    service: str
    transaction: Transaction | None = None
    accepted: int = 0
    """Transactions counted whose MAIL command was accepted."""
    uncertain: int = 0
    """Lines taken for more of a transaction that may have been a new one with the same sender."""


class HandOver(msgspec.Struct, frozen=True):
    """A connection that postscreen let pass and that smtpd has not taken up yet."""

    session: str
    host: str
    service: str
    address: Address
    port: str
    at: int
    id: str
    """Of the line that let it pass."""
    ptr: str = ""


class Queued(msgspec.Struct):
    """The client that opened a queue id."""

    address: Address
    ptr: str
    session: str
    service: str
    message_id: str = ""
    announced: bool = False
    """Whether its `message` event was made: qmgr repeats its line at every retry."""


class Memory(msgspec.Struct):
    """All of it."""

    sessions: dict[str, Session] = {}
    """By `host/pid` of an smtpd process, which serves one connection at a time; and by
    `host/pid/port address` for the few postscreen sessions that refused something."""
    handovers: dict[str, list[HandOver]] = {}
    """By `host/instance address`, oldest first."""
    queue: dict[str, Queued] = {}
    """By `host/instance/queue id`, oldest first."""
    second: int = 0
    """The second whose lines `repeats` counts; only for stamps without a fraction."""
    repeats: dict[str, int] = {}
    calendar: CalendarState = CalendarState()


def forget_oldest(entries: dict[str, Session] | dict[str, Queued], limit: int) -> None:
    """Make room for one more entry."""
    while len(entries) >= limit:
        del entries[next(iter(entries))]

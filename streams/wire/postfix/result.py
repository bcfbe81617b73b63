"""What reading one line comes to."""

from typing import Final

import msgspec

from streams.model.event import Event
from streams.wire.syslog import Unreadable


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A line that was understood and is no event, with the reason (the same words for the same reason)."""

    reason: str


Result = list[Event] | Ignored | Unreadable
"""A list has at least one event."""

EMPTY: Final = Ignored("empty")
OTHER_PROGRAM: Final = Ignored("other program")
SYSLOG_REPEATS: Final = Ignored("syslog hid repeated lines: switch repetition reduction off")
NO_CLIENT: Final = Ignored("not about a client")
NO_ADDRESS: Final = Ignored("client without an address")
ANVIL: Final = Ignored("anvil statistics: a maximum that the events already show")
TLS: Final = Ignored("TLS")
WARNING: Final = Ignored("a warning that counts against no client")
CONNECTION_LOST: Final = Ignored("connection lost: its disconnect follows")
PASSED: Final = Ignored("postscreen let the client pass: smtpd goes on with the connection")
COME_BACK: Final = Ignored("passed postscreen after a refusal: the client is told to come back")
NOT_PASSED: Final = Ignored("postscreen list entry: what it leads to is logged by itself")
DNSBL_RANK: Final = Ignored("DNSBL rank: the listings are events already")
HOUSEKEEPING: Final = Ignored("housekeeping")
TRACE: Final = Ignored("protocol trace")
ONLY_WARNED: Final = Ignored("a restriction that only warns")
NO_REFUSAL: Final = Ignored("an action that refuses nothing")
SAME_TRANSACTION: Final = Ignored("more of a transaction already counted")
LOCAL_QUEUE_ID: Final = Ignored("queue id that no client opened")
QUEUE: Final = Ignored("queue housekeeping")
UNKNOWN_SMTPD: Final = Ignored("unknown smtpd line")
UNKNOWN_POSTSCREEN: Final = Ignored("unknown postscreen line")

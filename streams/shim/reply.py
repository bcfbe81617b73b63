"""A refusal: what Postfix is told, and the line that the shim's log has about it."""

from functools import lru_cache
from typing import Final

import msgspec

from streams.model.client import Client
from streams.model.decision import Trigger
from streams.model.instant import rfc3339
from streams.model.policy import Replies
from streams.shim.table import FOREVER
from streams.wire.policy_protocol import PolicyRequest

MAX_REPLY: Final = 400
"""Longest reply in characters: an SMTP reply line holds 512 octets, and Postfix puts its own words before."""

CONNECT: Final = b"CONNECT"
_MAX_SHOWN: Final = 128


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A request that is refused: what is answered, and why."""

    action: bytes
    """The whole answer, as it goes to Postfix."""
    client: Client
    request: PolicyRequest
    trigger: Trigger
    rule: str
    ends: int
    """First instant (microseconds) at which the client is let in; `FOREVER` where nothing ends by itself."""
    shows: tuple[bytes, ...] = ()
    """Attributes of the request that were judged."""
    everywhere: bool = True
    """Whether the client is refused at every stage, the connection too."""

    @property
    def puts_off(self) -> bool:
        """Whether the client is asked to come back (4xx)."""
        return self.action.startswith(b"action=4")

    def __str__(self) -> str:
        """One line for a log, of printable ASCII only."""
        address = printable(self.request.client_address, 64)
        stage = printable(self.request.protocol_state, 32) or "an unnamed stage"
        reply = self.action.decode("ascii").strip().removeprefix("action=")
        why = [self.rule]
        why += [
            f"{name.decode()}=<{printable(self.request.attribute(name), _MAX_SHOWN)}>" for name in self.shows
        ]
        if self.ends != FOREVER:
            why.append(f"until {rfc3339(self.ends)}")
        elif self.rule == "blocks":
            why.append("until the entry is removed")
        return f"refused {address} at {stage}: {reply} ({', '.join(why)})"


def reply(replies: Replies, request: PolicyRequest, reason: str, decided: int = 0) -> bytes:
    """The answer by stage: the connect code at CONNECT, the session code at any other.

    What defers (4xx, a first greylist attempt) defers at every stage.
    """
    if 400 <= decided < 500:
        code = decided
    elif request.protocol_state == CONNECT:
        code = replies.connect_code
    else:
        code = replies.session_code
    return _action(code, replies.enhanced_status, replies.opening, reason)


@lru_cache(maxsize=4096)
def _action(code: int, enhanced_status: str, opening: str, reason: str) -> bytes:
    # the class of an enhanced status must be that of the code (RFC 2034, section 4)
    status = f"{code // 100}{enhanced_status[1:]}"
    # `>: ` ends what the client wrote in the MTA's log: behind it our words begin (wire/postfix/ours.py)
    text = printable(f"{code} {status} {opening}: {reason.replace('>: ', '> ')}", MAX_REPLY)
    return f"action={text}\n\n".encode("ascii")


def printable(text: str | bytes, longest: int) -> str:
    """The text as printable ASCII (anything else as `?`), cut to `longest` characters."""
    if isinstance(text, bytes):
        text = text[:longest].decode("ascii", "replace")
    return "".join(c if " " <= c <= "~" else "?" for c in text[:longest])

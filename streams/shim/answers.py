"""What the MTA is told about one request: the policy and the decisions that stand, looked up."""

from functools import lru_cache
from socket import AF_INET, inet_pton
from typing import Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import Address, Client, parse_address
from streams.model.decision import Trigger
from streams.model.instant import rfc3339
from streams.model.policy import Module, Replies
from streams.model.standing import PolicyIndex, Standing
from streams.shim.table import FOREVER, DecisionTable
from streams.wire.policy_protocol import PolicyRequest

EXEMPTED_BY: Final[dict[Trigger, Module]] = {
    "rate": "rate",
    "reputation": "dnsbl",
    "greylist": "greylist",
    "protocol": "protocol",
}
"""Which module's exemption lifts a trigger's decisions."""

MAX_REPLY: Final = 400
"""Longest reply in characters: an SMTP reply line holds 512 octets, and Postfix puts its own words before."""

MAX_ADDRESS: Final = 64
"""Longest text that can be an address, in characters."""

_MEMO_ENTRIES: Final = 65_536
_CONNECT: Final = b"CONNECT"


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A request that is refused: what is answered, and why."""

    action: bytes
    """The whole answer, as it goes to Postfix."""
    client: Client
    request: PolicyRequest
    rule: str
    ends: int
    """First instant (microseconds) at which the client is let in; `FOREVER` for a block list entry."""

    def __str__(self) -> str:
        """One line for a log, of printable ASCII only."""
        until = f"until {rfc3339(self.ends)}" if self.ends != FOREVER else "until the entry is removed"
        address = printable(self.request.client_address, 64)
        stage = printable(self.request.protocol_state, 32) or "an unnamed stage"
        reply = self.action.decode("ascii").strip().removeprefix("action=")
        return f"refused {address} at {stage}: {reply} ({self.rule}, {until})"


class Answers:
    """Answers from the table and the policy alone; no clock: the caller brings `now` in microseconds."""

    def __init__(self, index: PolicyIndex, table: DecisionTable) -> None:
        self._table = table
        self._index = index
        self._plain: dict[bytes, Client] = {}
        """Memo of addresses of which the policy says nothing but limits: nearly all. Its values are plain
        strings, which the garbage collector need not walk."""
        self._special: dict[bytes, tuple[Client, Standing] | None] = {}
        """Memo of the rest; None is nobody."""

    def use(self, index: PolicyIndex) -> None:
        """Answer by this policy from now on. To be called where `refusal` is: the memo is not locked."""
        self._index = index
        self._plain, self._special = {}, {}

    def refusal(self, request: PolicyRequest, now: int) -> Refusal | None:
        """The refusal, or None where the matter is left to Postfix (DUNNO): also for what is no address.

        An administrator's block comes first, then the decisions in order of precedence. An exemption lifts
        the decisions of its module at once; it does not lift the administrator's block.
        """
        address = request.client_address
        client = self._plain.get(address)
        standing = None
        if client is None:
            known = self._special[address] if address in self._special else self._look_up(address)
            if known is None:
                return None
            client, standing = known
            if standing.block is not None:
                replies, note = self._index.policy.replies, standing.block.note
                reason = f"{replies.blocklist}: {note}" if note else replies.blocklist
                return Refusal(_action(replies, request, reason), client, request, "blocks", FOREVER)
        for held in self._table.of(client):
            decision = held.decision
            if (
                now < held.ends
                and held.refuses
                and not (standing and standing.exempt(EXEMPTED_BY[decision.trigger], now))
            ):
                action = _action(self._index.policy.replies, request, decision.reason, decision.code)
                return Refusal(action, client, request, decision.rule, held.ends)
        return None

    def _look_up(self, written: bytes) -> tuple[Client, Standing] | None:
        """Resolve an address as Postfix wrote it and remember the outcome (bounded: then it starts anew)."""
        address = _address(written)
        if len(self._plain) + len(self._special) >= _MEMO_ENTRIES:
            self._plain, self._special = {}, {}
        if address is None:
            if len(written) <= MAX_ADDRESS:
                self._special[written] = None
            return None
        client, standing = self._index.policy.clients.client_of(address), self._index.standing(address)
        if standing.block is None and not standing.exemptions:
            self._plain[written] = client
        else:
            self._special[written] = client, standing
        return client, standing


def _address(written: bytes) -> Address | None:
    """The canonical address, or None for what is none: `unknown`, nothing, a host name."""
    try:
        text = written.decode("ascii")
        try:
            inet_pton(AF_INET, text)
        except OSError:
            return parse_address(text)
        # what this reads is in canonical form already, and it takes a tenth of the time
        return Address(text)
    except (UnicodeDecodeError, ValueError, InvalidValueError):
        return None


def _action(replies: Replies, request: PolicyRequest, reason: str, decided: int = 0) -> bytes:
    """The answer by stage: the connect code at CONNECT, the session code at any other.

    A decision that defers (4xx, a first greylist attempt) defers at every stage.
    """
    if 400 <= decided < 500:
        code = decided
    elif request.protocol_state == _CONNECT:
        code = replies.connect_code
    else:
        code = replies.session_code
    return _text(code, replies.enhanced_status, replies.opening, reason)


@lru_cache(maxsize=4096)
def _text(code: int, enhanced_status: str, opening: str, reason: str) -> bytes:
    # the class of an enhanced status must be that of the code (RFC 2034, section 4)
    status = f"{code // 100}{enhanced_status[1:]}"
    reply = printable(f"{code} {status} {opening}: {reason}", MAX_REPLY)
    return f"action={reply}\n\n".encode("ascii")


def printable(text: str | bytes, longest: int) -> str:
    """The text as printable ASCII (anything else as `?`), cut to `longest` characters."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return "".join(c if " " <= c <= "~" else "?" for c in text[:longest])

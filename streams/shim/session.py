"""What is refused inside a session by what the client says there: violations, first greylist attempts."""

from socket import AF_INET, inet_pton
from typing import Final

from streams.engine.outcome import in_shadow, lets_off
from streams.errors import InvalidValueError
from streams.model.client import Address, Client, parse_address
from streams.model.greylist import pool_of
from streams.model.modules import VIOLATIONS
from streams.model.policy import Module
from streams.model.standing import PolicyIndex
from streams.shim.greylist import GreylistMemory
from streams.shim.reply import CONNECT, Refusal, reply
from streams.shim.smtp_rules import is_forged, is_helo_name
from streams.shim.table import FOREVER
from streams.wire.policy_protocol import PolicyRequest

RCPT: Final = b"RCPT"
_DATA: Final = b"DATA"
_FIRST: Final = "first_attempt"
_MAX_NAME: Final = 255


class SessionRules:
    """One policy's rules of this kind. Not for threads; the greylist's memory is shared and locks itself."""

    def __init__(self, index: PolicyIndex, greylist: GreylistMemory) -> None:
        self._index = index
        self._memory = greylist
        self._greylist = index.policy.greylist
        protocol = index.policy.protocol
        self._protocol = protocol.invalid_helo or protocol.forged_sender
        self.any = self._protocol or self._greylist.enabled
        """Whether there is anything to judge."""
        self.in_shadow = 0
        """Requests that a rule in shadow would have refused."""
        self.greylisted = 0
        """Requests that were put off."""

    def refusal(self, request: PolicyRequest, client: Client, now: int) -> Refusal | None:
        """The refusal of a request that nothing standing refuses. A violation comes before greylisting:
        whom a retry does not help is not asked for one."""
        stage = request.protocol_state
        address = written_address(request.client_address)
        if stage == CONNECT or address is None:
            return None
        if self._protocol and (found := self._violation(request, address, client, now)) is not None:
            return found
        if self._greylist.enabled and stage in {RCPT, _DATA}:
            return self._first_attempt(request, address, client, now)
        return None

    def _violation(
        self, request: PolicyRequest, address: Address, client: Client, now: int
    ) -> Refusal | None:
        name, shows = self._violated(request)
        if not name or self._let_off("protocol", address, self._index.policy.protocol.internal, now):
            return None
        rule, replies = VIOLATIONS[name], self._index.policy.replies
        if in_shadow(self._index, "protocol", rule):
            self.in_shadow += 1
            return None
        action = reply(replies, request, f"{replies.protocol}: {name}")
        return Refusal(action, client, request, "protocol", rule, FOREVER, shows, everywhere=False)

    def _violated(self, request: PolicyRequest) -> tuple[str, tuple[bytes, ...]]:
        """The first violation by name, and the attributes that show it; empty where there is none."""
        protocol = self._index.policy.protocol
        if protocol.invalid_helo:
            helo = request.text(b"helo_name")
            if helo and not is_helo_name(helo):
                return "invalid HELO", (b"helo_name",)
        if protocol.forged_sender:
            login = request.text(b"sasl_username")
            if login and is_forged(request.text(b"sender"), login):
                return "forged sender", (b"sender", b"sasl_username")
        return "", ()

    def _first_attempt(
        self, request: PolicyRequest, address: Address, client: Client, now: int
    ) -> Refusal | None:
        sender, recipient = request.text(b"sender"), request.text(b"recipient")
        # A callout asks with the null sender whether an address exists, and hangs up after RCPT; putting it
        # off would hold up our own mail at the server that asks (RFC 6647). Bounces go on to DATA.
        if (request.protocol_state == RCPT) != bool(sender):
            return None
        if recipient.partition("@")[0].lower() == "postmaster":
            return None  # who is put off by mistake must reach somebody (RFC 5321, 4.5.1)
        if not self._greylist.authenticated and request.attribute(b"sasl_username"):
            return None
        if self._let_off("greylist", address, self._greylist.internal, now):
            return None
        name = request.text(b"client_name")
        pool = pool_of(name, address) if len(name) <= _MAX_NAME else ""
        attempt = self._memory.attempt(client, address, pool, sender, recipient, now)
        if attempt.passes:
            return None
        if in_shadow(self._index, "greylist", _FIRST):
            self.in_shadow += 1
            return None
        self.greylisted += 1
        replies = self._index.policy.replies
        action = reply(replies, request, f"{replies.greylisted} {attempt.seconds_left(now)} s", 451)
        rule = _FIRST if attempt.first else "early_retry"
        shows = (b"sender", b"recipient")
        return Refusal(action, client, request, "greylist", rule, attempt.due, shows, everywhere=False)

    def _let_off(self, module: Module, address: Address, internal_too: bool, now: int) -> bool:
        standing = self._index.standing(address)
        return (standing.internal and not internal_too) or lets_off(self._index, standing, module, now)


def written_address(written: bytes) -> Address | None:
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

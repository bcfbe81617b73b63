"""What the MTA is told about one request: the policy and the decisions that stand, looked up."""

from typing import Final

from streams.engine.outcome import in_shadow, lets_off, moot
from streams.model.client import Client
from streams.model.policy import MODULE_OF
from streams.model.standing import PolicyIndex, Standing
from streams.shim.greylist import GreylistMemory
from streams.shim.reply import Refusal, reply
from streams.shim.session import SessionRules, written_address
from streams.shim.table import FOREVER, DecisionTable, Held
from streams.wire.policy_protocol import PolicyRequest

MAX_ADDRESS: Final = 64
"""Longest text that can be an address, in characters."""

_MEMO_ENTRIES: Final = 65_536
_TRANSACTION: Final = frozenset((b"MAIL", b"RCPT", b"DATA", b"END-OF-MESSAGE"))
"""Stages at which a greylist decision refuses: a client that does not retry may still say hello."""


class Answers:
    """Answers from what is known alone; no clock: the caller brings `now` in microseconds."""

    def __init__(
        self, index: PolicyIndex, table: DecisionTable, greylist: GreylistMemory | None = None
    ) -> None:
        self._table = table
        self._greylist = greylist or GreylistMemory(index.policy.greylist)
        self.index = index
        """The policy in force."""
        self.session = SessionRules(index, self._greylist)
        self._nowhere = Standing(limits=index.policy.limits)
        """Of an address of which the policy says nothing but limits, which do not matter here."""
        self._plain: dict[bytes, Client] = {}
        """Memo of addresses of which the policy says nothing but limits: nearly all. Its values are plain
        strings, which the garbage collector need not walk."""
        self._special: dict[bytes, tuple[Client, Standing] | None] = {}
        """Memo of the rest; None is nobody."""

    def use(self, index: PolicyIndex) -> None:
        """Answer by this policy from now on. To be called where `refusal` is: the memo is not locked."""
        before = self.session
        self.index = index
        self._greylist.use(index.policy.greylist)
        self.session = SessionRules(index, self._greylist)
        self.session.greylisted, self.session.in_shadow = before.greylisted, before.in_shadow
        self._plain, self._special = {}, {}

    def refusal(self, request: PolicyRequest, now: int) -> Refusal | None:
        """The refusal, or None where the matter is left to Postfix (DUNNO): also for what is no address.

        An administrator's block comes first, then the decisions in order of precedence, then what is judged
        in the session. An exemption or a suspension lifts the decisions of its module at once; neither lifts
        the administrator's block.
        """
        address = request.client_address
        client = self._plain.get(address)
        standing = None
        if client is None:
            known = self._special[address] if address in self._special else self._look_up(address)
            if known is None:
                return None
            client, standing = known
            if standing.blocks and (found := self._blocked(request, client, standing, now)):
                return found
        for held in self._table.of(client):
            if now < held.ends and held.refuses and not self._lifted(held, request, standing, now):
                action = reply(self.index.policy.replies, request, held.reason, held.code)
                everywhere = held.trigger != "greylist"
                return Refusal(
                    action, client, request, held.trigger, held.rule, held.ends, everywhere=everywhere
                )
        return self.session.refusal(request, client, now) if self.session.any else None

    def awaited(self, request: PolicyRequest, now: int) -> Client | None:
        """The client, where a verdict of the DNSBLs on it would count: not where it is refused anyway."""
        address = written_address(request.client_address)
        if address is None:
            return None
        standing = self.index.standing(address)
        if (standing.internal and not self.index.policy.reputation.internal) or lets_off(
            self.index, standing, "dnsbl", now
        ):
            return None
        client = self.index.policy.clients.client_of(address)
        if self._blocked(request, client, standing, now) is not None or any(
            now < held.ends and held.refuses and not self._lifted(held, request, standing, now)
            for held in self._table.of(client)
        ):
            return None
        return client

    def _blocked(
        self, request: PolicyRequest, client: Client, standing: Standing, now: int
    ) -> Refusal | None:
        block = standing.blocked(now)
        if block is None:
            return None
        replies = self.index.policy.replies
        reason = f"{replies.blocklist}: {block.note}" if block.note else replies.blocklist
        ends = FOREVER if block.expires is None else int(block.expires)
        return Refusal(reply(replies, request, reason), client, request, "blocklist", "blocks", ends)

    def _lifted(self, held: Held, request: PolicyRequest, standing: Standing | None, now: int) -> bool:
        """Whether a decision that stands refuses nobody at this instant, or nobody at this stage."""
        module = MODULE_OF[held.trigger]
        return (
            (standing is not None and standing.exempt(module, now))
            or self.index.suspended(module, now)
            or in_shadow(self.index, held.trigger, held.rule)
            or bool(moot(self.index, standing or self._nowhere, held.trigger, held.rule, held.reason))
            or (held.trigger == "greylist" and request.protocol_state not in _TRANSACTION)
        )

    def _look_up(self, written: bytes) -> tuple[Client, Standing] | None:
        """Resolve an address as Postfix wrote it and remember the outcome (bounded: then it starts anew)."""
        address = written_address(written)
        if len(self._plain) + len(self._special) >= _MEMO_ENTRIES:
            self._plain, self._special = {}, {}
        if address is None:
            if len(written) <= MAX_ADDRESS:
                self._special[written] = None
            return None
        client, standing = self.index.policy.clients.client_of(address), self.index.standing(address)
        if not standing.blocks and not standing.exemptions and not standing.internal:
            self._plain[written] = client
        else:
            self._special[written] = client, standing
        return client, standing

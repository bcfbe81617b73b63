"""Whether a sender's domain exists: it has an MX, or else an address (RFC 5321, 5.1; null MX: RFC 7505)."""

import asyncio
import logging
import re
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.rdatatype

from streams.agents.reputation.answers import NoAnswerError
from streams.agents.reputation.cache import TROUBLE_S
from streams.agents.reputation.lookups import SERVICE
from streams.agents.reputation.messages import AAAA, MX, NOERROR, NXDOMAIN, A, question
from streams.agents.reputation.zones import Zones
from streams.errors import InvalidValueError
from streams.model.decision import derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.standing import PolicyIndex

VIOLATION: Final = "invalid sender"
MAX_DOMAINS: Final = 50_000
WAITING: Final = 5_000
"""Domains that wait at most; the events of those beyond are let alone."""
_EVENTS: Final = 100
"""Events that wait for one domain at most."""
_AT_ONCE: Final = 50
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_log = logging.getLogger(__name__)


def domain_of(sender: str) -> str:
    """The sender's domain as DNS is asked for it; empty where there is none to ask for: no domain, an address
    literal, a name without a dot, a text that is no name."""
    local, at, domain = sender.rpartition("@")
    if not at or not local or len(domain) > 253:
        return ""
    try:
        asked = domain.lower().rstrip(".").encode("idna").decode() if not domain.isascii() else domain.lower()
    except UnicodeError:
        return ""
    labels = asked.removesuffix(".").split(".")
    return ".".join(labels) if len(labels) > 1 and all(map(_LABEL.fullmatch, labels)) else ""


async def domain_exists(domain: str, zones: Zones, timeout_s: float) -> bool | None:
    """Whether mail could be answered to this domain; None where nobody could say."""
    try:
        for kind in (MX, A, AAAA):
            asked = question(domain, kind)
            message = dns.message.from_wire(
                await zones.resolver.ask(asked, timeout_s), ignore_trailing=True, one_rr_per_rrset=True
            )
            if message.rcode() == NXDOMAIN:
                return False
            if message.rcode() != NOERROR:
                return None
            records = [rrset[0] for rrset in message.answer if rrset.rdtype == kind]
            if records:
                return kind != MX or any(record.exchange != dns.name.root for record in records)
    except (NoAnswerError, InvalidValueError, dns.exception.DNSException):
        return None
    return False


class SenderCheck:
    """Takes events with a sender, gives `violation` events for senders whose domain does not exist."""

    def __init__(
        self, zones: Zones, tell: Callable[[Event], None], *, index: PolicyIndex, domains: int = MAX_DOMAINS
    ) -> None:
        self.looked_up = 0
        self.nonexistent = 0
        """Senders found so."""
        self._zones = zones
        self._tell = tell
        self._domains = domains
        self._index = index
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        """Domain → (is known not to exist, until)."""
        self._waiting: dict[str, list[Event]] = {}
        self._queue: deque[str] = deque()
        """Those of them that nobody was asked about yet."""
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Domains whose answer is awaited."""
        return len(self._waiting)

    def follow(self, index: PolicyIndex) -> None:
        """From now on this policy counts."""
        self._index = index

    def sent(self, event: Event) -> None:
        """A message, or a refused MAIL or RCPT. Never waits."""
        protocol = self._index.policy.protocol
        if not protocol.invalid_sender or (event.kind != "message" and not event.code):
            return
        domain = domain_of(event.sender)
        standing = self._index.standing(event.address)
        if (
            not domain
            or standing.exempt("protocol", event.at)
            or (standing.internal and not protocol.internal)
            or self._index.suspended("protocol", event.at)
        ):
            return
        known = self._known.get(domain)
        if known is not None and known[1] > asyncio.get_running_loop().time():
            self._known.move_to_end(domain)
            self._judge(domain, [event], nonexistent=known[0])
        elif domain in self._waiting:
            if len(self._waiting[domain]) < _EVENTS:
                self._waiting[domain].append(event)
        elif len(self._waiting) < WAITING:
            self._waiting[domain] = [event]
            self._queue.append(domain)
            self._start()

    def _start(self) -> None:
        while self._queue and len(self._under_way) < _AT_ONCE:
            domain = self._queue.popleft()
            task = asyncio.get_running_loop().create_task(self._look(domain), name=domain)
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the look-up of a sender's domain failed", exc_info=error)
            self._waiting.pop(task.get_name(), None)
        self._start()

    async def _look(self, domain: str) -> None:
        bounds = self._index.policy.reputation
        exists = await domain_exists(domain, self._zones, bounds.timeout_ms / 1000)
        hold_s = TROUBLE_S if exists is None else bounds.ttl_min_s
        self.looked_up += 1
        if len(self._known) >= self._domains:
            self._known.popitem(last=False)
        self._known[domain] = (exists is False, asyncio.get_running_loop().time() + hold_s)
        self._judge(domain, self._waiting.pop(domain, []), nonexistent=exists is False)

    def _judge(self, domain: str, events: list[Event], *, nonexistent: bool) -> None:
        for event in events if nonexistent else ():
            self.nonexistent += 1
            self._tell(
                Event(
                    id=derived_id(VIOLATION, event.id),
                    at=Instant(event.at),
                    kind="violation",
                    client=event.client,
                    address=event.address,
                    session=event.session,
                    host=event.host,
                    service=SERVICE,
                    violation=VIOLATION,
                    detail=domain,
                )
            )

"""Whom to look up, and when: each client once at a time, so many at once, so many waiting, from a cache where
that still holds. What came of it goes to `tell` as a reputation event.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.agents.reputation.cache import TROUBLE_S, Cache, Known
from streams.agents.reputation.zones import Zones
from streams.model.client import Client
from streams.model.decision import derived_id
from streams.model.event import MAX_TEXT, Event
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.standing import PolicyIndex

WAITING: Final = 20_000
"""Clients that wait for a look-up at most; beyond it the one that has waited longest is left out."""
SERVICE: Final = "reputation"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LookUpCounts:
    """For the status line."""

    looked_up: int = 0
    listed: int = 0
    """Look-ups that found a listing."""
    cached: int = 0
    """Connects that were known already."""
    left_alone: int = 0
    """Connects of addresses that are exempt, internal, or come while the module is suspended."""
    dropped: int = 0
    told: int = 0


class LookUps:
    """Takes connects, gives reputation events. Lives inside one loop; remembers no event longer than its
    look-up takes."""

    def __init__(
        self,
        zones: Zones,
        tell: Callable[[Event], None],
        *,
        number: int,
        index: PolicyIndex,
        cache: Cache | None = None,
        waiting: int = WAITING,
    ) -> None:
        self.counts = LookUpCounts()
        self.cache: Final = Cache() if cache is None else cache
        self._zones = zones
        self._tell = tell
        self._max_waiting = waiting
        self._waiting: OrderedDict[Client, Event] = OrderedDict()
        self._under_way: dict[Client, asyncio.Task[None]] = {}
        self._number, self._index = number, index

    @property
    def waiting(self) -> int:
        """Clients whose look-up has not begun."""
        return len(self._waiting)

    @property
    def under_way(self) -> int:
        """Look-ups in flight."""
        return len(self._under_way)

    def follow(self, number: int, index: PolicyIndex) -> None:
        """From now on this policy counts; listings that are known are told once more, as it may judge
        otherwise."""
        self._number, self._index = number, index

    def connected(self, event: Event) -> None:
        """A client connected. Never waits."""
        index, address = self._index, event.address
        if not index.zones:
            return
        standing = index.standing(address)
        if (
            standing.exempt("dnsbl", event.at)
            or (standing.internal and not index.policy.reputation.internal)
            or index.suspended("dnsbl", event.at)
        ):
            self.counts.left_alone += 1
            return
        known = self.cache.get(address)
        if known is not None and not self._missing(known, event):
            self.counts.cached += 1
            self._say(event, known)
            return
        if event.client in self._waiting or event.client in self._under_way:
            return
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popitem(last=False)
            self.counts.dropped += 1
        self._waiting[event.client] = event
        self._start()

    def forget(self, client: Client) -> None:
        """An administrator wants the client judged afresh: its next connect is looked up again."""
        of = self._index.policy.clients.client_of
        for address in self.cache.addresses():
            if of(address) == client:
                self.cache.drop(address)

    def undelivered(self, event: Event) -> None:
        """An event that was told did not reach Kafka: the next connect tells it again."""
        known = self.cache.get(event.address)
        if known is not None:
            known.told = None

    def _missing(self, known: Known | None, event: Event) -> list[str]:
        """The zones to be asked about it: those whose answer is not known, or no longer holds."""
        domains = self._zones.domains_for(event.address)
        if known is None:
            return domains
        now, held = asyncio.get_running_loop().time(), known.held
        return [domain for domain in domains if domain not in held or held[domain].until <= now]

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._under_way) < self._index.policy.reputation.concurrency:
            client, event = self._waiting.popitem(last=False)
            self._under_way[client] = loop.create_task(self._look(client, event))

    async def _look(self, client: Client, event: Event) -> None:
        try:
            domains = self._missing(self.cache.get(event.address), event)
            found = await self._zones.look(event.address, domains)
            known, now = self.cache.of(event.address), asyncio.get_running_loop().time()
            for domain, answer in found.items():
                known.hold(domain, answer, now)
            self.counts.looked_up += 1
            self.counts.listed += any(answer.codes for answer in found.values())
            self._say(event, known)
        except Exception:
            _log.exception("the look-up of %s failed", event.address)
        finally:
            del self._under_way[client]
            self._start()

    def _say(self, event: Event, known: Known) -> None:
        """Tell a listing, its end, and where the shim waits for it a clean verdict; each once while it holds,
        and again under another policy. Zones that are out do not count, nor does what they said."""
        now, address = asyncio.get_running_loop().time(), event.address
        held = {domain: known.held.get(domain) for domain in self._zones.domains_for(address)}
        holding = {domain: one for domain, one in held.items() if one is not None and one.until > now}
        listed = {domain: one for domain, one in holding.items() if one.codes}
        detail = detail_of({domain: one.codes for domain, one in listed.items()})
        if not listed:
            said_listed = known.told is not None and bool(known.told[1])
            whole = len(holding) == self._zones.count_for(address) and not any(
                one.failed for one in holding.values()
            )
            if not (said_listed and whole) and not self._index.policy.reputation.wait_ms:
                return
        if known.told == (self._number, detail) and event.at < known.told_until:
            return
        chosen = list((listed or holding).values())
        ttl_s = max(1, round(min((one.until - now for one in chosen), default=TROUBLE_S)))
        known.told = (self._number, detail)
        known.told_until = event.at + ttl_s * MICROSECONDS
        self.counts.told += 1
        self._tell(reputation_event(event, detail, ttl_s))


def detail_of(listed: Mapping[str, tuple[str, ...]]) -> str:
    """`ZONE CODE[,CODE]; ZONE CODE`, as many whole zones as fit."""
    detail = ""
    for domain, codes in listed.items():
        longer = f"{detail}{'; ' if detail else ''}{domain} {','.join(codes)}"
        if len(longer) > MAX_TEXT:
            break
        detail = longer
    return detail


def reputation_event(connect: Event, detail: str, ttl_s: int) -> Event:
    """What zones answered about the address of this connect; the same answer has the same id."""
    return Event(
        id=derived_id("reputation", connect.address, rfc3339(connect.at), detail),
        at=Instant(connect.at),
        kind="reputation",
        client=connect.client,
        address=connect.address,
        session=connect.session,
        host=connect.host,
        service=SERVICE,
        detail=detail,
        ttl_s=ttl_s,
    )

"""The policy's zones: one look at an address in all that work, and the tests that say which do.

No zone waits for another: a zone that is taken out ends its questions in flight at once, so the longest that
a dead zone can hold up a look is one `timeout_ms`.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from streams.agents.reputation.answers import Answer, NoAnswerError, Trouble, read_answer, silent
from streams.agents.reputation.health import ZoneHealth, verdict_of_test
from streams.agents.reputation.messages import A, question, read_reply
from streams.agents.reputation.names import known_entries, reversed_labels, zone_name
from streams.agents.reputation.resolver import Resolver, open_resolver
from streams.errors import InvalidValueError
from streams.model.client import Address
from streams.model.modules import Reputation, Zone

OnChange = Callable[[Zone, Trouble | None], None]
"""A zone went out, and why; None: it is back."""

FRESH_S: Final = 5.0
"""A listing counts where its zone passed a test within this time before; else it is tested first."""
_TICK_S: Final = 0.2


@dataclass(slots=True)
class _Place:
    """One zone and what is under way in it."""

    health: ZoneHealth
    asked: "set[asyncio.Future[bytes]]" = field(default_factory=set)
    """Questions about clients in flight."""
    test: "asyncio.Task[Trouble | None] | None" = None


class Zones:
    """All zones of the policy that is in force. Lives inside one loop."""

    def __init__(self, on_change: OnChange) -> None:
        self.resolver = Resolver(())
        self.asked = 0
        """Questions about clients so far."""
        self._bounds = Reputation()
        self._on_change = on_change
        self._places: dict[str, _Place] = {}
        self._loop = asyncio.get_running_loop()

    async def follow(self, zones: Iterable[Zone], bounds: Reputation) -> None:
        """From now on these zones are asked, in this way; what is known of a zone that stays is kept."""
        if bounds.resolvers != self._bounds.resolvers or not self.resolver.shown:
            before, self.resolver = self.resolver, await open_resolver(bounds.resolvers)
            before.close()
        self._bounds = bounds
        now, before_places, self._places = self._loop.time(), self._places, {}
        for zone in zones:
            if not zone.enabled:
                continue
            place = before_places.pop(zone.domain, None)
            if place is None or place.health.zone != zone:
                kept = place
                place = _Place(ZoneHealth(zone, every_s=bounds.health_every_s, now=now))
                if kept is not None:  # what it is called may change without its being judged anew
                    place.health.trouble = kept.health.trouble
                    self._end(kept)
            place.health.every_s = bounds.health_every_s
            self._places[zone.domain] = place
        for place in before_places.values():
            self._end(place)

    def domains_for(self, address: Address) -> list[str]:
        """The zones that would be asked about this address now, in the policy's order."""
        is_ipv6 = ":" in address
        return [
            domain
            for domain, place in self._places.items()
            if not place.health.out and (place.health.zone.ipv6 if is_ipv6 else place.health.zone.ipv4)
        ]

    def count_for(self, address: Address) -> int:
        """How many zones know addresses of this kind, those that are out as well."""
        is_ipv6 = ":" in address
        zones = (place.health.zone for place in self._places.values())
        return sum(zone.ipv6 if is_ipv6 else zone.ipv4 for zone in zones)

    def states(self) -> list[ZoneHealth]:
        """The health of every zone."""
        return [place.health for place in self._places.values()]

    async def look(self, address: Address, domains: Iterable[str]) -> dict[str, Answer]:
        """What these zones say about the address, asked at once; each within `timeout_ms`."""
        timeout_s = self._bounds.timeout_ms / 1000
        under_way = []
        for domain in domains:
            place = self._places.get(domain)
            if place is None:
                continue
            self.asked += 1
            asked = question(zone_name(address, domain), A)
            reply = self.resolver.ask(asked, timeout_s)
            place.asked.add(reply)
            under_way.append((domain, place, asked, reply))
        found = {}
        for domain, place, asked, reply in under_way:
            answer = await self._answer(asked, reply)
            place.asked.discard(reply)
            if answer.codes:
                answer = await self._confirmed(answer, place)
            found[domain] = answer
            if place.health.answered(answer, self._loop.time()):
                self._changed(place)
        return found

    async def _confirmed(self, answer: Answer, place: _Place) -> Answer:
        """A listing, unless its zone turns out to be out: one that lists everybody since its last test must
        not have everybody refused until its next."""
        health = place.health
        if health.zone.test and self._loop.time() - health.tested_at > FRESH_S and not health.out:
            await asyncio.wait([self._start_test(place)])
        return Answer(trouble=health.trouble) if health.out else answer

    def _start_test(self, place: _Place) -> "asyncio.Task[Trouble | None]":
        if place.test is None or place.test.done():
            place.test = self._loop.create_task(self._test(place))
        return place.test

    async def _answer(self, asked: bytes, reply: "asyncio.Future[bytes]") -> Answer:
        try:
            return read_answer(read_reply(await reply, asked), self._bounds)
        except NoAnswerError as error:
            return Answer(trouble=silent(f"{error} (resolver: {self.resolver.shown or 'none'})"))
        except InvalidValueError as error:
            return Answer(trouble=silent(f"its answers cannot be read: {error.what}"))

    def _changed(self, place: _Place) -> None:
        if place.health.out:
            for reply in list(place.asked):
                if not reply.done():
                    reply.set_exception(NoAnswerError("the zone was taken out"))
        if self._places.get(place.health.zone.domain) is place:
            self._on_change(place.health.zone, place.health.trouble)

    def _end(self, place: _Place) -> None:
        if place.test is not None:
            place.test.cancel()
        for reply in place.asked:
            if not reply.done():
                reply.set_exception(NoAnswerError("the zone was removed"))

    async def test_for_ever(self) -> None:
        """Test each zone whenever it is due, each by itself."""
        while True:
            now = self._loop.time()
            for place in list(self._places.values()):
                if now >= place.health.next_test_at and (place.health.zone.test or place.health.out):
                    self._start_test(place)
            await asyncio.sleep(_TICK_S)

    async def test_all(self) -> dict[str, Trouble | None]:
        """Test every zone once, now; what each test found, None where the zone works."""
        places = dict(self._places)
        found = await asyncio.gather(*(self._test(place) for place in places.values()))
        return dict(zip(places, found, strict=True))

    async def _test(self, place: _Place) -> Trouble | None:
        zone = place.health.zone
        first, second = known_entries(zone)
        listed, unlisted = await asyncio.gather(self._ask(first, zone), self._ask(second, zone))
        trouble = verdict_of_test(listed, unlisted, entries=zone.test)
        if place.health.tested(trouble, self._loop.time()):
            self._changed(place)
        return trouble

    async def _ask(self, entry: IPv4Address | IPv6Address, zone: Zone) -> Answer:
        asked = question(f"{reversed_labels(entry)}.{zone.domain}", A)
        return await self._answer(asked, self.resolver.ask(asked, self._bounds.timeout_ms / 1000))

    def close(self) -> None:
        """End what is under way."""
        for place in self._places.values():
            self._end(place)
        self.resolver.close()

"""The Faust app `reputation`: frames in; look-ups beside it, so that no frame waits for one.

A frame is acknowledged once its connects are noted. What is noted and not yet looked up is lost when the
process dies, which is harmless: the client's next connect asks again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faust

from streams.agents.reputation.answers import Trouble
from streams.agents.reputation.lookups import LookUps
from streams.agents.reputation.outbox import Outbox
from streams.agents.reputation.partners import PartnerWatch
from streams.agents.reputation.senders import SenderCheck
from streams.agents.reputation.words import partner_warning, zone_warning
from streams.agents.reputation.zones import Zones
from streams.agents.stage import end_at_once, raw_topic, stamp_us
from streams.config import KafkaSettings
from streams.errors import InvalidValueError
from streams.model.client import Client
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.modules import Partner, Zone
from streams.model.standing import PolicyIndex
from streams.topics import EVENTS
from streams.wire.frames import belongs, decode_frame, salvage_frame
from streams.wire.partition import partition_of

GROUP: Final = "goaway-reputation"
OLD_US: Final = 3600 * MICROSECONDS
"""An event so much older than the newest record is history: nobody waits for an answer about it."""
_FOLLOW_S: Final = 0.2
_FLUSH_S: Final = 3.0
_log = logging.getLogger(__name__)

Current = Callable[[], tuple[int, PolicyIndex]]
"""The policy in force and its number."""
Now = Callable[[], Instant]


class Stage:
    """The parts of one worker, and what a frame means to them. Made inside the loop."""

    def __init__(
        self, settings: KafkaSettings, current: Current, *, partitions: int, state: Path | None, now: Now
    ) -> None:
        self.assigned: set[int] | None = None
        """Partitions of this worker; None until it was told."""
        self.next_offsets: dict[int, int] = {}
        self.old = 0
        """Connects that were too old to be asked about."""
        self._current = current
        self._partitions = partitions
        self._now = now
        self._host = socket.gethostname()
        self._newest_us = 0
        self.number, self.index = current()
        self.zones = Zones(self._zone_changed)
        self.outbox = Outbox(settings, partitions, self._lost)
        self.lookups = LookUps(self.zones, self.outbox.event, number=self.number, index=self.index)
        self.senders = SenderCheck(self.zones, self.outbox.event, index=self.index)
        self.partners = PartnerWatch(
            self.zones, self._partner_changed, index=self.index, is_mine=self._is_mine, folder=state
        )

    def positions(self) -> dict[int, int | None] | None:
        """For the watchdog: see there."""
        assigned = self.assigned
        return None if assigned is None else {number: self.next_offsets.get(number) for number in assigned}

    async def start(self) -> None:
        """Ask the zones of the policy from now on."""
        await self.zones.follow(self.index.zones.values(), self.index.policy.reputation)

    async def follow_for_ever(self) -> None:
        """Take over each policy that comes into force."""
        while True:
            number, index = self._current()
            if number != self.number or index is not self.index:
                self.number, self.index = number, index
                await self.start()
                self.lookups.follow(number, index)
                self.senders.follow(index)
                self.partners.follow(index)
            await asyncio.sleep(_FOLLOW_S)

    def take(self, partition: int, offset: int, frame: bytes, record_us: int) -> None:
        """Note what a frame asks for. Never waits."""
        try:
            events = decode_frame(frame)
        except InvalidValueError:
            events = salvage_frame(frame)[0]  # the worker reports the rest
        record_us = min(record_us, self._now())  # a record without a time, or from a wrong clock
        self._newest_us = max(self._newest_us, record_us)
        for event in events:
            if event.kind == "connect" or event.sender or event.kind == "forget":
                self._take(event, record_us)
        self.next_offsets[partition] = offset + 1

    def _take(self, event: Event, record_us: int) -> None:
        if not self._newest_us - OLD_US <= event.at <= record_us + OLD_US:
            self.old += event.kind == "connect"
            return
        try:
            if not belongs(event, self.index.policy.clients):
                return
        except ValueError:
            return
        if event.kind == "connect":
            self.lookups.connected(event)
        elif event.kind == "forget":
            self.lookups.forget(event.client)
        elif event.kind in ("message", "mail", "rcpt"):
            self.senders.sent(event)

    def _is_mine(self, client: Client) -> bool:
        return partition_of(client, self._partitions) in (self.assigned or ())

    def _lost(self, event: Event) -> None:
        if event.kind == "reputation":
            self.lookups.undelivered(event)

    def _zone_changed(self, zone: Zone, trouble: Trouble | None) -> None:
        self.outbox.warning(
            zone_warning(zone, trouble, at=self._now(), policy=self.index.version, host=self._host)
        )

    def _partner_changed(self, partner: Partner, listed: list[Zone], cleared: list[Zone]) -> None:
        self.outbox.warning(
            partner_warning(
                partner, listed, cleared, at=self._now(), policy=self.index.version, host=self._host
            )
        )


def run_in(app: faust.App, make_stage: Callable[[], Stage], made: Callable[[Stage], None]) -> None:
    """Give the app its agent and the tasks beside it; `made` is told the stage once the loop runs."""
    events = raw_topic(app, EVENTS)
    ready: asyncio.Future[Stage] | None = None

    async def stage() -> Stage:
        nonlocal ready
        if ready is None:
            ready = asyncio.get_running_loop().create_future()
            try:
                one = make_stage()
                await one.start()
            except Exception as error:
                end_at_once(error)
                raise
            made(one)
            ready.set_result(one)
        return await asyncio.shield(ready)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def look_up(stream: Any) -> None:
        one = await stage()
        async for event in stream.noack().events():
            try:
                message = event.message
                one.take(message.partition, message.offset, event.value or b"", stamp_us(message.timestamp))
            except Exception as error:
                end_at_once(error)
            event.ack()

    async def guarded(work: Callable[[Stage], Any]) -> None:
        try:
            await work(await stage())
        except Exception as error:
            end_at_once(error)

    for work in (
        lambda one: one.follow_for_ever(),
        lambda one: one.zones.test_for_ever(),
        lambda one: one.partners.look_for_ever(),
        lambda one: one.outbox.poll_for_ever(),
    ):
        app.task(_task(guarded, work))

    @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]
    async def assigned(_: Any, got: Any, **__: Any) -> None:
        (await stage()).assigned = {place.partition for place in got if place.topic == EVENTS}

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def revoked(_: Any, gone: Any, **__: Any) -> None:
        one = await stage()
        lost = {place.partition for place in gone if place.topic == EVENTS}
        one.assigned = (one.assigned or set()) - lost
        for partition in lost:
            one.next_offsets.pop(partition, None)

    @app.on_before_shutdown.connect  # type: ignore[untyped-decorator]
    async def stop(*_: Any, **__: Any) -> None:
        if ready is not None and ready.done():
            ready.result().outbox.flush(_FLUSH_S)


def _task(guarded: Callable[[Callable[[Stage], Any]], Any], work: Callable[[Stage], Any]) -> Any:
    async def run(*_: Any) -> None:
        await guarded(work)

    return run

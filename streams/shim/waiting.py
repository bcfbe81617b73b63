"""Requests that wait a little for the first verdict on their client; everybody else is served meanwhile."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from streams.engine.outcome import in_shadow
from streams.model.client import Client
from streams.model.instant import MICROSECONDS
from streams.model.standing import PolicyIndex

MAX_WAITING: Final = 500
"""Requests that wait at once; beyond, they are answered without a verdict."""

MAX_WAITED: Final = 100_000
"""Clients remembered that were waited for in vain."""

WAITED_S: Final = 3600
"""How long such a client is not waited for again."""

Wake = Callable[[], None]


class _Wait(msgspec.Struct, gc=False):
    """One client that is waited for."""

    timer: asyncio.TimerHandle
    wakes: list[Wake]


class Waiting:
    """Who waits for whom. Lives in the event loop; only `arrived` may be called from other threads."""

    def __init__(
        self,
        judged: Callable[[Client, int], bool],
        connected: Callable[[], bool],
        *,
        capacity: int = MAX_WAITING,
    ) -> None:
        """`judged(client, now)`: whether a verdict is known. `connected()`: whether one can come at all."""
        self._judged = judged
        self._connected = connected
        self._capacity = capacity
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits: dict[Client, _Wait] = {}
        self._waited: OrderedDict[Client, int] = OrderedDict()
        """Clients that were waited for in vain → until when they are not waited for again."""
        self._count = 0
        self.wait_s = 0.0
        """Longest wait in seconds; 0: nobody waits."""
        self.started = 0
        """Requests that have waited."""

    def use(self, index: PolicyIndex) -> None:
        """Wait as this policy says: not at all where no zone is asked or no listing refuses."""
        off = not index.zones or in_shadow(index, "reputation", "")
        self.wait_s = 0.0 if off else index.policy.reputation.wait_ms / 1000

    def begin(self, client: Client, wake: Wake, now: int) -> bool:
        """Begin to wait, and have `wake` called once: at the verdict, or when the time is up.

        False where there is nothing to wait for: then the request is to be answered now.
        """
        if not self.wait_s or self._count >= self._capacity or now < self._waited.get(client, 0):
            return False
        if self._judged(client, now) or not self._connected():
            return False
        found = self._waits.get(client)
        if found is None:
            self._loop = asyncio.get_running_loop()
            timer = self._loop.call_later(self.wait_s, self._in_vain, client, now)
            found = self._waits[client] = _Wait(timer, [])
            # a verdict that came before this line found nobody to wake
            if self._judged(client, now):
                timer.cancel()
                del self._waits[client]
                return False
        found.wakes.append(wake)
        self._count += 1
        self.started += 1
        return True

    def leave(self, client: Client, wake: Wake) -> None:
        """Wait no longer: the connection is gone."""
        found = self._waits.get(client)
        if found is not None and wake in found.wakes:
            found.wakes.remove(wake)
            self._count -= 1

    def arrived(self, client: Client) -> None:
        """A verdict on the client is known now. From any thread."""
        if client in self._waits and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, client)

    def end_all(self) -> None:
        """Have everybody answered now; nobody waits any more."""
        self.wait_s = 0.0
        for client in list(self._waits):
            self._end(client)

    def _in_vain(self, client: Client, since: int) -> None:
        self._waited[client] = since + WAITED_S * MICROSECONDS
        self._waited.move_to_end(client)
        if len(self._waited) > MAX_WAITED:
            self._waited.popitem(last=False)
        self._end(client)

    def _end(self, client: Client) -> None:
        found = self._waits.pop(client, None)
        if found is None:
            return
        found.timer.cancel()
        self._count -= len(found.wakes)
        for wake in found.wakes:
            wake()

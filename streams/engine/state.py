"""What the engine remembers of clients: windows, open sessions, blocks that stand, what greylisting learnt.

All of it is a fold of the last horizon of events and of the decisions taken (see `step.recall`), so it is
rebuilt rather than stored.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.engine.windows import Window
from streams.model.client import Address, Client
from streams.model.decision import Trigger
from streams.model.instant import MICROSECONDS
from streams.model.policy import Block

_SWEEP_STEP: Final = 4
"""Clients looked at for each new one, so that the sweep outpaces growth and never pauses the stream."""


PENDING_US: Final = 86_400 * MICROSECONDS
"""A first attempt matters for so long: nobody waits longer to retry. It ends for each by itself, so that what
counts never depends on how far back a restarted worker has read."""


class Listing(NamedTuple):
    """What one zone said of one address."""

    weight: int
    until: int
    """First instant at which the answer no longer holds; as long as that a block by it lasts."""
    summed_until: int
    """First instant at which it no longer adds to what others say; a restarted worker has read that far."""
    name: str


class Record:
    """What few clients need: those that were listed, greylisted, or broke the protocol."""

    __slots__ = (
        "blamed",
        "blocks",
        "learnt",
        "listings",
        "pending",
        "shadow_violations",
        "shadows",
        "violations",
    )

    def __init__(self) -> None:
        self.blocks: dict[Trigger, int] = {}
        """Trigger (not `rate`) → first instant after its block."""
        self.shadows: dict[str, int] = {}
        """Rule in shadow → first instant after the block that it would have brought about."""
        self.violations: Window | None = None
        self.shadow_violations: Window | None = None
        """Those of rules in shadow, apart: they must not bring about a block by another rule."""
        self.listings: dict[tuple[Address, str], Listing] = {}
        """(address, zone) → what the zone said."""
        self.blamed = Address("")
        """The address whose listing brought about the latest block by `reputation`."""
        self.pending: dict[str, int] = {}
        """Greylist triplet that was not retried yet → its first attempt; see `PENDING_US`."""
        self.learnt = 0
        """First instant at which the client is no longer known to retry."""

    @property
    def keep(self) -> int:
        """First instant at which nothing of this matters any more, apart from what ends sooner than the
        memory of windows: violations and listings."""
        attempted = max(self.pending.values()) + PENDING_US if self.pending else 0
        return max(self.learnt, attempted, *self.blocks.values(), *self.shadows.values())

    def attempts(self, now: int) -> dict[str, int]:
        """`pending`, without those that are too old to matter."""
        for triplet in [name for name, at in self.pending.items() if at + PENDING_US <= now]:
            del self.pending[triplet]
        return self.pending


class ClientState:
    """One client. Times are microseconds of event time; what is empty is None to keep idle clients small."""

    __slots__ = (
        "block_end",
        "clock",
        "connects",
        "listed",
        "record",
        "requests",
        "sessions",
        "strike",
        "warned",
    )

    def __init__(self, clock: int) -> None:
        self.clock = clock
        """Latest event time seen of this client; only grows."""
        self.connects: Window | None = None
        self.requests: Window | None = None
        self.sessions: dict[str, int] | None = None
        """Open session → first instant at which it is forgotten, unless it is heard of before."""
        self.block_end = 0
        """First instant after the latest block by a limit; in the past when none stands."""
        self.strike = 0
        """How many blocks in a row, each within `repeat_within_s` of the one before."""
        self.warned = 0
        """Bits of the rules whose warning was given and whose count has not fallen since."""
        self.listed: Block | None = None
        """The administrator's entry that was already recorded as this client's decision."""
        self.record: Record | None = None

    def on_record(self) -> Record:
        """Its record, made where there is none."""
        if self.record is None:
            self.record = Record()
        return self.record


class State:
    """All clients of one partition (live) or of one history (replay)."""

    def __init__(self, *, memory_s: int) -> None:
        self.clients: dict[Client, ClientState] = {}
        self.newest = 0
        """Latest event time seen of anybody."""
        self._memory_us = memory_s * MICROSECONDS
        self._sweep: Iterator[Client] = iter(())

    def remember_for(self, memory_s: int) -> None:
        """From now on forget clients after this long; what another policy needed is not forgotten sooner."""
        self._memory_us = max(self._memory_us, memory_s * MICROSECONDS)

    def client(self, key: Client, at: int) -> ClientState:
        """The client's state with its clock moved to `at` if that is later; made if unknown or forgotten.

        A client whose clock is more than the policy's memory behind the newest event is forgotten, whether
        or not the sweep has come by: so forgetting depends on the events alone.
        """
        newest = self.newest
        if at > newest:
            self.newest = newest = at
        found = self.clients.get(key)
        if found is None:
            self._sweep_some()
            found = self.clients[key] = ClientState(at)
        elif found.clock + self._memory_us < newest and self._over(found):
            found = self.clients[key] = ClientState(at)
        elif at > found.clock:
            found.clock = at
        return found

    def known(self, key: Client, at: int) -> ClientState | None:
        """As `client`, but who is unknown or forgotten stays so."""
        newest = self.newest
        if at > newest:
            self.newest = newest = at
        found = self.clients.get(key)
        if found is None or (found.clock + self._memory_us < newest and self._over(found)):
            return None
        found.clock = at if at > found.clock else found.clock
        return found

    def forget(self, client: ClientState) -> None:
        """Make it as if nothing had been heard of this client. What stays is its clock, for events that come
        late, and that an entry of the block list is on record, since that stands in the policy."""
        listed = client.listed
        client.__init__(client.clock)  # type: ignore[misc]
        client.listed = listed

    def _over(self, client: ClientState) -> bool:
        """Whether nothing on its record outlives the memory of windows and sessions."""
        return client.record is None or client.record.keep <= self.newest

    def _sweep_some(self) -> None:
        """Drop a few forgotten clients; done for each new one, it keeps memory to the active ones."""
        clients, behind = self.clients, self.newest - self._memory_us
        for _ in range(_SWEEP_STEP):
            key = next(self._sweep, None)
            if key is None:
                self._sweep = iter(list(clients))
                return
            state = clients.get(key)
            if state is not None and state.clock < behind and self._over(state):
                del clients[key]

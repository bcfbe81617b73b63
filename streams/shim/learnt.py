"""Learnt clients: who has shown that he comes back, found by the network and by the pool that they vouch for.

No lock and no clock of its own: `GreylistMemory` holds the one and is brought the other, in microseconds.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import msgspec

from streams.model.client import Address, Client
from streams.model.greylist import network_of
from streams.model.modules import Greylist

MAX_POOLS: Final = 20_000
MAX_POOL_RETRIES: Final = 100
"""Pools, and clients of each, whose retries are remembered; beyond, the oldest are forgotten."""
MAX_ENDED: Final = 10_000
"""Clients remembered that were unlearnt, so that no older `pass` is believed; beyond, the first is let go."""


class Pass(msgspec.Struct, frozen=True, gc=False):
    """One learnt client."""

    at: int
    until: int
    address: Address
    network: str
    pool: str


class Learnt:
    """Learnt clients, found by the network and by the pool that they vouch for."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._clients: OrderedDict[Client, Pass] = OrderedDict()
        """In the order in which they were learnt, or learnt anew."""
        self._vouchers: dict[str, dict[Client, int]] = {}
        """Network or pool → its learnt clients, until when."""
        self._retries: OrderedDict[str, dict[Client, tuple[int, int]]] = OrderedDict()
        """Pool → clients of it whose retry passed here, when, and until when that counts. A pool that retries
        from another address each time has none that the worker could learn."""
        self._ended: OrderedDict[Client, int] = OrderedDict()
        """Client → when it was unlearnt last."""

    def __len__(self) -> int:
        return len(self._clients)

    def passes(self, network: str, pool: str, pool_clients: int, now: int) -> bool:
        """Whether a client of the network is learnt, or so many of the pool."""
        if any(now < until for until in self._vouchers.get(network, {}).values()):
            return True
        if not (pool and pool_clients):
            return False
        needed, learnt = pool_clients, self._vouchers.get(f"*.{pool}", {})
        for until in learnt.values():
            needed -= now < until
            if needed <= 0:
                return True
        for client, (_, until) in self._retries.get(pool, {}).items():
            needed -= now < until and now >= learnt.get(client, 0)
            if needed <= 0:
                return True
        return False

    def retried(self, pool: str, client: Client, at: int, until: int) -> None:
        """Note that a retry of this client of the pool passed; the last hundred of a pool count."""
        retries = self._retries.setdefault(pool, {})
        self._retries.move_to_end(pool)
        retries.pop(client, None)
        retries[client] = at, until
        if len(retries) > MAX_POOL_RETRIES:
            del retries[next(iter(retries))]
        if len(self._retries) > MAX_POOLS:
            self._retries.popitem(last=False)

    def forget(self, client: Client, at: int) -> None:
        """Drop the client's retries that passed up to then."""
        for retries in self._retries.values():
            if client in retries and retries[client][0] <= at:
                del retries[client]

    def add(self, client: Client, new: Pass) -> None:
        """Learn a client, unless something later is known of it."""
        if new.at < self._ended.get(client, new.at):
            return
        known = self._clients.get(client)
        if known is not None:
            if new.at < known.at:
                return
            self._drop(client)
        self._clients[client] = new
        for group in groups_of(new.network, new.pool):
            self._vouchers.setdefault(group, {})[client] = new.until
        if len(self._clients) > self._capacity:
            self._drop(next(iter(self._clients)))

    def remove(self, client: Client, at: int, now: int) -> None:
        """Unlearn a client, unless something later is known of it.

        A clock that was ahead then must not keep it from being learnt after `now`.
        """
        ended = min(at, now)
        if ended >= self._ended.get(client, ended):
            self._ended[client] = ended
            self._ended.move_to_end(client)
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        known = self._clients.get(client)
        if known is not None and known.at <= at:
            self._drop(client)

    def purge(self, now: int) -> None:
        """Forget those whose time is over, from the first that was learnt to the first that still passes."""
        while self._clients and next(iter(self._clients.values())).until <= now:
            self._drop(next(iter(self._clients)))

    def regroup(self, policy: Greylist) -> None:
        """Find them by other networks."""
        clients, self._clients, self._vouchers = self._clients, OrderedDict(), {}
        for client, it in clients.items():
            self.add(client, msgspec.structs.replace(it, network=network_of(it.address, policy)))

    def _drop(self, client: Client) -> None:
        gone = self._clients.pop(client)
        for group in groups_of(gone.network, gone.pool):
            members = self._vouchers[group]
            del members[client]
            if not members:
                del self._vouchers[group]


def groups_of(network: str, pool: str) -> Iterator[str]:
    """Who may retry for each other; told apart by the `*`, whatever a name may look like."""
    yield network
    if pool:
        yield f"*.{pool}"

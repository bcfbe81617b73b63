"""Greylisting's memory: when was this triplet first seen, and who has shown that he comes back.

Two threads use it: the service asks, the follower tells what other shims saw (`defer`) and whom the worker
has learnt (`pass`). Nothing here reads a clock: the caller brings `now`, in microseconds.
"""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Final

import msgspec

from streams.model.client import Address, Client, parse_address
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet, network_of
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist

MAX_TRIPLETS: Final = 1_000_000
"""Triplets remembered at most, one of a network and one of a pool counting as two; beyond, the one that came
first is forgotten, so that its retry is a first attempt."""

MAX_LEARNT: Final = 500_000
"""Learnt clients remembered at most; beyond, the one that was learnt first is forgotten, and put off once."""


MAX_POOLS: Final = 20_000
MAX_POOL_RETRIES: Final = 100
"""Pools, and addresses of each, whose retries are remembered; beyond, the oldest are forgotten."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """What is thought of one attempt."""

    passes: bool
    due: int = 0
    """First instant at which a retry passes."""
    first: bool = False
    """Whether it was the first of its triplet."""

    def seconds_left(self, now: int) -> int:
        """Whole seconds to wait, rounded up: who waits so long is not too early."""
        return -((now - self.due) // MICROSECONDS)


class GreylistMemory:
    """First attempts by triplet, learnt clients by network and pool."""

    def __init__(self, policy: Greylist, *, triplets: int = MAX_TRIPLETS, learnt: int = MAX_LEARNT) -> None:
        self._policy = policy
        self._capacity = triplets
        self._firsts: OrderedDict[str, int] = OrderedDict()
        """`TRIPLET@NETWORK` or `TRIPLET@*.POOL` → first attempt, in the order in which they became known."""
        self._learnt = _Learnt(learnt)
        self._lock = Lock()

    @property
    def triplets(self) -> int:
        """Triplets held: those that count, and those that ended since the last `purge`."""
        return len(self._firsts)

    @property
    def learnt(self) -> int:
        """Learnt clients held."""
        return len(self._learnt)

    def use(self, policy: Greylist) -> None:
        """Judge by this from now on. What is remembered stays, and is held against the new times."""
        with self._lock:
            prefixes = (self._policy.ipv4_prefix, self._policy.ipv6_prefix)
            self._policy = policy
            if prefixes != (policy.ipv4_prefix, policy.ipv6_prefix):
                self._learnt.regroup(policy)

    def attempt(self, address: Address, pool: str, sender: str, recipient: str, now: int) -> Attempt:
        """Judge an attempt, and remember it where it is a first one.

        `pool` is the `pool_of` the client's verified name, or empty.
        """
        with self._lock:
            policy = self._policy
            network = network_of(address, policy)
            if self._learnt.passes(network, pool, policy.pool_clients, now):
                return Attempt(True)
            keys = list(_keys(greylist_triplet(sender, recipient), network, pool))
            delay = policy.delay_s * MICROSECONDS
            since = now - policy.retry_window_s * MICROSECONDS
            known = [at for key in keys if (at := self._firsts.get(key)) is not None and since < at]
            if known:
                # a clock that was set back must not make anybody wait longer than from now
                due = min(now, *known) + delay
                if pool and now >= due:
                    self._learnt.retried(pool, address, now + policy.learnt_s * MICROSECONDS)
                return Attempt(now >= due, due)
            for key in keys:
                self._remember(key, now)
            return Attempt(False, now + delay, first=True)

    def take(self, decision: Decision, now: int) -> None:
        """Take a greylist decision in; in any order, and as often as it comes.

        A `defer` is a first attempt that some shim answered: of several in one window the earliest counts.
        A `pass` makes its client a learnt one until it ends, anything else unmakes it. `InvalidValueError`
        where the address is none.
        """
        address = parse_address(decision.address)
        with self._lock:
            if decision.action == "defer":
                if decision.until is not None and now < decision.until:
                    network = network_of(address, self._policy)
                    for key in _keys(decision.triplet, network, decision.pool):
                        self._merge(key, min(int(decision.at), now), now)
            elif decision.action == "pass" and decision.until is not None and now < decision.until:
                network = network_of(address, self._policy)
                learnt = _Pass(int(decision.at), int(decision.until), address, network, decision.pool)
                self._learnt.add(decision.client, learnt)
            else:
                self._learnt.remove(decision.client, int(decision.at))

    def purge(self, now: int) -> None:
        """Forget what has ended."""
        with self._lock:
            since = now - self._policy.retry_window_s * MICROSECONDS
            firsts = self._firsts
            while firsts and next(iter(firsts.values())) <= since:
                firsts.popitem(last=False)
            self._learnt.purge(now)

    def _merge(self, key: str, at: int, now: int) -> None:
        known = self._firsts.get(key)
        since = now - self._policy.retry_window_s * MICROSECONDS
        if at <= since:
            return
        if known is None or known <= since:
            self._remember(key, at)
        elif at < known:
            self._firsts[key] = at

    def _remember(self, key: str, at: int) -> None:
        self._firsts[key] = at
        self._firsts.move_to_end(key)
        if len(self._firsts) > self._capacity:
            self._firsts.popitem(last=False)


class _Pass(msgspec.Struct, frozen=True, gc=False):
    """One learnt client."""

    at: int
    until: int
    address: Address
    network: str
    pool: str


class _Learnt:
    """Learnt clients, found by the network and by the pool that they vouch for."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._clients: OrderedDict[Client, _Pass] = OrderedDict()
        """In the order in which they were learnt, or learnt anew."""
        self._vouchers: dict[str, dict[Client, int]] = {}
        """Network or pool → its learnt clients, until when."""
        self._retries: OrderedDict[str, dict[Address, int]] = OrderedDict()
        """Pool → addresses of it whose retry passed here, until when that counts. A pool that retries from
        another address each time has none that the worker could learn."""

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
        for address, until in self._retries.get(pool, {}).items():
            needed -= now < until and now >= learnt.get(Client(address), 0)
            if needed <= 0:
                return True
        return False

    def retried(self, pool: str, address: Address, until: int) -> None:
        """Note that a retry from this address of the pool passed; the last hundred of a pool count."""
        retries = self._retries.setdefault(pool, {})
        self._retries.move_to_end(pool)
        retries.pop(address, None)
        retries[address] = until
        if len(retries) > MAX_POOL_RETRIES:
            del retries[next(iter(retries))]
        if len(self._retries) > MAX_POOLS:
            self._retries.popitem(last=False)

    def add(self, client: Client, new: _Pass) -> None:
        """Learn a client, unless something later is known of it."""
        known = self._clients.get(client)
        if known is not None:
            if new.at < known.at:
                return
            self._drop(client)
        self._clients[client] = new
        for group in _groups(new.network, new.pool):
            self._vouchers.setdefault(group, {})[client] = new.until
        if len(self._clients) > self._capacity:
            self._drop(next(iter(self._clients)))

    def remove(self, client: Client, at: int) -> None:
        """Unlearn a client, unless something later is known of it."""
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
        for group in _groups(gone.network, gone.pool):
            members = self._vouchers[group]
            del members[client]
            if not members:
                del self._vouchers[group]


def _groups(network: str, pool: str) -> Iterator[str]:
    """Who may retry for each other; told apart by the `*`, whatever a name may look like."""
    yield network
    if pool:
        yield f"*.{pool}"


def _keys(triplet: str, network: str, pool: str) -> Iterator[str]:
    """Under which an attempt is remembered."""
    return (f"{triplet}@{group}" for group in _groups(network, pool))

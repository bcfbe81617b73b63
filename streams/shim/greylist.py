"""Greylisting's memory: when was this triplet first seen, and who has shown that he comes back.

Two threads use it: the service asks, the follower tells what other shims saw (`defer`) and whom the worker
has learnt (`pass`). Nothing here reads a clock: the caller brings `now`, in microseconds.
"""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Final

import msgspec

from streams.engine.taking import FORGOTTEN
from streams.model.client import Address, parse_address
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet, network_of
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist
from streams.shim.learnt import Learnt, Pass, groups_of

MAX_TRIPLETS: Final = 1_000_000
"""Triplets remembered at most, one of a network and one of a pool counting as two; beyond, the one that came
first is forgotten, so that its retry is a first attempt."""

MAX_LEARNT: Final = 500_000
"""Learnt clients remembered at most; beyond, the one that was learnt first is forgotten, and put off once."""

MAX_FORGOTTEN: Final = 10_000
"""Networks remembered of which an administrator had all dropped; beyond, the first is let go."""


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
        self._forgotten: OrderedDict[str, int] = OrderedDict()
        """Network → when an administrator had all dropped: first attempts up to then do not count to it."""
        self._learnt = Learnt(learnt)
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
            since = self._since(network, now)
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
        A `pass` makes its client a learnt one until it ends, anything else unmakes it. What an administrator
        has dropped is as if it had never been: first attempts of the client's network too, and its retries.
        `InvalidValueError` where the address is none.
        """
        address = parse_address(decision.address)
        with self._lock:
            if decision.action == "defer":
                if decision.until is not None and now < decision.until:
                    network = network_of(address, self._policy)
                    for key in _keys(decision.triplet, network, decision.pool):
                        self._merge(key, min(int(decision.at), now), self._since(network, now))
            elif decision.action == "pass" and decision.until is not None and now < decision.until:
                network = network_of(address, self._policy)
                learnt = Pass(int(decision.at), int(decision.until), address, network, decision.pool)
                self._learnt.add(decision.client, learnt)
            else:
                self._learnt.remove(decision.client, int(decision.at))
                if decision.rule == FORGOTTEN:
                    self._forget(address, min(int(decision.at), now))

    def purge(self, now: int) -> None:
        """Forget what has ended."""
        with self._lock:
            since = now - self._policy.retry_window_s * MICROSECONDS
            firsts = self._firsts
            while firsts and next(iter(firsts.values())) <= since:
                firsts.popitem(last=False)
            while self._forgotten and next(iter(self._forgotten.values())) <= since:
                self._forgotten.popitem(last=False)
            self._learnt.purge(now)

    def _since(self, network: str, now: int) -> int:
        """First attempts count to this network where they came after this instant."""
        since = now - self._policy.retry_window_s * MICROSECONDS
        return max(since, self._forgotten.get(network, since))

    def _forget(self, address: Address, at: int) -> None:
        network = network_of(address, self._policy)
        if at > self._forgotten.get(network, 0):
            self._forgotten[network] = at
            self._forgotten.move_to_end(network)
            if len(self._forgotten) > MAX_FORGOTTEN:
                self._forgotten.popitem(last=False)
        self._learnt.forget(address)

    def _merge(self, key: str, at: int, since: int) -> None:
        known = self._firsts.get(key)
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


def _keys(triplet: str, network: str, pool: str) -> Iterator[str]:
    """Under which an attempt is remembered."""
    return (f"{triplet}@{group}" for group in groups_of(network, pool))

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
from streams.model.client import Address, Client, parse_address
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet, network_of
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist
from streams.shim.learnt import Learnt, Pass, groups_of

MAX_TRIPLETS: Final = 1_000_000
"""Triplets remembered at most, one of a network and one of a pool counting as two, and one of another client
of theirs as one more; beyond, those that came first are forgotten, so that their retry is a first attempt."""

MAX_CLIENTS: Final = 16
"""First attempts remembered of one triplet, the earliest; the rest had no sooner been let through."""

MAX_LEARNT: Final = 500_000
"""Learnt clients remembered at most; beyond, the one that was learnt first is forgotten, and put off once."""

MAX_FORGOTTEN: Final = 10_000
"""Clients remembered of which an administrator had all dropped; beyond, the first is let go."""


_SAME_US: Final = MICROSECONDS
"""The log's stamp of an attempt that was answered here is not the instant of the answer: attempts of one
client that are closer are one, the earlier."""


class First(msgspec.Struct, frozen=True, gc=False):
    """A first attempt, and whose: an administrator may have it dropped."""

    at: int
    client: Client


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
        self._firsts: OrderedDict[str, tuple[First, ...]] = OrderedDict()
        """`TRIPLET@NETWORK` or `TRIPLET@*.POOL` → first attempts by time, in the order in which the last of
        each became known. Those after a client's first are kept too: news that it was forgotten in between
        may come last."""
        self._held = 0
        self._forgotten: OrderedDict[Client, int] = OrderedDict()
        """Client → when an administrator had all dropped: its first attempts up to then do not count."""
        self._learnt = Learnt(learnt)
        self._lock = Lock()

    @property
    def triplets(self) -> int:
        """Triplets held: those that count, and those that ended since the last `purge`."""
        return self._held

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

    def attempt(
        self, client: Client, address: Address, pool: str, sender: str, recipient: str, now: int
    ) -> Attempt:
        """Judge an attempt, and remember it where it is the client's first one and does not pass.

        `pool` is the `pool_of` the client's verified name, or empty.
        """
        with self._lock:
            policy = self._policy
            network = network_of(address, policy)
            if self._learnt.passes(network, pool, policy.pool_clients, now):
                return Attempt(True)
            keys = list(_keys(greylist_triplet(sender, recipient), network, pool))
            delay = policy.delay_s * MICROSECONDS
            known = {key: self._counting(key, now) for key in keys}
            begun = [it.at for firsts in known.values() for it in firsts]
            # a clock that was set back must not make anybody wait longer than from now
            due = min(now, *begun) + delay if begun else now + delay
            if begun and now >= due:
                if pool:
                    self._learnt.retried(pool, client, now, now + policy.learnt_s * MICROSECONDS)
                return Attempt(True, due)
            for key, firsts in known.items():
                if all(it.client != client for it in firsts):
                    self._remember(key, firsts, First(now, client))
            return Attempt(False, due, first=not begun)

    def take(self, decision: Decision, now: int) -> None:
        """Take a greylist decision in; in any order, and as often as it comes.

        A `defer` is a first attempt that some shim answered: of several in one window the earliest counts.
        A `pass` makes its client a learnt one until it ends, anything later unmakes it. What an administrator
        has dropped is as if it had never been: the client's first attempts too, and its retries.
        `InvalidValueError` where the address is none.
        """
        address = parse_address(decision.address)
        with self._lock:
            if decision.action == "defer":
                if decision.until is not None and now < decision.until:
                    network = network_of(address, self._policy)
                    first = First(min(int(decision.at), now), decision.client)
                    if self._counts(first, now):
                        for key in _keys(decision.triplet, network, decision.pool):
                            self._remember(key, self._counting(key, now), first)
            elif decision.action == "pass" and decision.until is not None and now < decision.until:
                network = network_of(address, self._policy)
                learnt = Pass(int(decision.at), int(decision.until), address, network, decision.pool)
                self._learnt.add(decision.client, learnt)
            else:
                self._learnt.remove(decision.client, int(decision.at), now)
                if decision.rule == FORGOTTEN:
                    self._forget(decision.client, min(int(decision.at), now))

    def purge(self, now: int) -> None:
        """Forget what has ended."""
        with self._lock:
            since = now - self._policy.retry_window_s * MICROSECONDS
            firsts = self._firsts
            while firsts and next(iter(firsts.values()))[-1].at <= since:
                self._drop_oldest()
            while self._forgotten and next(iter(self._forgotten.values())) <= since:
                self._forgotten.popitem(last=False)
            self._learnt.purge(now)

    def _counts(self, first: First, now: int) -> bool:
        since = now - self._policy.retry_window_s * MICROSECONDS
        return first.at > max(since, self._forgotten.get(first.client, since))

    def _counting(self, key: str, now: int) -> tuple[First, ...]:
        return tuple(it for it in self._firsts.get(key, ()) if self._counts(it, now))

    def _forget(self, client: Client, at: int) -> None:
        if at > self._forgotten.get(client, 0):
            self._forgotten[client] = at
            self._forgotten.move_to_end(client)
            if len(self._forgotten) > MAX_FORGOTTEN:
                self._forgotten.popitem(last=False)
        self._learnt.forget(client, at)

    def _remember(self, key: str, firsts: tuple[First, ...], new: First) -> None:
        """Add to those that count; the others of the key are let go."""
        same = [it for it in firsts if it.client == new.client and abs(it.at - new.at) < _SAME_US]
        if same and min(it.at for it in same) <= new.at:
            return
        others = [it for it in firsts if it not in same]
        kept = sorted([*others, new], key=lambda it: (it.at, it.client))[:MAX_CLIENTS]
        self._held += len(kept) - len(self._firsts.get(key, ()))
        self._firsts[key] = tuple(kept)
        self._firsts.move_to_end(key)
        while self._held > self._capacity:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._held -= len(self._firsts.popitem(last=False)[1])


def _keys(triplet: str, network: str, pool: str) -> Iterator[str]:
    """Under which an attempt is remembered."""
    return (f"{triplet}@{group}" for group in groups_of(network, pool))

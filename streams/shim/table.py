"""The decisions that stand, by client: what the shim answers from.

One thread writes (the follower), any thread reads: a client's entry is an immutable tuple that is replaced
whole, so a reader sees the entry before or the entry after, and takes no lock.
"""

from heapq import heapify, heappop, heappush
from sys import intern
from typing import Final

import msgspec

from streams.engine.taking import FORGOTTEN
from streams.model.client import Client
from streams.model.decision import Decision, Trigger

PRECEDENCE: Final[tuple[Trigger, ...]] = ("rate", "reputation", "greylist", "protocol")
"""Triggers in the order in which they answer (mission.md). `blocklist` is not among them: the policy itself
is the source of those, and its decisions are only a record."""

_RANK: Final[dict[str, int]] = {trigger: rank for rank, trigger in enumerate(PRECEDENCE)}

MAX_DECISIONS: Final = 2_000_000
"""Decisions kept at most; beyond, the one that ends first is let go, which lets mail through."""

FOREVER: Final = 2**63
"""The end of a decision that has none, later than any instant."""

_HEAP_SLACK: Final = 1024


class Held(msgspec.Struct, frozen=True, gc=False):
    """What the table keeps of one decision: no more than an answer needs."""

    trigger: Trigger
    at: int
    ends: int
    """First instant (microseconds) at which it no longer counts."""
    refuses: bool
    """False for a release, which is held in the place of the block it ended; for a `pass`; and in shadow."""
    code: int
    reason: str
    rule: str


class DecisionTable:
    """Active decisions. Nothing here reads a clock: the caller brings `now`, in microseconds."""

    def __init__(self, *, capacity: int = MAX_DECISIONS) -> None:
        self._by_client: dict[Client, tuple[Held, ...]] = {}
        self._capacity = capacity
        self._ending: list[tuple[int, Client, Trigger]] = []
        """Heap of ends; a replaced decision leaves its end behind, which is skipped when it comes up."""
        self._count = 0

    def __len__(self) -> int:
        """Decisions held: those that count, and those that ended since the last `purge`."""
        return self._count

    def of(self, client: Client) -> tuple[Held, ...]:
        """What is held of the client, in order of precedence; some of it may have ended."""
        return self._by_client.get(client, ())

    def known(self, client: Client, trigger: Trigger, now: int) -> bool:
        """Whether anything of this trigger is held that has not ended: a block, a `pass`, a release; not
        where an administrator had it dropped."""
        held = self._known(client, trigger)
        return held is not None and now < held.ends and held.rule != FORGOTTEN

    def apply(self, decision: Decision, now: int) -> None:
        """Take a decision in. Of one (trigger, client) the one with the latest `at` holds, whatever the
        order of arrival, and of equal ones the last to arrive, as compaction keeps it.

        A release is held until the block that it ended would have ended by itself, so that the block
        stays released when it is delivered again. First greylist attempts (`defer`) are no business of the
        table.
        """
        if decision.trigger not in _RANK or decision.action == "defer":
            return
        known = self._known(decision.client, decision.trigger)
        if known is not None and known.at > decision.at:
            return
        ends = FOREVER if decision.until is None else int(decision.until)
        if decision.action == "release":
            ends = known.ends if known is not None else 0
        if ends > now:
            refuses = decision.action == "block" and not decision.shadow
            self._hold(
                decision.client,
                Held(
                    decision.trigger,
                    int(decision.at),
                    ends,
                    refuses,
                    decision.code,
                    intern(decision.reason),
                    intern(decision.rule),
                ),
            )
        elif known is not None:
            self._drop(decision.client, decision.trigger)

    def purge(self, now: int) -> None:
        """Forget what has ended. The work is that of what ended, not of what is held."""
        while self._ending and self._ending[0][0] <= now:
            self._end_first()

    def _known(self, client: Client, trigger: Trigger) -> Held | None:
        return next((it for it in self.of(client) if it.trigger == trigger), None)

    def _hold(self, client: Client, new: Held) -> None:
        held = self.of(client)
        kept = [it for it in held if it.trigger != new.trigger]
        self._by_client[client] = tuple(
            sorted([*kept, new], key=lambda it: _RANK[it.trigger]) if kept else (new,)
        )
        self._count += len(kept) + 1 - len(held)
        heappush(self._ending, (new.ends, client, new.trigger))
        while self._count > self._capacity:
            self._end_first()
        if len(self._ending) > 2 * self._count + _HEAP_SLACK:
            self._ending = [
                (it.ends, name, it.trigger) for name, all_ in self._by_client.items() for it in all_
            ]
            heapify(self._ending)

    def _end_first(self) -> None:
        """Let the decision go that ends first, unless it was replaced by one that ends at another time."""
        ends, client, trigger = heappop(self._ending)
        known = self._known(client, trigger)
        if known is not None and known.ends == ends:
            self._drop(client, trigger)

    def _drop(self, client: Client, trigger: Trigger) -> None:
        held = self.of(client)
        kept = tuple(it for it in held if it.trigger != trigger)
        self._count -= len(held) - len(kept)
        if kept:
            self._by_client[client] = kept
        else:
            self._by_client.pop(client, None)

"""Two policies over one history: who is refused under one and not the other, when, how often, how long."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from streams.engine.outcome import refused, refuses
from streams.engine.rules import RULES_BY_KIND
from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas
from streams.replay.compare_unjudged import Unjudged, Unseens, unjudged
from streams.replay.legitimacy import Legitimacy, legitimacy, protected
from streams.replay.observed import Observed

Where = Literal["A", "B", "both"]
"""Which policy refuses the client; both: not at the same times, or for other reasons."""
_TIMES: Final = 5
_ENDLESS: Final = 1 << 62


class Refusals(msgspec.Struct, kw_only=True):
    """What one policy does to one client."""

    blocks: int = 0
    """Decisions that refuse it, each with an end of its own."""
    attempts: int = 0
    """Connections and transactions of the history that would have been refused."""
    blocked_us: int = 0
    """How long its blocks last together, overlaps counted once; by an entry of the block list up to the end
    of the history."""
    first: Instant | None = None
    """When it is refused for the first time."""
    last: Instant | None = None
    """When its latest block begins."""
    triggers: list[str] = []
    """What refuses it: `rate: connections_per_minute`, in order of first appearance."""
    spans: list[tuple[Instant, Instant | None]] = []
    """From when to when, of its first five blocks."""
    _until: int = 0
    _limited: int = 0
    """When the last block ends that no entry of the block list has brought about."""

    def block(self, decision: Decision) -> None:
        """One more block."""
        self.blocks += 1
        self.first = self.first or decision.at
        self.last = decision.at
        name = f"{decision.trigger}: {decision.rule}"
        if name not in self.triggers:
            self.triggers.append(name)
        if len(self.spans) < _TIMES:
            self.spans.append((decision.at, decision.until))
        until = _ENDLESS if decision.until is None else decision.until
        self.blocked_us += max(0, until - max(decision.at, self._until))
        self._until = max(self._until, until)
        if decision.trigger != "blocklist":
            self._limited = max(self._limited, until)

    def release(self, at: int) -> None:
        """Its blocks end early."""
        if at < self._until:
            self.blocked_us -= self._until - at
            self._until = at

    def close(self, last: int) -> None:
        """The history ends here: an entry of the block list goes on, and is counted no further."""
        self.release(max(last, self._limited))


class Difference(msgspec.Struct, kw_only=True):
    """A client that the two policies do not treat alike."""

    client: Client
    where: Where
    a: Refusals
    b: Refusals
    ptr: str
    messages: int
    connects: int
    legitimacy: Legitimacy
    protected: bool


class Compared(msgspec.Struct, kw_only=True):
    """The outcome of a comparison."""

    a: str
    """Version of the first policy; of several, one after the other, `as-was`."""
    b: str
    first: Instant
    """When the history begins, and when it ends."""
    last: Instant
    clients: int
    refused_a: int
    """Clients that the first policy refuses at least once."""
    refused_b: int
    attempts_a: int
    attempts_b: int
    unjudged: list[Unjudged]
    """What the policies have that no history shows."""
    differences: list[Difference]
    """Known legitimate senders first, then by how many attempts it makes a difference for."""

    @property
    def same(self) -> bool:
        """Whether nobody is treated differently, and nothing unjudged may treat anybody so."""
        return not self.differences and not any(it.differs for it in self.unjudged)


class _Side:
    """One policy, or the policies as they were, going over the history."""

    def __init__(self, policy: Policy | AsWas) -> None:
        self._switches = policy if isinstance(policy, AsWas) else None
        self.index = policy.index if isinstance(policy, AsWas) else PolicyIndex(policy)
        self.version = "as-was" if isinstance(policy, AsWas) else self.index.version
        self.state = State(memory_s=self.index.policy.memory_s)
        self.found: dict[Client, Refusals] = {}
        self.unseen = Unseens()
        self.unseen.add(self.index)
        self._listed: dict[Client, Address] = {}
        """Whom an entry of the block list refuses, and by which address."""

    def switch(self, marker: Event) -> None:
        """Go on under the policy that the marker names."""
        if self._switches is not None and (changed := self._switches.after(marker)) is not None:
            self.index = changed
            self.state.remember_for(changed.policy.memory_s)
            self.unseen.add(changed)
            for client, address in list(self._listed.items()):
                if changed.standing(address).blocked(marker.at) is None:
                    self.found[client].release(marker.at)
                    del self._listed[client]

    def step(self, event: Event) -> None:
        """Decide, and note what was refused."""
        index = self.index.at(event.at) if self.index.has_schedules else self.index
        outcomes = step(self.index, self.state, event)
        for it in outcomes:
            if not isinstance(it, Decision) or it.shadow or it.action not in ("block", "release"):
                continue
            known = self.found.setdefault(event.client, Refusals())
            if it.action == "block":
                known.block(it)
                if it.trigger == "blocklist":
                    self._listed[event.client] = event.address
            else:
                known.release(it.at)
        if event.kind in RULES_BY_KIND and self._refused(index, event, decided_now=refuses(outcomes)):
            self.found.setdefault(event.client, Refusals()).attempts += 1

    def _refused(self, index: PolicyIndex, event: Event, *, decided_now: bool) -> bool:
        """Whether the event is refused: by an entry of the block list, or by a block that stood before it."""
        standing = index.standing(event.address)
        if standing.blocks and standing.blocked(event.at) is not None:
            return True
        client = self.state.clients.get(event.client)
        return not decided_now and client is not None and refused(index, standing, client, event)


def compare(a: Policy | AsWas, b: Policy | AsWas, events: Iterable[Event]) -> Compared:
    """One pass. Memory: that of active clients twice, and the evidence of every client."""
    sides = _Side(a), _Side(b)
    seen: dict[Client, Observed] = {}
    first = last = Instant(0)
    for event in events:
        if event.kind == "policy":
            for side in sides:
                side.switch(event)
            continue
        first, last = first or event.at, max(last, event.at)
        known = seen.get(event.client)
        if known is None:
            known = seen[event.client] = Observed(event.address)
            standings = [side.index.standing(event.address) for side in sides]
            known.exempt = any(it.exempt("rate", event.at) for it in standings)
        known.note(event)
        for side in sides:
            side.step(event)
    for side in sides:
        for refusals in side.found.values():
            refusals.close(last)
    found = [
        _difference(client, known, *(side.found.get(client, Refusals()) for side in sides))
        for client, known in seen.items()
        if not _alike(*(side.found.get(client) for side in sides))
    ]
    found.sort(
        key=lambda it: (not it.protected, -it.messages, -abs(it.a.attempts - it.b.attempts), it.client)
    )
    of_a, of_b = (side.found.values() for side in sides)
    return Compared(
        a=sides[0].version,
        b=sides[1].version,
        first=first,
        last=last,
        clients=len(seen),
        refused_a=sum(it.blocks > 0 for it in of_a),
        refused_b=sum(it.blocks > 0 for it in of_b),
        attempts_a=sum(it.attempts for it in of_a),
        attempts_b=sum(it.attempts for it in of_b),
        unjudged=unjudged(*(side.unseen for side in sides)),
        differences=found,
    )


def _alike(a: Refusals | None, b: Refusals | None) -> bool:
    return (a or Refusals()) == (b or Refusals())


def _difference(client: Client, seen: Observed, a: Refusals, b: Refusals) -> Difference:
    where: Where = "both" if a.blocks and b.blocks else "A" if a.blocks else "B"
    thought = legitimacy(seen)
    return Difference(
        client=client,
        where=where,
        a=a,
        b=b,
        ptr=seen.ptr,
        messages=seen.messages,
        connects=seen.connects,
        legitimacy=thought,
        protected=protected(seen, thought),
    )


def seconds(us: int) -> int:
    """Whole seconds."""
    return round(us / MICROSECONDS)

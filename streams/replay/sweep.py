"""Many settings over one history in one pass, each deciding exactly as a replay of its own would.

What is shared. A client's decisions depend on its own events and on the newest event time of anybody, which
no limit changes. So each client is followed for itself, in *branches*: sets of settings that have decided the
same about it so far. A limit changes nothing before its first breach; so a branch is one state, stepped once,
until an event could take a count over the limit of some of its settings. Those are stepped on copies, each
with its own limits, and those that come out alike go on together. Branches whose states can never decide
differently again are one again. Counts are only bounded here, from above; whether a limit is breached, and
all else, is for the engine.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from streams.engine.outcome import lets_off
from streams.engine.rules import RULES_BY_KIND
from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import Client
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex, Standing
from streams.replay.branches import Branch, Members, Row, bounds_of, numbers
from streams.replay.setting import quiet, same_but_for_limits
from streams.replay.twin import copied, future

Found = list[tuple[Members, Decision]]

_SILENT: Final = frozenset({"helo", "disconnect", "auth", "auth_failure", "refusal"})
"""Kinds that can only tell of a session."""
_LOOK_AT: Final = 4
"""Clients looked at for each new one, whether they are forgotten."""


class Sweep:
    """Feed it a history's events in order; each answers with what the settings decided."""

    def __init__(self, policies: Sequence[Policy], *, merge_every: int = 64) -> None:
        """Policies that differ in the keys of `Setting` alone; `ValueError` where they do not.

        `merge_every`: events of divided clients between looks at whether branches can be one again.
        """
        if not policies or not all(same_but_for_limits(policies[0], it) for it in policies[1:]):
            raise ValueError("a sweep needs policies that differ in their limits alone")
        self.policies: Final = tuple(policies)
        self.versions: Final = [it.version for it in policies]
        self.refused: Members = 0
        """Settings under which a rate block refused the latest event."""
        self._indexes = [
            PolicyIndex(quiet(it), version=version)
            for it, version in zip(policies, self.versions, strict=True)
        ]
        self._base = self._indexes[0]
        self._rows: dict[tuple[int, str], tuple[PolicyIndex, Row]] = {}
        self._starts: list[tuple[Members, State, int]] = []
        by_memory: dict[int, Members] = {}
        for number, policy in enumerate(policies):
            by_memory[policy.memory_s] = by_memory.get(policy.memory_s, 0) | 1 << number
        for memory_s, members in by_memory.items():
            self._starts.append((members, State(memory_s=memory_s), memory_s * MICROSECONDS))
        self._repeat_within_s = longest_repeat_s(policies[0])
        self._clients: dict[Client, list[Branch]] = {}
        self._newest = 0
        self._sweep: Iterator[Client] = iter(())
        self._merge_every = self._until_merge = merge_every

    def step(self, event: Event) -> Found:
        """What the event brings about: decisions, each with the settings whose decision it is.

        Of a decision that several share, `policy` is the version of one of them; see `own`.
        """
        self.refused = 0
        base = self._base.at(event.at) if self._base.has_schedules else self._base
        at, session = event.at, event.session
        standing = base.standing(event.address) if event.kind in RULES_BY_KIND else None
        branches = self._clients.get(event.client)
        if branches is None:
            self._forget_some()
            branches = [Branch(*start, None) for start in self._starts]
        newest, found, split = self._newest, Found(), list[tuple[Branch, list[Branch]]]()
        reached = at if at > newest else newest
        silent = event.kind in _SILENT or (event.kind == "rcpt" and event.code != 451)
        row = None if standing is None else self._row(base, standing, event)
        plain = standing is not None and event.code != 451 and not _not_asked(base, standing, event)
        for branch in branches:
            state = branch.state
            if state is not None:
                clock = state.clock if state.clock > at else at
                blocked = clock < state.block_end
                if (
                    (silent or (blocked and plain))
                    and state.record is None
                    and not (state.sessions and session in state.sessions)
                    and state.clock + branch.memory_us >= reached
                ):
                    # nearly all of what a blocked client does: the engine would move its clock alone
                    state.clock, self._newest = clock, reached
                    if not silent:
                        self.refused |= branch.members
                    continue
            else:
                blocked = False
            branch.memory.newest = newest
            if row is not None and not blocked and branch.several:
                bounds = bounds_of(state, event, row.idle_us, row.lowest_of(branch.members))
                if bounds is not None:
                    split.append((branch, self._split(branch, event, row, bounds, found)))
                    self._newest = branch.memory.newest
                    continue
            outcomes = self._advance(branch, event)
            self._newest = branch.memory.newest
            if outcomes:
                found += [(branch.members, it) for it in outcomes]
            elif plain and (state := branch.state) is not None and state.clock < state.block_end:
                self.refused |= branch.members
        for branch, parts in split:
            place = branches.index(branch)
            branches[place : place + 1] = parts
        self._keep(event.client, branches)
        return found

    def own(self, number: int, decision: Decision) -> Decision:
        """A decision as the setting of this number takes it: with its own policy version."""
        version = self.versions[number]
        if decision.policy == version:
            return decision
        return replace(decision, policy=version)

    def _keep(self, client: Client, branches: list[Branch]) -> None:
        if len(branches) > len(self._starts):
            self._until_merge -= 1
            if not self._until_merge:
                self._until_merge = self._merge_every
                branches = self._merged(branches)
        elif branches[0].state is None and all(it.state is None for it in branches):
            self._clients.pop(client, None)
            return
        self._clients[client] = branches

    def _advance(self, branch: Branch, event: Event) -> list[Decision]:
        memory, client = branch.memory, event.client
        if branch.state is not None:
            memory.clients[client] = branch.state
        outcomes = step(self._indexes[branch.lead], memory, event)
        branch.state = memory.clients.pop(client, None)
        return [it for it in outcomes if isinstance(it, Decision)] if outcomes else []

    def _split(
        self, branch: Branch, event: Event, row: Row, bounds: tuple[int, ...], found: Found
    ) -> list[Branch]:
        """Step the settings whose limits the event may breach apart from the rest."""
        groups: dict[tuple[float, ...], Members] = {}
        for number in numbers(branch.members):
            limits = row.values[number]
            over = tuple(limit if bound > limit else 0 for limit, bound in zip(limits, bounds, strict=False))
            key = (*over, *limits[3:]) if any(over) else ()
            groups[key] = groups.get(key, 0) | 1 << number
        newest, before, after = branch.memory.newest, branch.state, list[Branch]()
        for members in groups.values():
            state = copied(before) if before is not None else None
            apart = Branch(members, branch.memory, branch.memory_us, state)
            branch.memory.newest = newest
            found += [(members, it) for it in self._advance(apart, event)]
            after.append(apart)
        return self._merged(after, of_one=True)

    def _merged(self, branches: list[Branch], *, of_one: bool = False) -> list[Branch]:
        """Those that can never decide differently again as one. `of_one`: they were one before this event, so
        without a record only the blocks can tell them apart."""
        alike: dict[tuple[object, ...], Branch] = {}
        for branch in branches:
            state, left = branch.state, tuple[object, ...]()
            if state is not None:
                if of_one and state.record is None:
                    left = state.block_end, state.strike
                else:
                    left = future(state, repeat_within_s=self._repeat_within_s)
            twin = alike.setdefault((branch.memory_us, left), branch)
            if twin is not branch:
                twin.members |= branch.members
                twin.several = True
        return list(alike.values())

    def _row(self, base: PolicyIndex, standing: Standing, event: Event) -> Row:
        known = self._rows.get((id(base), standing.network))
        if known is None:
            of = [it.at(event.at).standing(event.address).limits for it in self._indexes]
            known = self._rows[id(base), standing.network] = base, Row(of)
        return known[1]

    def _forget_some(self) -> None:
        """Drop a few clients of whom the engine would remember nothing."""
        clients = self._clients
        for _ in range(_LOOK_AT):
            client = next(self._sweep, None)
            if client is None:
                self._sweep = iter(list(clients))
                return
            if client in clients and all(self._forgotten(it) for it in clients[client]):
                del clients[client]

    def _forgotten(self, branch: Branch) -> bool:
        state = branch.state
        if state is None:
            return True
        if state.clock + branch.memory_us >= self._newest:
            return False
        return state.record is None or state.record.keep <= self._newest


def longest_repeat_s(policy: Policy) -> int:
    """The longest `repeat_within_s` that may ever hold for a client."""
    every = [policy.limits, *(it.limits for it in policy.networks)]
    scheduled = [dict(it.overrides).get("repeat_within_s", 0) for it in policy.schedules]
    return max(*(it.repeat_within_s for it in every), *(int(it) for it in scheduled), 0)


def _not_asked(base: PolicyIndex, standing: Standing, event: Event) -> bool:
    """Whether no rate block is asked about this event, even where one stands."""
    return standing.blocked(event.at) is not None or lets_off(base, standing, "rate", event.at)

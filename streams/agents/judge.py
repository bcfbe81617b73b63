"""A policy, and the state that a partition's events have come to under it."""

from collections.abc import Mapping, Sequence
from typing import Final

from streams.engine.rules import RULES_BY_KIND
from streams.engine.state import State
from streams.engine.step import recall, stand
from streams.model.decision import Decision
from streams.model.event import Event
from streams.model.standing import PolicyIndex


class Judge:
    """Decides by `step(judge.index, judge.state, event)`; this is how it is exact again after a restart."""

    def __init__(self, index: PolicyIndex) -> None:
        self.index = index
        self.state: Final = State(memory_s=index.policy.memory_s)
        self._listed: set[tuple[str, str, str]] = set()
        """(client, network, note) of the block list entries on record; only kept while folding."""

    def begin_with(self, index: PolicyIndex) -> None:
        """Judge by this policy from here on."""
        self.index = index
        self.state.remember_for(index.policy.memory_s)

    def remember(self, decision: Decision) -> None:
        """Take in a decision about an event from before the fold."""
        stand(self.index, self.state.client(decision.client, decision.at), decision)
        self._note_listed(decision)

    def recall(self, event: Event, taken: Mapping[str, Sequence[Decision]]) -> None:
        """Count an event again that was judged before, with the decisions that were taken then."""
        recall(self.index, self.state, event, taken)
        decisions = taken.get(event.id, ())
        for decision in decisions:
            self._note_listed(decision)
        if not decisions and event.kind in RULES_BY_KIND:
            self._still_listed(event)

    def folded(self) -> None:
        """Everything from before was recalled."""
        self._listed.clear()

    def _note_listed(self, decision: Decision) -> None:
        if decision.trigger == "blocklist":
            self._listed.add((decision.client, decision.evidence.network, decision.evidence.note))

    def _still_listed(self, event: Event) -> None:
        """A listed client's event without a record of its own: the entry was on record by then, and the
        client is heard of, which alone keeps it from being recorded again."""
        block = self.index.standing(event.address).blocked(event.at)
        if block is None:
            return
        if (event.client, str(block.network), block.note) in self._listed:
            self.state.client(event.client, event.at).listed = block

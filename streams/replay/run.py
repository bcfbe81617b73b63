"""A history through the engine."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from streams.engine.state import State
from streams.engine.step import Outcome, step
from streams.model.event import Event
from streams.model.standing import PolicyIndex
from streams.replay.order import Batch

Decided = tuple[Event, list[Outcome]]
"""An event that brought something about, and what."""


class Switches(Protocol):
    """The policies as they were; see `as_was.py`."""

    def after(self, marker: Event) -> PolicyIndex | None:
        """The policy that this event of kind `policy` puts in force; None where it changes nothing."""
        ...


def replay(index: PolicyIndex, events: Iterable[Event]) -> Iterator[Outcome]:
    """Decisions and warnings of the events under this policy, in order; memory is that of active clients."""
    state = State(memory_s=index.policy.memory_s)
    for event in events:
        yield from step(index, state, event)


def decide(
    index: PolicyIndex, batches: Iterable[Batch[Event]], switches: Switches | None = None
) -> Iterator[tuple[int, list[Decided]]]:
    """Batch by batch, its number and what came of its events, in order.

    A batch goes through in one piece: see `parallel.py`, which divides it by client.
    """
    state = State(memory_s=index.policy.memory_s)
    for number, batch in enumerate(batches):
        found: list[Decided] = []
        for event in batch.items:
            if switches is not None and event.kind == "policy":
                if (changed := switches.after(event)) is not None:
                    index = changed
                    state.remember_for(index.policy.memory_s)
                continue
            if outcomes := step(index, state, event):
                found.append((event, outcomes))
        # what is late after this is late for everybody, whoever else was heard of
        state.newest = max(state.newest, batch.upto)
        yield number, found

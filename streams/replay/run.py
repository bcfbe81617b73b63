"""A history through the engine."""

from collections.abc import Iterable, Iterator

from streams.engine.state import State
from streams.engine.step import Outcome, step
from streams.model.event import Event
from streams.model.standing import PolicyIndex


def replay(index: PolicyIndex, events: Iterable[Event]) -> Iterator[Outcome]:
    """Decisions and warnings of the events under this policy, in order; memory is that of active clients."""
    state = State(memory_s=index.policy.memory_s)
    for event in events:
        yield from step(index, state, event)

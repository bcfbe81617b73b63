"""Which policy a partition is judged by: the one that the last marker in its stream names.

A worker that learns of a change writes a marker (`streams.model.marker`) into each of its partitions, and
judges by the new policy from where it reads the marker back. So the stream itself says which policy judged
what: a restarted worker, another worker and a replay all switch at the same event.
"""

from typing import Protocol

from streams.model.standing import PolicyIndex


class Policies(Protocol):
    """The policies of the last day by the number of their change, as `PolicyFollower` has them."""

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number and policy of the latest change; 0 and the file's policy before any."""
        ...

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        """The policy of this change, waited for if it is not known yet."""
        ...

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """The change that was the latest at this instant."""
        ...

"""A policy source for what needs one and does not try changes."""

from streams.model.standing import PolicyIndex


class FixedPolicy:
    """One policy that never changes."""

    def __init__(self, index: PolicyIndex) -> None:
        self._index = index

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number 0 and the policy."""
        return 0, self._index

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        """The policy, whatever the number."""
        return self._index

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """Number 0 and the policy."""
        return 0, self._index

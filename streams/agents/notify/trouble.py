"""When the pipeline is in trouble: rules over what was seen of it. Pure; the caller brings the time."""

from collections import deque
from collections.abc import Mapping
from typing import Final

PATIENCE_S: Final = 60.0
"""Records wait for at least so long, and do not become fewer: that is trouble."""
_FEW_LOOKS: Final = 600

Reach = Mapping[int, tuple[int, int]]
"""Partition → (next offset that the group reads, end of the partition)."""


class Backlog:
    """Whether a group keeps up with a topic.

    Under steady traffic some records always wait, so their number says nothing. What counts: what lay there
    `PATIENCE_S` ago is not read yet, and no fewer wait than then. A worker that works off a backlog is well.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._looks: deque[tuple[float, dict[int, int], int]] = deque(maxlen=_FEW_LOOKS)
        self.stuck_since: float | None = None
        """Time of the look at which what is not read yet was there already; None where the group keeps up."""
        self.waiting = 0
        """Records that wait, at the last look."""

    def look(self, reach: Reach, now: float) -> None:
        """Note how far it reached at this time, in seconds; times only grow."""
        self.waiting = sum(max(0, end - stands) for stands, end in reach.values())
        self._looks.append((now, {partition: end for partition, (_, end) in reach.items()}, self.waiting))
        while len(self._looks) > 1 and self._looks[1][0] <= now - self._patience_s:
            self._looks.popleft()
        then, ends, waiting = self._looks[0]
        if now - then < self._patience_s:
            return  # not known yet
        late = any(stands < ends.get(partition, 0) for partition, (stands, _) in reach.items())
        if not late:
            self.stuck_since = None
        elif self.waiting >= waiting and self.stuck_since is None:
            self.stuck_since = then

    def forget(self) -> None:
        """Kafka was away: what was seen before says nothing about the group."""
        self._looks.clear()


class Toggle:
    """Says once that something is wrong, and once that it is well again."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def turned(self, subject: str, since: float | None) -> tuple[bool, float] | None:
        """(whether it is wrong now, since when it was), where that changed; else None."""
        known = self._since.get(subject)
        if since is not None and known is None:
            self._since[subject] = since
            return True, since
        if since is None and known is not None:
            return False, self._since.pop(subject)
        return None

"""What waits to be told: a few notices of each subject in words, everything else as a count. Pure."""

from collections import Counter
from typing import Final

from streams.agents.notify.notices import Notice

MAX_SUBJECTS: Final = 2_000
"""Subjects kept apart; those beyond are counted together."""
MAX_WORDED: Final = 300
"""Notices kept whole."""
MAX_WORDED_EACH: Final = 3
"""Notices kept whole of one subject: the first ones, since what began it is what is asked for."""


class Waiting:
    """What waits about one subject."""

    __slots__ = ("counts", "worded")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Everything, by topic."""
        self.worded: list[Notice] = []


class Pool:
    """Notices that go out together. Its size does not depend on how many are put in."""

    def __init__(self) -> None:
        self.subjects: dict[str, Waiting] = {}
        self.counts: Counter[str] = Counter()
        """Everything that waits, by topic."""
        self.due: int | None = None
        """When it is to go out, in microseconds since the epoch; None while it is empty."""
        self._worded = 0

    def add(self, notice: Notice, due: int) -> None:
        """Keep or count it; the pool goes out at the earliest `due` of all."""
        self.counts[notice.about] += 1
        self.due = due if self.due is None else min(self.due, due)
        waiting = self.subjects.get(notice.subject)
        if waiting is None:
            if len(self.subjects) >= MAX_SUBJECTS:
                return
            waiting = self.subjects[notice.subject] = Waiting()
        waiting.counts[notice.about] += 1
        if len(waiting.worded) < MAX_WORDED_EACH and self._worded < MAX_WORDED:
            waiting.worded.append(notice)
            self._worded += 1

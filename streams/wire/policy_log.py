"""`smtp.policy` as a log of changes: entries that wait for their commit, and commits that are taken or not.

A change is its entries, each with the change's number in a header, and then one commit (key `change`). It is
taken whole or not at all: when its commit comes and says that it follows the change that holds (`after`).
Numbers grow. Of two that follow the same change the first commit in the log is taken, by every reader alike.

Compaction leaves the latest record of each key. So a reader may meet a commit whose predecessors are gone: at
the start, or further on where the log was compacted under it. Such a commit is taken over: everything before
it in the log counts. What an unfinished change left there is `pending_keys`; each writer writes the values
that hold over it (`records_for`), which is what makes this right.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from streams.errors import InvalidValueError, PolicyError
from streams.model.policy import Policy
from streams.wire.policy_change import (
    CHANGE_HEADER,
    COMMIT_KEY,
    MAX_KEY,
    MAX_NUMBER,
    Change,
    decode_change,
    decode_entry,
    decode_number,
    encode_change,
    encode_entry,
    encode_number,
)
from streams.wire.policy_entries import Entries, check_change, policy_of
from streams.wire.policy_keys import MAX_ENTRIES, canonical_key, value_of
from streams.wire.policy_values import Row, RowError

__all__ = [
    "CHANGE_HEADER",
    "COMMIT_KEY",
    "Change",
    "PolicyLog",
    "decode_change",
    "decode_entry",
    "decode_number",
    "encode_change",
    "encode_entry",
    "encode_number",
]

MAX_PENDING: Final = 2 * MAX_ENTRIES
MAX_JUMP: Final = 2**40

Placed = tuple[int, Row | None]
"""A record's place in the log, and its row (None: to be removed)."""


class _Waiting:
    """The records of a change whose commit has not come."""

    def __init__(self) -> None:
        self.rows: dict[str, Placed] = {}
        self.records = 0
        self.unreadable = ""
        """Why the change cannot be taken, whatever its commit says."""


class PolicyLog:
    """What `smtp.policy` says, fed record by record in the log's order. Never raises on what it is fed."""

    def __init__(self) -> None:
        self.number = 0
        """Of the change that holds; 0 while none was seen."""
        self.change: Change | None = None
        """That change."""
        self.entries: Entries = {}
        """What holds; a dictionary of its own after each change, not to be altered."""
        self.skipped: Counter[str] = Counter()
        """Reason → records passed over, and changes not taken."""
        self.trouble = ""
        """The latest of them, in words."""
        self._waiting: dict[int, _Waiting] = {}
        self._rows = 0
        self._place = 0
        self._uncommitted: dict[str, int] = {}
        """Key → place of its latest record, where that belongs to no change that was taken."""
        self._floor = 0
        """The change that holds follows this one, it says; its own number where that is proven."""
        self._highest = 0
        self._overflowed = False
        """Whether a change may lack entries without that being noted at it."""

    @property
    def pending_keys(self) -> frozenset[str]:
        """Keys whose latest record belongs to a change that was not taken, or not yet."""
        return frozenset(self._uncommitted)

    @property
    def next_number(self) -> int:
        """A number for the next change that no change in the log has."""
        return self._highest + 1

    @property
    def _most(self) -> int:
        """The highest number that is believed, so that garbage does not use the numbers up."""
        return min(MAX_NUMBER, self.number + MAX_JUMP) if self.number else MAX_NUMBER

    def policy(self) -> Policy:
        """The policy that the entries make."""
        return policy_of(self.entries)

    def records_for(self, wanted: Mapping[str, Row]) -> dict[str, Row | None]:
        """The records of a change that makes `wanted` of what holds (None: a tombstone).

        They are the keys that differ, and those that an unfinished change left behind.
        """
        keys = {key for key, row in wanted.items() if self.entries.get(key) != row}
        keys |= self.entries.keys() - wanted.keys()
        return {key: wanted.get(key) for key in sorted(keys | self.pending_keys)}

    def feed(self, key: str | bytes | None, value: bytes | None, change_number: int) -> Change | None:
        """Take in one record; the change where it is the commit of one that is taken.

        `change_number` is the header's (`decode_number`), 0 where there is none; a commit needs none.
        """
        self._place += 1
        name = key.decode("utf-8", "replace") if isinstance(key, bytes) else key or ""
        if name == COMMIT_KEY:
            return self._commit(value)
        if not 0 < change_number <= self._most:
            self._skip("no number of a change", f"{name[:99]!r} has no header {CHANGE_HEADER}")
            return None
        self._highest = max(self._highest, change_number)
        try:
            known = len(name) <= MAX_KEY and canonical_key(name) == name
        except RowError:
            known = False
        if known:
            self._take(name, value, change_number)
        else:
            self._spoil(change_number, "unknown key", f"{name[:99]!r}")
        return None

    def _take(self, key: str, value: bytes | None, number: int) -> None:
        self._uncommitted[key] = self._place
        if number <= self.number:
            self._skip("late entry", f"{key!r} of change {number}, which is over")
            return
        row: Row | None = None
        if self._rows >= MAX_PENDING:
            self._spoil(number, "too many entries wait", key)
            return
        if value is not None:
            try:
                row = decode_entry(value)
            except InvalidValueError as error:
                self._spoil(number, "unreadable entry", f"{key}: {error.what}")
                return
        waiting = self._waiting.setdefault(number, _Waiting())
        before = waiting.rows.get(key)
        # a producer that sends a record twice is no second writer
        waiting.records += before is None or before[1] != row
        self._rows += before is None
        waiting.rows[key] = (self._place, row)

    def _spoil(self, number: int, reason: str, words: str) -> None:
        self._skip(reason, f"change {number}, {words}")
        if number <= self.number:
            return
        if number in self._waiting or len(self._waiting) < MAX_PENDING:
            self._waiting.setdefault(number, _Waiting()).unreadable = reason
        else:
            self._overflowed = True

    def _commit(self, value: bytes | None) -> Change | None:
        try:
            change = decode_change(value)
        except InvalidValueError as error:
            self._skip("unreadable commit", error.what)
            return None
        if change.number > self._most:
            self._refuse(change, "implausible number", f"{self.number} holds")
            return None
        self._highest = max(self._highest, change.number)
        own = self._waiting.get(change.number) or _Waiting()
        beyond = change.after > self.number or self._floor < change.after < self.number
        refused = ""
        if change.number <= self.number:
            refused = "late commit"
        elif own.records > change.entries:
            refused = "entries of two writers"
        elif change.after != self.number and not beyond:
            refused = "lost race"
        if refused:
            self._drop(change.number)
            self._refuse(change, refused, f"it follows change {change.after}, and {self.number} holds")
            return None
        if beyond:
            return self._apply(change, self._taken_over(change.number))
        if own.unreadable or (self._overflowed and own.records < change.entries):
            self._refuse(change, own.unreadable or "too many entries wait", "in one of its entries")
            return None
        return self._apply(change, own.rows)

    def _taken_over(self, number: int) -> dict[str, Placed]:
        """All that waits, up to this change, in the log's order; without what cannot be read.

        Not only a commit from beyond what is known (`after` > `number`) has it so. Where the commit that was
        taken over had in truth lost a race, the next one follows a change that lies between the two numbers.
        """
        latest: dict[str, Placed] = {}
        for waits, waiting in self._waiting.items():
            if waits <= number:
                for key, placed in waiting.rows.items():
                    if key not in latest or latest[key][0] < placed[0]:
                        latest[key] = placed
        rows: dict[str, Placed] = {}
        for key, placed in latest.items():
            try:
                if placed[1] is not None:
                    value_of(key, placed[1])
                rows[key] = placed
            except RowError as error:
                self._skip("invalid entry", f"{key}: {error.what}")
        return rows

    def _apply(self, change: Change, rows: Mapping[str, Placed]) -> Change | None:
        entries = dict(self.entries)
        for key, (_, row) in rows.items():
            if row is None:
                entries.pop(key, None)
            else:
                entries[key] = row
        try:
            check_change(entries, rows)
        except PolicyError as error:
            self._refuse(change, "no policy", error.what)
            return None
        # a first commit may be what compaction left of a lost race; one that follows what holds is none
        self._floor = change.number if self.number and change.after == self.number else change.after
        self.number, self.change, self.entries = change.number, change, entries
        for key, (place, _) in rows.items():
            if self._uncommitted.get(key) == place:
                del self._uncommitted[key]
        if self._floor == self.number:
            for over in [number for number in self._waiting if number <= change.number]:
                self._drop(over)
        return change

    def _drop(self, number: int) -> None:
        dropped = self._waiting.pop(number, None)
        self._rows -= len(dropped.rows) if dropped else 0

    def _refuse(self, change: Change, reason: str, detail: str) -> None:
        self._skip(reason, f"change {change.number} by {change.who[:64]!r} is not taken: {reason} ({detail})")

    def _skip(self, reason: str, words: str) -> None:
        self.skipped[reason] += 1
        self.trouble = words[:512]

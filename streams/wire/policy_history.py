"""The policy's last changes, kept so that the policy after each of them can be had back."""

from collections import OrderedDict
from typing import Any, Final

from streams.model.standing import PolicyIndex
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import Change

KEPT_KEYS: Final = 200_000
"""Entries of earlier changes that can be gone back over, at most: bounds the memory."""
KEPT_INDEXES: Final = 8
"""Policies kept ready."""


class PolicyHistory:
    """The entries after the last change, and what each change replaced: so any of them can be had back."""

    def __init__(self, base: PolicyIndex, *, kept_keys: int = KEPT_KEYS) -> None:
        """`base` is in force before the first change."""
        self.number = 0
        """Of the last change."""
        self._kept_keys = kept_keys
        self._base = base
        self._entries: Entries = {}
        self._replaced: OrderedDict[int, tuple[int, dict[str, Any]]] = OrderedDict()
        """Change → the number before it, and its keys with their values before it (None: there was none)."""
        self._keys = 0
        self._made: dict[int, int] = {}
        """Change → when it was made."""
        self._shortened = False
        """Whether there were changes before those that are remembered."""
        self._indexes: OrderedDict[int, PolicyIndex] = OrderedDict()

    def add(self, change: Change, entries: Entries) -> None:
        """Note the entries as this change left them; one that was seen already is passed over."""
        if change.number <= self.number:
            return
        if not self.number:
            self._shortened = bool(change.after)
        self._made[change.number] = change.at
        before, self._entries = self._entries, dict(entries)
        # of what came before the first change of a compacted topic nothing is known
        if self.number or not change.after:
            changed = [k for k in before.keys() | entries.keys() if before.get(k) != entries.get(k)]
            self._replaced[change.number] = (self.number, {key: before.get(key) for key in changed})
            self._keys += len(changed) + 1
        self.number = change.number
        while self._keys > self._kept_keys and len(self._replaced) > 1:
            oldest, (_, dropped) = self._replaced.popitem(last=False)
            self._keys -= len(dropped) + 1
            self._made = {number: at for number, at in self._made.items() if number >= oldest}
            self._shortened = True

    @property
    def entries(self) -> Entries:
        """A copy of the entries after the last change."""
        return dict(self._entries)

    def as_of(self, at: int) -> int:
        """The last change made by then; the earliest that is remembered where all are later; 0 where the base
        was in force."""
        made = [number for number, moment in self._made.items() if moment <= at]
        if made:
            return max(made)
        return min(self._made) if self._shortened else 0

    def at(self, number: int) -> PolicyIndex:
        """The policy after the last change up to this number; `PolicyError` where its entries are not one."""
        wanted, entries = self.number, dict(self._entries)
        for change in reversed(self._replaced):
            if change <= number:
                break
            wanted, replaced = self._replaced[change]
            for key, row in replaced.items():
                if row is None:
                    entries.pop(key, None)
                else:
                    entries[key] = row
        if wanted == 0:
            return self._base
        found = self._indexes.get(wanted)
        if found is None:
            found = self._indexes[wanted] = PolicyIndex(policy_of(entries))
            while len(self._indexes) > KEPT_INDEXES:
                self._indexes.popitem(last=False)
        return found

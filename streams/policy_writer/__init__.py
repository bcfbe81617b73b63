"""Writes changes of the policy to `smtp.policy`, each whole or not at all, however many write at once.

A change is its entries and then its commit, which names the change that it follows. A commit that another
one came before is passed over by every reader, and its writer begins again on what holds then. Readers pass
over entries without a commit too; the next writer writes the values that hold again, so that compaction (it
keeps the latest value of a key) keeps the right one. Two writers who begin at the same moment may give their
changes the same number; readers take neither then, and each begins again with a number drawn by chance.
"""

import time
from collections.abc import Callable
from random import uniform
from typing import Final

from streams.config import KafkaSettings
from streams.errors import PolicyError, UnavailableError
from streams.policy_writer.topic import PolicyTopic
from streams.topics import POLICY
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import Change, PolicyLog
from streams.wire.policy_words import escaped

Edit = Callable[[Entries], Entries]
Check = Callable[[Entries, Entries], None]
"""Raises where the change from these entries to those is not to be made."""

TRIES: Final = 5
_SPREAD: Final = 1000
"""Numbers are drawn from so many where another writer was met."""
_PAUSE_S: Final = 0.05


def change_policy(
    settings: KafkaSettings,
    base: Entries,
    edit: Edit,
    *,
    who: str,
    what: str | Callable[[Entries], str],
    note: str = "",
    topic: str = POLICY,
) -> Change | None:
    """Apply `edit` to the entries in force and return the change once it is; None where nothing changes.

    `base` stands for the entries while there was no change yet; it is then written first, as a change of its
    own (an empty one is not). `edit` is given a dictionary of its own, and again where another writer was
    faster; `what` may depend on what was in force. `PolicyError` where what `edit` leaves is no policy,
    `UnavailableError` where Kafka is away or others were faster five times.
    """
    with PolicyTopic(settings, topic) as opened:
        return _tried(opened, base, lambda _, before: edit(before), who=who, what=what, note=note)


def undo_change(
    settings: KafkaSettings, number: int, *, who: str, note: str = "", check: Check | None = None
) -> Change | None:
    """Give the keys of that change the rows that they had before it.

    `PolicyError` where the topic does not hold the change any more, or began with it, or a later one changed
    a key of it again.
    """

    def edit(topic: PolicyTopic, before: Entries) -> Entries:
        if topic.first is not None and topic.first.number == number:
            raise PolicyError(
                f"change {number} ({escaped(topic.first.what[:99])}) is what the policy on Kafka began with: "
                "what was in force before it is not on record, and without its entries there is no policy",
                try_next="goaway policy remove KEY, or goaway policy apply FILE with what you want",
            )
        if number not in topic.replaced:
            raise PolicyError(f"{POLICY} does not hold change {number}", try_next="goaway policy log")
        held = dict(before)
        for key, (old, new) in topic.replaced[number].items():
            if before.get(key) not in (old, new):
                raise PolicyError(
                    f"{key} was changed again after change {number}",
                    try_next=f"goaway policy log, then undo the later one, or goaway policy remove {key}",
                )
            if old is None:
                before.pop(key, None)
            else:
                before[key] = old
        if check is not None:
            check(held, before)
        return before

    with PolicyTopic(settings) as opened:
        return _tried(opened, {}, edit, who=who, what=f"undo change {number}", note=note)


def read_policy_log(settings: KafkaSettings, topic: str = POLICY) -> PolicyLog:
    """The policy on Kafka as of now; number 0 and no entries where there was no change yet."""
    with PolicyTopic(settings, topic) as opened:
        return opened.read()


def _tried(
    topic: PolicyTopic,
    base: Entries,
    edit: Callable[[PolicyTopic, Entries], Entries],
    *,
    who: str,
    what: str | Callable[[Entries], str],
    note: str,
) -> Change | None:
    for attempt in range(TRIES):
        if attempt:
            time.sleep(uniform(_PAUSE_S, 2 * _PAUSE_S * attempt))  # noqa: S311
        log = topic.read()
        before = dict(log.entries) if log.number else base
        after = edit(topic, dict(before))
        if after == before:
            return None
        policy_of(after, place="the policy after this change")
        spread = _SPREAD * attempt
        if not log.number and base:
            first = topic.write(base, who=who, what="the policy of before", note="", spread=spread)
            if first is None:
                continue
        said = what if isinstance(what, str) else what(before)
        change = topic.write(after, who=who, what=said, note=note, spread=spread)
        if change is not None:
            return change
    raise UnavailableError(
        f"others changed {topic.name} at the same time, {TRIES} times in a row; of this nothing is in force",
        try_next="goaway policy log, then the same command again",
    )

"""Writes changes of the policy to `smtp.policy`, each whole or not at all, however many write at once.

A change is its entries and then its commit, which names the change that it follows. A commit that another
one came before is passed over by every reader, and its writer begins again on what holds then. Readers pass
over entries without a commit too; the next writer writes the values that hold again, so that compaction (it
keeps the latest value of a key) keeps the right one. Two writers who begin at the same moment may give their
changes the same number; readers take neither then, and each begins again with a number drawn by chance.

Reading a record twice does no harm here, so the producer is a plain one with one request at a time: an
idempotent one has its first record wait half a second or more for its own number.
"""

import logging
import time
from collections.abc import Callable, Iterable
from random import uniform
from secrets import randbelow
from typing import Any, Final, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from streams.config import KafkaSettings
from streams.errors import PolicyError, UnavailableError
from streams.kafka import client_config, onlooker, partition_counts, unavailable, unusable
from streams.model.instant import Instant
from streams.topics import POLICY
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import (
    CHANGE_HEADER,
    COMMIT_KEY,
    Change,
    PolicyLog,
    decode_number,
    encode_change,
    encode_entry,
    encode_number,
)
from streams.wire.policy_words import escaped

Edit = Callable[[Entries], Entries]
Check = Callable[[Entries, Entries], None]
"""Raises where the change from these entries to those is not to be made."""
Replaced = dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]]
"""Key → its row before a change and after it; None: no row."""

TRIES: Final = 5
TIMEOUT_S: Final = 15.0
"""Longest wait for Kafka, at each step."""
_SPREAD: Final = 1000
"""Numbers are drawn from so many where another writer was met."""
_LOOK_S: Final = 2.0
_AWAY_S: Final = 4.0
"""Longest wait for a Kafka that does not answer at first."""
_PAUSE_S: Final = 0.05

_log = logging.getLogger(__name__)


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
    topic: "PolicyTopic",
    base: Entries,
    edit: Callable[["PolicyTopic", Entries], Entries],
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


class PolicyTopic:
    """`smtp.policy`, or `smtp.candidate`, as a writer sees it: read to its end, written, read on.

    A context manager.
    """

    def __init__(self, settings: KafkaSettings, name: str = POLICY) -> None:
        """`SettingsError` where the settings cannot be used, `UnavailableError` where there is no topic."""
        self.name: Final = name
        self.replaced: dict[int, Replaced] = {}
        """What each accepted change that was read did to its keys, where what it follows is known."""
        self.first: Change | None = None
        """The change that the topic began with; None where it was compacted since."""
        self._settings = settings
        self._log = PolicyLog()
        self._touched: dict[int, set[str]] = {}
        self._failures: list[str] = []
        self._acknowledged = -1
        """Offset of the latest record that Kafka has."""
        try:
            self._producer = Producer(
                client_config(
                    settings,
                    acks="all",
                    linger_ms=5,
                    max_in_flight=1,
                    message_timeout_ms=int(TIMEOUT_S * 1000),
                    queue_buffering_max_messages=1_000_000,
                ),
                logger=_log,
            )
        except (KafkaException, ValueError) as error:
            raise unusable(error) from error
        self._consumer = onlooker(settings, "goaway-policy", wait_ms=10, auto_offset_reset="earliest")
        try:
            found = self._topic_is_there()
        except UnavailableError:
            self._consumer.close()
            raise
        if not found:
            self._consumer.close()
            raise UnavailableError(
                f"Kafka at {settings.bootstrap} has no topic {self.name}", try_next="goaway topics create"
            )
        self._consumer.assign([TopicPartition(self.name, 0, OFFSET_BEGINNING)])

    def _topic_is_there(self) -> bool:
        """Asked through the consumer: knowing the topic's place it begins half a second earlier."""
        try:
            topic = self._consumer.list_topics(self.name, timeout=_LOOK_S).topics[self.name]
        except KafkaException:
            return bool(
                partition_counts(self._settings, timeout_s=_AWAY_S).get(self.name)
            )  # it tells why, where it cannot
        return topic.error is None and bool(topic.partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> PolicyLog:
        """What holds at the topic's end; a second time, from where the first one stopped."""
        deadline = time.monotonic() + TIMEOUT_S
        while (record := self._next(deadline)) is not None:
            self._feed(record)
        return self._log

    def write(self, after: Entries, *, who: str, what: str, note: str, spread: int = 0) -> Change | None:
        """Write a change that leaves these entries; None where it is not in force as it was meant."""
        log = self._log
        records = log.records_for(after)
        change = Change(
            number=log.next_number + (randbelow(spread) if spread else 0),
            after=log.number,
            version=policy_of(after).version,
            who=who,
            at=Instant(time.time_ns() // 1000),
            what=what,
            note=note,
            entries=len(records),
        )
        self._produce(
            change, ((key, None if row is None else encode_entry(row)) for key, row in records.items())
        )
        # on its own: it must not be there without one of its entries
        self._produce(change, [(COMMIT_KEY, encode_change(change))])
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            record = self._next(deadline)
            taken = self._feed(record) if record is not None else None
            if record is not None and record.offset() >= self._acknowledged:
                return change if taken is not None and log.entries == after else None

    def _produce(self, change: Change, records: Iterable[tuple[str, bytes | None]]) -> None:
        header = [(CHANGE_HEADER, encode_number(change.number))]
        try:
            for key, value in records:
                self._producer.produce(
                    self.name, value, key, partition=0, headers=header, on_delivery=self._delivered
                )
        except (KafkaException, BufferError) as error:
            raise unavailable(self._settings, error) from error
        left = self._producer.flush(TIMEOUT_S + 1)
        if left or self._failures:
            raise unavailable(self._settings, self._failures[0] if self._failures else "no acknowledgement")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(error.str())
        else:
            self._acknowledged = message.offset() or 0

    def _next(self, deadline: float) -> Any:
        """The next record; None at the end of what there is."""
        while (left := deadline - time.monotonic()) > 0:
            record = self._consumer.poll(min(left, 0.5))
            if record is None:
                continue
            error = record.error()
            if error is None:
                return record
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise unavailable(self._settings, error.str())
        raise unavailable(self._settings, f"{self.name} was not read to its end in {TIMEOUT_S:g} s")

    def _feed(self, record: Any) -> Change | None:
        number = decode_number(dict(record.headers() or ()).get(CHANGE_HEADER))
        key = (record.key() or b"").decode("utf-8", "replace")
        before = dict(self._log.entries) if key == COMMIT_KEY else {}
        follows = self._log.number
        if key != COMMIT_KEY:
            self._touched.setdefault(number, set()).add(key)
        change = self._log.feed(key, record.value(), number)
        if change is not None:
            after = self._log.entries
            keys = self._touched.pop(change.number, set())
            if not change.after:
                self.first = change
            elif change.after == follows:  # else the change before it was compacted away
                self.replaced[change.number] = {key: (before.get(key), after.get(key)) for key in keys}
        return change

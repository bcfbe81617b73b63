"""Follows `smtp.policy` in a thread of its own: every process knows the policy in force, within milliseconds.
`smtp.candidate` is followed in the same way.

A plain consumer, without a group, from the topic's beginning. Kafka away, topic missing, a broker in memory
that came back empty: each is said once, and the policy known last stays in force until a change is seen.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from streams.config import KafkaSettings
from streams.errors import GoawayError, UnavailableError
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.policy_follower.reading import LOOK_S, Reading, ReadingState
from streams.topics import POLICY
from streams.wire.policy_entries import Entries
from streams.wire.policy_history import PolicyHistory
from streams.wire.policy_log import CHANGE_HEADER, Change, PolicyLog, decode_number

_log = logging.getLogger(__name__)


class PolicyFollower:
    """The thread and what it has seen; everything public may be used from any thread.

    `on_change(number, index)` is called in the thread: once for what lay there at the start, then for each
    change, and again after a broker that came back empty has seen its first.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        base: Policy,
        on_change: Callable[[int, PolicyIndex], None] | None = None,
        *,
        topic: str = POLICY,
    ) -> None:
        """`base` is in force until a change is seen. `SettingsError` where the settings cannot be used.

        Of another topic than the policy's, only what concerns it alone is said.
        """
        self.caught_up = False
        """Whether everything that lay there at the start, or at a broker's return, was read."""
        self.trouble = ""
        """Why the latest change could not be taken over; empty where it was."""
        self._settings = settings
        self._topic = topic
        self._on_change = on_change
        index = PolicyIndex(base)
        self._current = (0, index)
        self._history = PolicyHistory(index)
        self._log = PolicyLog()
        self._news = threading.Condition()
        self._renewed = False
        """Whether the log is another one than that of the policy in force."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=topic, daemon=True)
        self._reading = Reading(
            settings, topic, on_beginning=self._begin, version=lambda: self._current[1].version
        )

    @property
    def state(self) -> ReadingState:
        """How it stands with Kafka."""
        return self._reading.state

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number of the last change and the policy in force; 0 and the base until a change is seen."""
        return self._current

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        """The policy as this change left it, waited for where it was not seen yet.

        0 is the base, where nothing was forgotten since; what is no longer remembered is answered by the
        earliest policy that is. A change that does not appear in time is an `UnavailableError`.
        """
        deadline = time.monotonic() + timeout_s
        with self._news:
            while number > self._history.number:
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise UnavailableError(
                        f"change {number} of {self._topic} does not appear at {self._settings.bootstrap}",
                        try_next="goaway policy log",
                    )
            return self._history.at(number)

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """Number and policy of the latest change made at or before this instant, in microseconds; of those
        that are remembered the earliest where all are later."""
        with self._news:
            number = self._history.as_of(at)
            return number, self._history.at(number)

    @property
    def number(self) -> int:
        """Of the last change that the topic holds; 0 where it holds none, whatever was in force before."""
        return self._history.number

    @property
    def entries(self) -> Entries:
        """The entries of the last change; empty before any."""
        with self._news:
            return self._history.entries

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for it, a few seconds at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def wait_until_caught_up(self, timeout_s: float) -> bool:
        """Wait for what lies there already; whether it was read in time."""
        with self._news:
            return self._news.wait_for(lambda: self.caught_up, timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception:
                # the policy in force must outlive whatever this was
                _log.exception("following %s failed; trying again in %g s", self._topic, LOOK_S)
                self._reading.begin_again()
                self._stop.wait(LOOK_S)
        self._reading.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            record = self._reading.next()
            if record is None:
                continue
            if record.error() is None:
                self._take(record)
            else:
                self._reached_end()

    def _begin(self, renewed: bool) -> None:
        """Read from the beginning: a log of its own, with numbers of its own."""
        self._log = PolicyLog()
        with self._news:
            self.caught_up = False
            if renewed:
                self._renewed = True
                self._history = PolicyHistory(self._current[1])

    def _take(self, record: Any) -> None:
        number = decode_number(dict(record.headers() or ()).get(CHANGE_HEADER))
        change = self._log.feed(record.key(), record.value(), number)
        if change is not None:
            with self._news:
                self._history.add(change, self._log.entries)
                self._news.notify_all()
            if self.caught_up:
                self._put_in_force(change)

    def _reached_end(self) -> None:
        if self.caught_up:
            return
        number = self._log.number
        if number and (self._renewed or number != self._current[0]):
            self._put_in_force(None)
        self._renewed = False
        with self._news:
            self.caught_up = True
            self._news.notify_all()
        _log.info("caught up with %s: change %d, version %s", self._topic, number, self._current[1].version)

    def _put_in_force(self, change: Change | None) -> None:
        number = self._log.number
        try:
            with self._news:
                index = self._history.at(number)
        except GoawayError as error:
            self.trouble = str(error)
            _log.error("change %d cannot be taken over, the policy before it stays: %s", number, error)
            return
        self.trouble = ""
        self._current = (number, index)
        if change is not None:
            _log.info("change %d by %s: %s", number, ascii(change.who)[1:-1], ascii(change.what)[1:-1][:200])
        if self._on_change is not None:
            self._on_change(number, index)

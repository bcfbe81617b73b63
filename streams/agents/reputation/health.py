"""Whether a zone can be trusted: its test entries, a breaker, and when it is tried again.

A state machine over values: the caller asks, tells what came, and brings the time (monotonic seconds).
"""

from typing import Final

from streams.agents.reputation.answers import Answer, Trouble
from streams.model.modules import Zone

FAILURES: Final = 5
"""So many failures in a row take a zone out; what is certain (`Trouble`) does at once."""
FIRST_BACK_OFF_S: Final = 5.0

WILDCARD: Final = Trouble(
    "wildcard",
    "it lists everybody (127.0.0.1 is listed)",
    "it was shut down or the resolver rewrites answers; switch the zone off",
)
UNTESTED: Final = Trouble(
    "untested",
    "its test entry 127.0.0.2 is not listed",
    "compare its domain with its operator's documentation, or set test = false if it has no test entries",
)


def verdict_of_test(listed: Answer, unlisted: Answer, *, entries: bool) -> Trouble | None:
    """What the answers about the two test entries say of the zone; `entries`: whether it has them."""
    if listed.trouble is not None:
        return listed.trouble
    if unlisted.trouble is not None:
        return unlisted.trouble
    if not entries:
        return None
    if unlisted.codes:
        return WILDCARD
    return None if listed.codes else UNTESTED


class ZoneHealth:
    """State of one zone. It starts in, since most zones work, and is tested at once."""

    __slots__ = ("_back_off_s", "every_s", "failures", "next_test_at", "tested_at", "trouble", "zone")

    def __init__(self, zone: Zone, *, every_s: float, now: float) -> None:
        self.zone = zone
        self.every_s = every_s
        self.failures = 0
        self.trouble: Trouble | None = None
        """Why it is out; None while it is in."""
        self.next_test_at = now
        self.tested_at = float("-inf")
        """When a test last ended."""
        self._back_off_s = 0.0

    @property
    def out(self) -> bool:
        """Whether it is not asked about clients."""
        return self.trouble is not None

    def answered(self, answer: Answer, now: float) -> bool:
        """Take in what came of a question about a client; whether that took the zone out.

        A zone that is out comes back by a test only: this may be an answer from before.
        """
        if self.out:
            return False
        trouble = answer.trouble
        if trouble is None:
            self.failures = 0
            return False
        self.failures += 1
        if trouble.kind != "refusing" and self.failures < FAILURES:
            return False
        self._leave(trouble, now)
        return True

    def tested(self, trouble: Trouble | None, now: float) -> bool:
        """Take in the outcome of a test; whether the zone went out or came back by it."""
        self.tested_at = now
        if trouble is None:
            was_out, self.trouble, self.failures, self._back_off_s = self.out, None, 0, 0.0
            self.next_test_at = now + self.every_s
            return was_out
        if self.out:
            self.trouble = trouble
            self._back_off(now)
            return False
        self.failures += 1
        if trouble.kind in ("silent", "strange") and self.failures < FAILURES:
            # not certain yet: find out soon rather than with the next round
            self.next_test_at = now + min(self.every_s, 1.0)
            return False
        self._leave(trouble, now)
        return True

    def _leave(self, trouble: Trouble, now: float) -> None:
        self.trouble = trouble
        self._back_off(now)

    def _back_off(self, now: float) -> None:
        self._back_off_s = min(self.every_s, max(FIRST_BACK_OFF_S, 2 * self._back_off_s))
        self.next_test_at = now + self._back_off_s

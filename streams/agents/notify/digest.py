"""When people are told: digests, quiet hours, the cap per client, the pace. Pure; the caller brings the time.

Every notice that is taken is told: in words, by name and count, or in the total of a message. None is told
twice, and none is lost.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.agents.notify.hours import is_quiet
from streams.agents.notify.message import Message, write_message
from streams.agents.notify.notices import Notice
from streams.agents.notify.pool import Pool
from streams.model.instant import MICROSECONDS
from streams.model.modules import Notify

HOUR_US: Final = 3600 * MICROSECONDS

PACE_US: Final = 60 * MICROSECONDS
BURST: Final = 20
"""However short `digest_s` is: a message a minute, and so many more at once; the rest goes out together."""

MAX_SEEN: Final = 100_000
"""Ids remembered, so that a record that was written twice is told once."""

Lane = str
URGENT_LANE: Final = "urgent"
CALM_LANE: Final = "calm"


class Outgoing(NamedTuple):
    """A message, and the lanes whose notices are all in it."""

    message: Message
    lanes: tuple[Lane, ...]


class Digest:
    """Takes notices one by one and gives messages when due. Times are microseconds since the epoch."""

    def __init__(self) -> None:
        self._pools: dict[Lane, Pool] = {URGENT_LANE: Pool(), CALM_LANE: Pool()}
        self._seen: dict[str, None] = {}
        self._told: dict[str, list[int]] = {}
        """Subject → when messages of the last hour named it."""
        self._paid_until = 0

    @property
    def waiting(self) -> int:
        """Notices that are not yet in a message."""
        return sum(pool.counts.total() for pool in self._pools.values())

    def take(self, notice: Notice, now: int, policy: Notify) -> Lane | None:
        """Keep it until it is told; the lane that it waits in. None where it was taken before."""
        if notice.id in self._seen:
            return None
        self._see(notice.id)
        lane = URGENT_LANE if notice.urgent else CALM_LANE
        self._pools[lane].add(notice, self._due(notice.subject, now, policy))
        return lane

    def mark_told(self, notice_ids: Iterable[str]) -> None:
        """These were told by a run before this one."""
        for notice_id in notice_ids:
            self._see(notice_id)

    def compose(self, now: int, policy: Notify) -> Outgoing | None:
        """The message that is due at this instant, or None. What is in it no longer waits."""
        quiet = is_quiet(policy, now)
        lanes = tuple(
            lane for lane, pool in self._pools.items() if pool.counts and not (quiet and lane == CALM_LANE)
        )
        dues = [due for lane in lanes if (due := self._pools[lane].due) is not None]
        if not dues or min(dues) > now or not self._within_pace(now):
            return None
        self._told = {s: kept for s, times in self._told.items() if (kept := _recent(times, now))}
        allowed = max(0, policy.per_client_per_hour)
        full = frozenset(s for s, times in self._told.items() if len(times) >= allowed)
        pools = [self._pools[lane] for lane in lanes]
        message = write_message(pools, full, now, policy.timezone, nobody=not allowed)
        for subject in message.named:
            self._told.setdefault(subject, []).append(now)
        for lane in lanes:
            self._pools[lane] = Pool()
        self._paid_until = max(self._paid_until, now) + PACE_US
        return Outgoing(message, lanes)

    def _due(self, subject: str, now: int, policy: Notify) -> int:
        """After `digest_s`; where the hour's messages about the subject are used up, when the next is free.

        Until then it is counted, and goes along with any message that goes out for another reason.
        """
        due = now + policy.digest_s * MICROSECONDS
        allowed = policy.per_client_per_hour
        times = _recent(self._told.get(subject, []), now)
        if allowed < 1:
            return max(due, now + HOUR_US)
        if len(times) < allowed:
            return due
        return max(due, times[-allowed] + HOUR_US)

    def _see(self, notice_id: str) -> None:
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[notice_id] = None

    def _within_pace(self, now: int) -> bool:
        return self._paid_until - now <= (BURST - 1) * PACE_US


def _recent(times: list[int], now: int) -> list[int]:
    """Those of the last hour."""
    return [at for at in times if at > now - HOUR_US]

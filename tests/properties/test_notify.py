"""Digests: everything is told or counted once, caps and quiet hours hold, over random streams, DST nights."""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.notify.digest import BURST, HOUR_US, PACE_US, Digest
from streams.agents.notify.hours import is_quiet
from streams.agents.notify.message import MAX_BODY, Message
from streams.agents.notify.notices import notice_of
from streams.agents.notify.pool import MAX_SUBJECTS, MAX_WORDED, Pool
from streams.model.instant import MICROSECONDS, as_datetime, instant_of
from streams.model.modules import Notify
from tests.notify_sinks import block, warning

EVERYTHING = Notify().about
NIGHTS = [
    datetime(2026, 3, 28, 20, tzinfo=UTC),  # Berlin goes to summer time in the night after
    datetime(2026, 10, 24, 20, tzinfo=UTC),  # and back
    datetime(2026, 6, 1, 9, tzinfo=UTC),
]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe"]
CLOCKS = st.one_of(
    st.just(""), st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))
)
POLICIES = st.builds(
    Notify,
    digest_s=st.sampled_from([0, 1, 300, 3600]),
    per_client_per_hour=st.integers(1, 5),
    quiet_from=CLOCKS,
    quiet_to=CLOCKS,
    timezone=st.sampled_from(ZONES),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 59, 600, 1800, 7200]),  # seconds to the next step
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from(EVERYTHING)), max_size=6),
    ),
    max_size=40,
)


def wall(policy: Notify, at: int) -> str:
    return as_datetime(at).astimezone(ZoneInfo(policy.timezone)).strftime("%H:%M")


def obviously_quiet(policy: Notify, at: int) -> bool:
    start, end, now = policy.quiet_from, policy.quiet_to, wall(policy, at)
    if not start or not end or start == end:
        return False
    return start <= now < end if start < end else now >= start or now < end


@settings(max_examples=200)
@given(policy=POLICIES, steps=STEPS, night=st.sampled_from(NIGHTS))
def test_everything_is_told_once_and_caps_and_quiet_hours_hold(
    policy: Notify, steps: list[tuple[int, list[tuple[int, str]]]], night: datetime
) -> None:
    digest, now = Digest(), int(instant_of(night))
    taken: Counter[str] = Counter()
    ids: set[str] = set()
    out: list[tuple[int, Message]] = []

    def tick() -> None:
        while (outgoing := digest.compose(now, policy)) is not None:
            out.append((now, outgoing.message))

    for pause_s, numbers in steps:
        for number, topic in numbers:
            one = notice_of(
                block(number, client=f"192.0.2.{number % 7}")
                if topic == "block"
                else warning(number, client=f"192.0.2.{number % 7}", about=topic),
                EVERYTHING,
            )
            assert one is not None
            lane = digest.take(one, now, policy)
            assert (lane is None) == (one.id in ids)
            if lane is not None:
                taken[topic] += 1
                ids.add(one.id)
        for _ in range(0, pause_s, 600):
            tick()
            now += min(600, pause_s) * MICROSECONDS
        tick()
    told: Counter[str] = Counter()
    for at, message in out:
        told.update(message.counts)
        assert len(message.body) <= MAX_BODY
        if obviously_quiet(policy, at):
            assert set(message.counts) <= {"zone", "partner", "pipeline"}
    assert told.total() + digest.waiting == taken.total()
    # without quiet hours all of it is told within a day
    policy = msgspec.structs.replace(policy, quiet_from="")
    for _ in range(24 * 6):
        now += 600 * MICROSECONDS
        tick()
    told = Counter()
    for _, message in out:
        told.update(message.counts)
    assert told == taken
    assert digest.waiting == 0
    for at, _ in out:
        within = [message for then, message in out if at - HOUR_US < then <= at]
        assert len(within) <= BURST + HOUR_US // PACE_US
        names = Counter(name for message in within for name in message.named)
        assert not names or max(names.values()) <= policy.per_client_per_hour


@given(
    start=CLOCKS,
    end=CLOCKS,
    zone=st.sampled_from(ZONES),
    night=st.sampled_from(NIGHTS),
    minutes=st.integers(0, 24 * 60),
    seconds=st.integers(0, 59),
)
def test_quiet_hours_are_what_the_clock_on_the_wall_says(
    start: str, end: str, zone: str, night: datetime, minutes: int, seconds: int
) -> None:
    policy = Notify(quiet_from=start, quiet_to=end, timezone=zone)
    at = int(instant_of(night)) + (minutes * 60 + seconds) * MICROSECONDS
    assert is_quiet(policy, at) == obviously_quiet(policy, at)


@given(numbers=st.lists(st.integers(0, 5), max_size=60), digest_s=st.integers(0, 900))
def test_a_digest_waits_for_its_time_and_no_longer(numbers: list[int], digest_s: int) -> None:
    policy = Notify(digest_s=digest_s, per_client_per_hour=1000)
    digest, now, first = Digest(), 0, -1
    for number, pause_s in enumerate(numbers):
        one = notice_of(warning(number), EVERYTHING)
        assert one is not None
        digest.take(one, now, policy)
        first = now if first < 0 else first
        due = now >= first + digest_s * MICROSECONDS
        if digest.compose(now, policy) is not None:
            assert due
            first = -1
        elif due:
            assert digest_s < 60  # only the pace may hold it back
        now += pause_s * 100 * MICROSECONDS


def test_a_flood_of_100_000_clients_takes_a_bounded_place_and_loses_nothing() -> None:
    policy, digest, now = Notify(digest_s=0), Digest(), int(instant_of(NIGHTS[2]))
    messages = []
    for number in range(100_000):
        one = notice_of(warning(number), EVERYTHING)
        assert one is not None
        digest.take(one, now, policy)
        if number % 100 == 0 and (outgoing := digest.compose(now, policy)) is not None:
            messages.append(outgoing.message)
        assert len(messages) <= BURST + 3
        now += 1000  # a thousand a second
    while digest.waiting:
        now += 60 * MICROSECONDS
        if (outgoing := digest.compose(now, policy)) is not None:
            messages.append(outgoing.message)
    assert sum(sum(message.counts.values()) for message in messages) == 100_000
    assert len(messages) <= BURST + 3


def test_a_pool_keeps_few_however_many_are_put_in() -> None:
    pool = Pool()
    for number in range(10_000):
        one = notice_of(warning(number), EVERYTHING)
        assert one is not None
        pool.add(one, number)
    assert len(pool.subjects) == MAX_SUBJECTS
    assert sum(len(waiting.worded) for waiting in pool.subjects.values()) == MAX_WORDED
    assert pool.counts == {"limit": 10_000}
    assert pool.due == 0

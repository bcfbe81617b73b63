"""A sweep decides, for each of its settings, what a replay under that setting alone decides."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.engine.outcome import lets_off
from streams.engine.rules import RULES_BY_KIND
from streams.engine.state import State
from streams.engine.step import step
from streams.model.client import ClientPrefixes, parse_address
from streams.model.decision import Decision
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.model.policy import Limits, Policy
from streams.model.standing import PolicyIndex
from streams.replay.branches import numbers
from streams.replay.run import replay
from streams.replay.setting import Setting
from streams.replay.sweep import Sweep
from tests.properties.histories import ADDRESSES, LIMITS, POLICIES, START, histories

SETTINGS = st.builds(
    Setting,
    concurrent_connections=st.integers(1, 6),
    connections_per_minute=st.integers(1, 8),
    requests_per_minute=st.integers(1, 6),
    cool_down_s=st.sampled_from((1, 30, 59, 60, 61, 90, 600, 7300)),
    cool_down_growth=st.sampled_from((1.0, 1.5, 2.0, 10.0)),
)


def swept(
    policies: list[Policy], events: list[Event], *, merge_every: int = 64
) -> tuple[list[list[Decision]], list[list[str]]]:
    """Of each policy its decisions, and the ids of events that a rate block refused."""
    sweep = Sweep(policies, merge_every=merge_every)
    found: list[list[Decision]] = [[] for _ in policies]
    refused: list[list[str]] = [[] for _ in policies]
    for event in events:
        for members, decision in sweep.step(event):
            for number in numbers(members):
                found[number].append(sweep.own(number, decision))
        for number in numbers(sweep.refused):
            refused[number].append(event.id)
    return found, refused


def replayed(policy: Policy, events: list[Event]) -> tuple[list[Decision], list[str]]:
    """The same of one policy, by the engine alone."""
    index, state = PolicyIndex(policy), State(memory_s=policy.memory_s)
    found, refused = list[Decision](), list[str]()
    for event in events:
        decisions = [it for it in step(index, state, event) if isinstance(it, Decision)]
        found += decisions
        client, standing = state.clients.get(event.client), index.standing(event.address)
        if (
            event.kind in RULES_BY_KIND
            and event.code != 451
            and client is not None
            and not decisions
            and client.clock < client.block_end
            and standing.blocked(event.at) is None
            and not lets_off(index, standing, "rate", event.at)
        ):
            refused.append(event.id)
    assert found == [it for it in replay(index, events) if isinstance(it, Decision)]
    return found, refused


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    POLICIES, st.lists(SETTINGS, min_size=1, max_size=30), histories(max_size=80), st.sampled_from((1, 64))
)
def test_each_setting_decides_as_a_replay_of_its_own(
    policy: Policy, points: list[Setting], events: list[Event], merge_every: int
) -> None:
    policies = [point.under(policy) for point in points]
    found, refused = swept(policies, events, merge_every=merge_every)
    for number, under in enumerate(policies):
        assert (found[number], refused[number]) == replayed(under, events), points[number]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(POLICIES, st.lists(SETTINGS, min_size=100, max_size=100), histories(max_size=200, long=False))
def test_a_hundred_settings_over_a_busy_history(
    policy: Policy, points: list[Setting], events: list[Event]
) -> None:
    policies = [point.under(policy) for point in points]
    found, refused = swept(policies, events, merge_every=3)
    assert list(zip(found, refused, strict=True)) == [replayed(under, events) for under in policies]


def busy(seed: int, length: int = 400) -> list[Event]:
    """Bursts of few clients, pauses as long as cool-downs and repeats, sessions left open, lateness."""
    chance, clock, made = Random(seed), START, list[Event]()
    clients = [parse_address(it) for it in ADDRESSES[: chance.choice((1, 2, 3))]]
    mixes: tuple[tuple[EventKind, ...], ...] = (
        ("connect",),
        ("connect", "connect", "disconnect"),
        ("connect", "mail"),
        ("mail",),
    )
    kinds = chance.choice(mixes)
    sessions = chance.choice((2, 4, 40))
    while len(made) < length:
        pause = chance.choice((30, 59, 60, 61, 90, 120, 1800, 3599, 3600, 3660, 3700, 7300, 7400))
        clock += pause * 1_000_000 + chance.choice((-1, 0, 0, 1))
        address, pace = chance.choice(clients), chance.choice((0.0, 0.3, 2.0, 6.0, 20.0))
        for _ in range(chance.randrange(1, 30)):
            clock += int(chance.uniform(0, 2 * pace) * 1_000_000)
            late = chance.choice((0, 0, 0, 0, 0, 0, chance.randrange(90_000_000)))
            kind: EventKind = "forget" if chance.random() < 0.004 else chance.choice(kinds)
            made.append(
                Event(
                    id=f"b{len(made):04d}",
                    at=Instant(clock - late),
                    kind=kind,
                    client=ClientPrefixes().client_of(address),
                    address=address,
                    session=f"mx/{chance.randrange(sessions)}",
                    host="mx",
                )
            )
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    LIMITS,
    st.lists(SETTINGS, min_size=2, max_size=40),
    st.integers(0, 1 << 32),
    st.sampled_from((1, 2, 64)),
    st.sampled_from((None, 1 << 20)),
)
def test_bursts_pauses_and_strikes(
    limits: Limits, points: list[Setting], seed: int, merge_every: int, high: int | None
) -> None:
    """With `high` the concurrency limit alone is ever breached, or whether others are depends on it."""
    if high is not None:
        points = [replace(it, connections_per_minute=high, requests_per_minute=high) for it in points]
    policies = [point.under(Policy(limits=limits)) for point in points]
    events = busy(seed)
    found, refused = swept(policies, events, merge_every=merge_every)
    assert list(zip(found, refused, strict=True)) == [replayed(under, events) for under in policies]

"""The engine equals the reference, always; and what must hold of any history holds."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.agents.ledger import Ledger
from streams.engine.rules import RULES as LIMITS
from streams.engine.state import State
from streams.engine.step import Outcome, step
from streams.model.client import parse_network
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.marker import marker
from streams.model.modules import VIOLATIONS
from streams.model.policy import MODULE_OF, MODULES, Exemption, Module, Policy, Suspension
from streams.model.standing import PolicyIndex
from streams.wire.frames import encode_frame
from streams.wire.policy_settings import RULES
from tests.fixed_policy import FixedPolicy
from tests.properties.histories import ERRORS, POLICIES, START, answers, histories
from tests.properties.reference import Reference

LIMIT_RULES = tuple(rule.name for rule in LIMITS)
NEVER = 1 << 62


def outcomes(policy: Policy, events: list[Event]) -> list[Outcome]:
    index, state = PolicyIndex(policy), State(memory_s=policy.memory_s)
    return [outcome for event in events for outcome in step(index, state, event)]


def decisions_of(found: list[Outcome]) -> list[Decision]:
    return [outcome for outcome in found if isinstance(outcome, Decision)]


def by_event(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """As a fold has what was recorded."""
    taken: dict[str, list[Decision]] = {}
    for decision in decisions:
        taken.setdefault(decision.event, []).append(decision)
    return taken


@settings(max_examples=300, deadline=None)
@given(POLICIES, histories())
def test_engine_equals_the_reference(policy: Policy, events: list[Event]) -> None:
    reference = Reference(policy)
    assert outcomes(policy, events) == [outcome for event in events for outcome in reference.step(event)]


def recalled(policy: Policy, events: list[Event], decisions: list[Decision], start: int = 0) -> Ledger:
    """A ledger as a restarted worker has it: of what was before `start` only the decisions are known."""
    ledger, offset = Ledger(FixedPolicy(PolicyIndex(policy)), 0, 1), 0
    at = {event.id: event.at for event in events}
    for decision in decisions:
        if at[decision.event] < start:
            ledger.remember(decision)
    taken = by_event(decisions)
    for event in events:
        if event.at >= start:
            ledger.recall(offset, encode_frame([event]), taken, record_us=NEVER)
            offset += 1
    return ledger


@settings(max_examples=200, deadline=None)
@given(POLICIES, histories(), st.data())
def test_a_fold_with_the_recorded_decisions_restores_the_state(
    policy: Policy, events: list[Event], data: st.DataObject
) -> None:
    """Crash after any event: recalling, then going on, decides what an undisturbed run decides."""
    whole = outcomes(policy, events)
    cut = data.draw(st.integers(0, len(events)))
    before = outcomes(policy, events[:cut])
    ledger = recalled(policy, events[:cut], decisions_of(before))
    after = [outcome for event in events[cut:] for outcome in step(ledger.index, ledger.state, event)]
    assert before + after == whole


@settings(max_examples=200, deadline=None)
@given(POLICIES, histories(late=False), st.data())
def test_a_fold_of_the_memory_and_the_decisions_restores_the_state(
    policy: Policy, events: list[Event], data: st.DataObject
) -> None:
    """The fold starts mid-history, even inside a block; of what was before it only decisions are known."""
    cut = data.draw(st.integers(0, len(events)))
    before = outcomes(policy, events[:cut])
    start = events[cut - 1].at - policy.memory_s * 1_000_000 if cut else 0
    ledger = recalled(policy, events[:cut], decisions_of(before), start)
    after = [outcome for event in events[cut:] for outcome in step(ledger.index, ledger.state, event)]
    assert before + after == outcomes(policy, events)


@settings(max_examples=120, deadline=None)
@given(POLICIES, histories())
def test_no_two_blocks_by_limits_of_a_client_overlap(policy: Policy, events: list[Event]) -> None:
    ends: dict[str, int] = {}
    for outcome in decisions_of(outcomes(policy, events)):
        if outcome.trigger == "rate" and outcome.until is not None and not outcome.shadow:
            assert outcome.at >= ends.get(outcome.client, 0)
            assert outcome.until > outcome.at or outcome.action == "release"
            ends[outcome.client] = outcome.until


@settings(max_examples=120, deadline=None)
@given(POLICIES, histories(long=False))
def test_clients_do_not_influence_each_other(policy: Policy, events: list[Event]) -> None:
    """Apart from forgetting, which depends on the newest event of all: histories here stay within memory."""
    if events and max(e.at for e in events) - min(e.at for e in events) > policy.memory_s * 1_000_000:
        return
    together = outcomes(policy, events)
    for client in {event.client for event in events}:
        alone = outcomes(policy, [event for event in events if event.client == client])
        assert alone == [outcome for outcome in together if outcome.client == client]


WITHOUT_LIMIT = 10_000_000


def without(policy: Policy, names: tuple[str, ...]) -> Policy:
    """The policy with these triggers and rules switched off."""
    limits = [name for name in LIMIT_RULES if name in names or "rate" in names]
    off = dict.fromkeys(limits, WITHOUT_LIMIT)
    switches = {rule: False for rule in VIOLATIONS.values() if rule in names or "protocol" in names}
    no_retry = "greylist" in names or "no_retry" in names
    return replace(
        policy,
        limits=replace(policy.limits, **off),
        networks=tuple(replace(it, limits=replace(it.limits, **off)) for it in policy.networks),
        schedules=tuple(
            replace(it, overrides=tuple((key, value) for key, value in it.overrides if key not in limits))
            for it in policy.schedules
        ),
        zones=() if "reputation" in names else policy.zones,
        greylist=replace(policy.greylist, no_retry_count=10_000) if no_retry else policy.greylist,
        protocol=replace(policy.protocol, **switches),
        shadow=(),
    )


@settings(max_examples=120, deadline=None)
@given(POLICIES, histories(late=False), st.lists(st.sampled_from(RULES), min_size=1, max_size=3, unique=True))
def test_a_rule_in_shadow_changes_nothing_for_the_others(
    policy: Policy, events: list[Event], names: list[str]
) -> None:
    """What refuses, or lets through, is as if the rules in shadow were off. Not so with late events: what a
    rule in shadow looks at moves the client's clock. Nor is compared when an entry of the block list is
    recorded anew: a client is remembered longer for what a rule in shadow said of it."""

    def of_interest(policy: Policy) -> list[Decision]:
        return [
            replace(it, policy="")
            for it in decisions_of(outcomes(policy, events))
            if not it.shadow
            and it.trigger != "blocklist"
            and it.rule != "forgotten"
            and not ("reputation" in names and it.trigger == "reputation")
        ]

    shadow = tuple(sorted(names))
    assert of_interest(replace(policy, shadow=shadow)) == of_interest(without(policy, shadow))


@settings(max_examples=80, deadline=None)
@given(POLICIES, histories(), st.lists(st.sampled_from(RULES), min_size=1, max_size=3, unique=True))
def test_shadow_is_said_of_what_is_in_shadow_and_of_nothing_else(
    policy: Policy, events: list[Event], names: list[str]
) -> None:
    for it in decisions_of(outcomes(replace(policy, shadow=tuple(sorted(names))), events)):
        assert it.shadow == (it.action == "block" and (it.trigger in names or it.rule in names))


@settings(max_examples=80, deadline=None)
@given(POLICIES, histories(), st.data())
def test_an_error_code_is_never_a_listing(policy: Policy, events: list[Event], data: st.DataObject) -> None:
    spoilt = [replace(it, **data.draw(answers(ERRORS))) if it.kind == "reputation" else it for it in events]
    for it in decisions_of(outcomes(policy, spoilt)):
        assert it.trigger != "reputation" or it.action == "pass" or it.rule == "forgotten"


@settings(max_examples=80, deadline=None)
@given(POLICIES, histories(), st.sampled_from(MODULES), st.booleans())
def test_a_module_that_is_suspended_or_exempts_all_puts_nobody_off(
    policy: Policy, events: list[Event], module: Module, suspended: bool
) -> None:
    if suspended:
        never = Suspension(module=module, until=Instant(2 * START))
        changed = replace(policy, suspensions=(*policy.suspensions, never))
    else:
        everybody = tuple(Exemption(module=module, network=parse_network(it)) for it in ("0.0.0.0/0", "::/0"))
        changed = replace(policy, exemptions=policy.exemptions + everybody)
    for it in outcomes(changed, events):
        assert not (isinstance(it, LimitWarning) and module == "rate")
        if isinstance(it, Decision) and it.action in ("block", "defer"):
            assert it.trigger == "blocklist" or MODULE_OF[it.trigger] != module


@settings(max_examples=80, deadline=None)
@given(POLICIES, histories())
def test_an_event_brings_about_at_most_one_block_and_ids_are_not_given_twice(
    policy: Policy, events: list[Event]
) -> None:
    found = decisions_of(outcomes(policy, events))
    blocks = [it.event for it in found if it.action == "block" and not it.shadow]
    assert len(blocks) == len(set(blocks))
    assert len({it.id for it in found}) == len(found)


@settings(max_examples=80, deadline=None)
@given(POLICIES, histories())
def test_the_latest_record_of_a_key_never_hides_a_block_that_stands(
    policy: Policy, events: list[Event]
) -> None:
    """Compaction and the shim keep the latest of a key: what is in shadow must not take a block's place."""
    latest: dict[str, Decision] = {}
    for it in decisions_of(outcomes(policy, events)):
        before = latest.get(it.key)
        if it.shadow and before is not None and before.action == "block" and not before.shadow:
            assert it.at >= (before.until or NEVER)
        latest[it.key] = it


@settings(max_examples=100, deadline=None)
@given(POLICIES, POLICIES, histories(late=False), st.data())
def test_a_fold_over_a_change_of_policy_restores_the_state(
    first: Policy, then: Policy, events: list[Event], data: st.DataObject
) -> None:
    """The marker in the stream says where the policy changed, live and in the fold."""
    change, cut = sorted(data.draw(st.tuples(*[st.integers(0, len(events))] * 2)))
    policies = Changes(first, then)
    frames = [*events[:change], marker(0, 1, 0, then.version, START), *events[change:]]
    live, before = Ledger(policies, 0, 1), list[Outcome]()
    live.begin_with(0, PolicyIndex(first))
    for offset, event in enumerate(frames[: cut + 1]):
        before += live.process(offset, encode_frame([event]), record_us=NEVER).outcomes
    again, taken = Ledger(policies, 0, 1), by_event(decisions_of(before))
    again.begin_with(0, PolicyIndex(first))
    for offset, event in enumerate(frames[: cut + 1]):
        again.recall(offset, encode_frame([event]), taken, record_us=NEVER)
    assert live.number == again.number == 1
    for offset, event in enumerate(frames[cut + 1 :], cut + 1):
        frame = encode_frame([event])
        expected = live.process(offset, frame, record_us=NEVER).outcomes
        assert again.process(offset, frame, record_us=NEVER).outcomes == expected


class Changes:
    """Two policies: change 0, and 1, which is in force by now."""

    def __init__(self, first: Policy, then: Policy) -> None:
        self._indexes = (PolicyIndex(first), PolicyIndex(then))

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        return 1, self._indexes[1]

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        return self._indexes[number]

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        return 0, self._indexes[0]

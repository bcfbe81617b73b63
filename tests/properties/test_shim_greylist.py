"""Greylisting's memory equals a list that is searched from the start, in whatever order decisions come."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.model.client import Address, Client, ClientPrefixes
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet, network_of
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist
from streams.shim.greylist import GreylistMemory
from tests.policy_cases import decision

POLICY = Greylist(enabled=True, delay_s=10, retry_window_s=40, learnt_s=60, pool_clients=2)
_ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")
_POOLS = ("", "example.org")
_MAILS = (("a@example.org", "x@example.com"), ("", "x@example.com"))
_S = MICROSECONDS

_Known = tuple[str, str]
"""Triplet, and network or `*` with a pool."""


def _client(address: str) -> Client:
    return ClientPrefixes().client_of(Address(address))


def _groups(address: str, pool: str) -> list[str]:
    return [network_of(Address(address), POLICY)] + ([f"*{pool}"] if pool else [])


@dataclass
class _Reference:
    """The rules in the plainest words: all that is known, folded in the order of its times, in seconds."""

    firsts: list[tuple[int, Client, _Known]] = field(default_factory=list)
    passes: list[tuple[int, Client, str, list[str]]] = field(default_factory=list)
    """What made or unmade a learnt client: told at, client, action, groups."""
    retried: list[tuple[int, Client, str]] = field(default_factory=list)
    """Retries that passed: when, whose, of which pool."""
    forgotten: list[tuple[int, Client]] = field(default_factory=list)
    """When an administrator had all dropped of whom."""

    def _kept(self, at: int, client: Client) -> bool:
        return not any(who == client and at <= then for then, who in self.forgotten)

    def _begun(self, key: _Known, now: int) -> list[tuple[int, Client]]:
        """First attempts of which an attempt now would be a retry."""
        return [
            (at, who)
            for at, who, known in sorted(self.firsts)
            if known == key and now - at < POLICY.retry_window_s and self._kept(at, who)
        ]

    def learnt(self, now: int) -> dict[Client, list[str]]:
        """Learnt client → the groups that it vouches for."""
        found: dict[Client, list[str]] = {}
        for at, client, action, groups in sorted(self.passes, key=lambda it: it[0]):
            found.pop(client, None)
            if action == "pass" and now < at + POLICY.learnt_s:
                found[client] = groups
        return found

    def attempt(self, address: str, pool: str, mail: tuple[str, str], now: int) -> int:
        """Seconds to wait; 0: it passes."""
        client, learnt = _client(address), self.learnt(now)
        network, *pools = _groups(address, pool)
        if any(network in groups for groups in learnt.values()):
            return 0
        vouch = {who for who, groups in learnt.items() if pools and pools[0] in groups}
        vouch |= {
            who
            for at, who, group in self.retried
            if group in pools and now < at + POLICY.learnt_s and self._kept(at, who)
        }
        if pools and len(vouch) >= POLICY.pool_clients:
            return 0
        begun = {group: self._begun((greylist_triplet(*mail), group), now) for group in (network, *pools)}
        due = POLICY.delay_s + min((at for firsts in begun.values() for at, _ in firsts), default=now)
        if now >= due:
            self.retried += [(now, client, group) for group in pools]
            return 0
        for group, firsts in begun.items():
            if client not in {who for _, who in firsts}:
                self.firsts.append((now, client, (greylist_triplet(*mail), group)))
        return due - now

    def take(self, action: str, address: str, pool: str, mail: tuple[str, str], at: int) -> None:
        client, groups = _client(address), _groups(address, pool)
        if action == "defer":
            self.firsts += [(at, client, (greylist_triplet(*mail), group)) for group in groups]
            return
        self.passes.append((at, client, action, groups))
        if action == "forgotten":
            self.forgotten.append((at, client))


def _decision(action: str, address: str, pool: str, mail: tuple[str, str], at: int) -> Decision:
    lasts = POLICY.retry_window_s if action == "defer" else POLICY.learnt_s
    made = decision("greylist", address, at * _S, (at + lasts) * _S)
    return replace(
        made,
        action="release" if action == "forgotten" else action,
        rule=action,
        address=Address(address),
        client=_client(address),
        pool=pool,
        triplet=greylist_triplet(*mail) if action == "defer" else "",
    )


_steps = st.tuples(
    st.integers(0, 15),
    st.sampled_from([*3 * ["attempt"], *2 * ["defer", "pass"], "release", "forgotten", "block", "purge"]),
    st.sampled_from(_ADDRESSES),
    st.sampled_from(_POOLS),
    st.sampled_from(_MAILS),
    st.integers(0, 70),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(_steps, min_size=1, max_size=40))
def test_the_memory_is_the_list(
    steps: list[tuple[int, str, str, str, tuple[str, str], int]],
) -> None:
    memory, reference, now = GreylistMemory(POLICY), _Reference(), 1000
    for pause, what, address, pool, mail, ago in steps:
        now += pause
        if what == "attempt":
            found = memory.attempt(_client(address), Address(address), pool, *mail, now * _S)
            left = 0 if found.passes else found.seconds_left(now * _S)
            assert left == reference.attempt(address, pool, mail, now)
        elif what == "purge":
            memory.purge(now * _S)
        else:
            at = now - ago
            for _ in range(1 + ago % 2):  # some come twice
                memory.take(_decision(what, address, pool, mail, at), now * _S)
                reference.take(what, address, pool, mail, at)
    assert memory.learnt >= len(reference.learnt(now))
    assert len(memory._learnt._vouchers) <= 2 * memory.learnt


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["defer", "defer", "pass", "release", "forgotten"]),
            st.sampled_from(_ADDRESSES),
            st.sampled_from(_POOLS),
            st.integers(0, 60),
        ),
        min_size=1,
        max_size=16,
        unique_by=lambda it: it[3],
    ),
    st.randoms(),
)
def test_what_is_told_comes_to_the_same_in_any_order(
    told: list[tuple[str, str, str, int]], random: Random
) -> None:
    decisions = [_decision(action, address, pool, _MAILS[0], at) for action, address, pool, at in told]
    shuffled = decisions * 2
    random.shuffle(shuffled)
    for asked in _ADDRESSES:
        one, other = GreylistMemory(POLICY), GreylistMemory(POLICY)
        for it in sorted(decisions, key=lambda it: it.at):
            one.take(it, 60 * _S)
        for it in shuffled:
            other.take(it, 60 * _S)
        found = [
            memory.attempt(_client(asked), Address(asked), pool, *_MAILS[0], 60 * _S)
            for memory in (one, other)
            for pool in _POOLS
        ]
        assert found[:2] == found[2:]


@given(st.lists(st.tuples(st.sampled_from(_ADDRESSES), st.text("ab", max_size=6)), max_size=80))
def test_the_memory_stays_within_its_bounds(attempts: list[tuple[str, str]]) -> None:
    memory = GreylistMemory(POLICY, triplets=10, learnt=2)
    for now, (address, sender) in enumerate(attempts):
        sent = (f"{sender}@example.org", "x@example.com")
        memory.attempt(_client(address), Address(address), "example.org", *sent, now * _S)
        memory.take(_decision("pass", f"10.0.{len(sender)}.1", sender, _MAILS[0], now - 60), now * _S)
        memory.take(_decision("defer", f"10.1.{len(sender)}.1", sender, _MAILS[0], now), now * _S)
        assert memory.triplets <= 10
        assert memory.learnt <= 2
        assert len(memory._learnt._vouchers) <= 4

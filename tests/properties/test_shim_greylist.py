"""Greylisting's memory equals a list that is searched from the start, in whatever order decisions come."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.model.client import Address, Client
from streams.model.decision import Decision
from streams.model.greylist import greylist_triplet, network_of
from streams.model.instant import MICROSECONDS
from streams.model.modules import Greylist
from streams.shim.greylist import GreylistMemory
from tests.policy_cases import decision

POLICY = Greylist(enabled=True, delay_s=10, retry_window_s=40, learnt_s=60, pool_clients=2)
_ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
_POOLS = ("", "example.org")
_MAILS = (("a@example.org", "x@example.com"), ("", "x@example.com"))
_S = MICROSECONDS

_Known = tuple[str, str]
"""Triplet, and network or `*` with a pool."""


def _groups(address: str, pool: str) -> list[str]:
    return [network_of(Address(address), POLICY)] + ([f"*{pool}"] if pool else [])


@dataclass
class _Reference:
    """The rules in the plainest words; times in seconds."""

    firsts: list[tuple[_Known, int]] = field(default_factory=list)
    passes: dict[str, tuple[int, int, list[str]]] = field(default_factory=dict)
    """Client → told at, until, groups."""
    retried: dict[tuple[str, str], int] = field(default_factory=dict)
    """Pool and address whose retry passed → until."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """Network → when an administrator had all dropped."""

    def _begin(self, key: _Known, network: str, now: int) -> int | None:
        """When the attempt began that a retry now from this network would be a retry of."""
        begun = [at for known, at in self.firsts if known == key]
        return begun[-1] if begun and self._counts(begun[-1], network, now) else None

    def _counts(self, at: int, network: str, now: int) -> bool:
        return now - at < POLICY.retry_window_s and at > self.forgotten.get(network, -1)

    def attempt(self, address: str, pool: str, mail: tuple[str, str], now: int) -> int:
        """Seconds to wait; 0: it passes."""
        network, *pools = _groups(address, pool)
        live = [groups for _, until, groups in self.passes.values() if now < until]
        if any(network in groups for groups in live):
            return 0
        vouch = {
            client
            for client, (_, until, groups) in self.passes.items()
            if now < until and pools and pools[0] in groups
        }
        vouch |= {who for (group, who), until in self.retried.items() if now < until and group in pools}
        if pools and len(vouch) >= POLICY.pool_clients:
            return 0
        keys = [(greylist_triplet(*mail), group) for group in (network, *pools)]
        begun = [at for key in keys if (at := self._begin(key, network, now)) is not None]
        if begun:
            left = max(0, min(begun) + POLICY.delay_s - now)
            if pools and not left:
                self.retried[pools[0], address] = now + POLICY.learnt_s
            return left
        self.firsts += [(key, now) for key in keys]
        return POLICY.delay_s

    def defer(self, address: str, pool: str, mail: tuple[str, str], at: int, now: int) -> None:
        network = _groups(address, pool)[0]
        for group in _groups(address, pool):
            key = (greylist_triplet(*mail), group)
            begun = self._begin(key, network, now)
            if self._counts(at, network, now) and (begun is None or at < begun):
                self.firsts.append((key, at))

    def forget(self, address: str, at: int) -> None:
        network = _groups(address, "")[0]
        self.forgotten[network] = max(at, self.forgotten.get(network, -1))
        for group, who in list(self.retried):
            if who == address:
                del self.retried[group, who]

    def tell(self, action: str, address: str, pool: str, at: int, now: int) -> None:
        known = self.passes.get(address)
        if known is not None and known[0] > at:
            return
        if action == "pass" and now < at + POLICY.learnt_s:
            self.passes[address] = at, at + POLICY.learnt_s, _groups(address, pool)
        elif action != "pass" or known is not None:
            self.passes.pop(address, None)


def _decision(action: str, address: str, pool: str, mail: tuple[str, str], at: int) -> Decision:
    lasts = POLICY.retry_window_s if action == "defer" else POLICY.learnt_s
    made = decision("greylist", address, at * _S, (at + lasts) * _S)
    return replace(
        made,
        action="release" if action == "forgotten" else action,
        rule=action,
        address=Address(address),
        client=Client(address),
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
            found = memory.attempt(Address(address), pool, *mail, now * _S)
            left = 0 if found.passes else found.seconds_left(now * _S)
            assert left == reference.attempt(address, pool, mail, now)
        elif what == "purge":
            memory.purge(now * _S)
        else:
            at = now - ago
            for _ in range(1 + ago % 2):  # some come twice
                memory.take(_decision(what, address, pool, mail, at), now * _S)
                if what == "defer":
                    reference.defer(address, pool, mail, at, now)
                else:
                    if what == "forgotten":
                        reference.forget(address, at)
                    reference.tell(what, address, pool, at, now)
    live = [it for it in reference.passes.values() if now < it[1]]
    assert memory.learnt >= len(live)
    assert len(memory._learnt._vouchers) <= 2 * memory.learnt


@given(st.lists(st.tuples(st.sampled_from(_ADDRESSES), st.integers(0, 39)), min_size=1), st.randoms())
def test_what_others_put_off_is_the_same_in_any_order(told: list[tuple[str, int]], random: Random) -> None:
    decisions = [_decision("defer", address, "", _MAILS[0], at) for address, at in told]
    shuffled = decisions * 2
    random.shuffle(shuffled)
    one, other = GreylistMemory(POLICY), GreylistMemory(POLICY)
    for it in decisions:
        one.take(it, 39 * _S)
    for it in shuffled:
        other.take(it, 39 * _S)
    assert dict(one._firsts) == dict(other._firsts)


@given(st.lists(st.tuples(st.sampled_from(_ADDRESSES), st.text("ab", max_size=6)), max_size=80))
def test_the_memory_stays_within_its_bounds(attempts: list[tuple[str, str]]) -> None:
    memory = GreylistMemory(POLICY, triplets=10, learnt=2)
    for now, (address, sender) in enumerate(attempts):
        memory.attempt(Address(address), "example.org", f"{sender}@example.org", "x@example.com", now * _S)
        memory.take(_decision("pass", f"10.0.{len(sender)}.1", sender, _MAILS[0], now - 60), now * _S)
        memory.take(_decision("defer", f"10.1.{len(sender)}.1", sender, _MAILS[0], now), now * _S)
        assert memory.triplets <= 10
        assert memory.learnt <= 2
        assert len(memory._learnt._vouchers) <= 4

"""What `tune` reports for a row is what a comparison finds for the policy of that row. For the recommended
row that is the policy which `--apply` puts in force. With network entries and schedules, also per network."""

from collections.abc import Mapping
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cli.tune_apply import _edit
from streams.model.client import Client, ClientPrefixes, parse_address
from streams.model.event import Event, EventKind
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.replay.compare import compare
from streams.replay.setting import RULES, refusing, unlimited
from streams.replay.tuning import Tuned, tune
from streams.replay.weighing import SIDES, Side, Weighed
from streams.wire.policy_entries import Entries, policy_of
from tests.properties.histories import START

ADDRESSES = (
    "192.0.2.7",
    "192.0.2.8",
    "198.51.100.1",
    "203.0.113.9",
    "203.0.113.10",
    "2001:db8::1",
    "10.1.1.1",
)
NETWORKS = ("192.0.2.0/24", "192.0.2.8", "203.0.112.0/20", "2001:db8::/32")
_SECOND = 1_000_000
_RUDE = "ehlo=1 auth=0/2 commands=1/3"
_MUCH = 60
"""No burst is so big: a schedule with this limit is in nobody's way."""


def made_entries(seed: int) -> Entries:
    """Small limits; networks that write out some keys, now and then the value of `[limits]`; schedules."""
    chance = Random(seed)
    general: dict[str, Any] = {rule: chance.randint(1, 12) for rule in RULES}
    general |= {"cool_down_s": chance.choice((30, 60, 600)), "cool_down_max_s": chance.choice((600, 3600))}
    found: Entries = {"limits": general}
    for network in chance.sample(NETWORKS, chance.choice((0, 0, 1, 2))):
        row: dict[str, Any] = {"name": "n"}
        for rule in chance.sample(RULES, chance.randint(0, 3)):
            row[rule] = chance.choice((general[rule], chance.randint(1, 20)))
        if chance.random() < 0.3:
            row |= {"cool_down_growth": 3.0, "cool_down_max_s": 600}
        found[f"networks/{network}"] = row
    named = [it.removeprefix("networks/") for it in found if it.startswith("networks/")]
    for name in ("one", "two")[: chance.choice((0, 0, 1, 2))]:
        schedule: dict[str, Any] = {chance.choice(RULES): chance.choice((1, _MUCH, _MUCH)), "days": [14]}
        if named and chance.random() < 0.4:
            schedule["networks"] = named[:1]
        found[f"schedules/{name}"] = schedule
    if chance.random() < 0.3:
        ends = {} if chance.random() < 0.5 else {"expires": "2023-03-14T12:00:00Z"}
        found["exempt/rate/203.0.113.9"] = {"note": "partner", **ends}
    if chance.random() < 0.2:
        found["shadow"] = {"rules": [chance.choice(("rate", *RULES))]}
    return found


def made_history(seed: int) -> list[Event]:
    """Two days of bursts. Some clients deliver, of these some much; some guess, or are listed."""
    chance, found = Random(seed), list[Event]()

    def add(at: int, kind: EventKind, address: str, session: str, **fields: Any) -> None:
        client = ClientPrefixes().client_of(parse_address(address))
        found.append(
            Event(
                id=f"e{len(found):05d}",
                at=Instant(at),
                kind=kind,
                client=client,
                host="mx",
                address=parse_address(address),
                session=session,
                **fields,
            )
        )

    for address in chance.sample(ADDRESSES, chance.randint(1, len(ADDRESSES))):
        delivers, much = chance.random() < 0.7, chance.random() < 0.5
        ended = chance.choice(("ehlo=1 quit=1 commands=2", "ehlo=1 quit=1 commands=2", _RUDE))
        if chance.random() < 0.3:
            add(
                START, "reputation", address, "", detail="zen.example 127.0.0.2", service="postscreen/dnsblog"
            )
        for burst in range(chance.randint(1, 6)):
            clock = START + chance.randrange(2 * 86_400) * _SECOND
            for number in range(chance.choice((1, 2, 4, 12, 25))):
                clock += int(chance.uniform(0, 4) * _SECOND)
                session = f"mx/{address}/{burst}/{number}"
                add(clock, "connect", address, session)
                for mail in range(chance.choice((0, 1, 1, 2))):
                    add(clock + mail + 1, "mail", address, session, sender="a@example.org")
                    for _ in range((30 if much else 1) if delivers else 0):
                        add(clock + mail + 1, "message", address, session, sender="a@example.org")
                add(
                    clock + int(chance.choice((0.1, 30)) * _SECOND),
                    "disconnect",
                    address,
                    session,
                    detail=ended,
                )
    return sorted(found, key=lambda it: (it.at, it.id))


def counted(policy: Policy, events: list[Event], sides: Mapping[Client, Side]) -> tuple[dict[Side, int], ...]:
    """Of each side the clients blocked and the attempts refused, as a comparison with no limits has them."""
    clients, attempts = dict.fromkeys(SIDES, 0), dict.fromkeys(SIDES, 0)
    for it in compare(unlimited(policy), policy, events).differences:
        clients[sides[it.client]] += it.b.blocks > 0
        attempts[sides[it.client]] += it.b.attempts
    return clients, attempts


def reported(found: Weighed) -> tuple[dict[Side, int], ...]:
    return found.clients, found.refused


def own_values(found: Tuned) -> list[tuple[int, int]]:
    """Of each rule that a new entry has of its own, its value and that of `[limits]`."""
    return [
        (it.limit, getattr(found.after.limits, it.rule))
        for network in found.new_networks
        for it in found.networks[network]
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 1 << 32), st.booleans())
def test_a_row_says_what_its_policy_does(entries_seed: int, seed: int, each_network: bool) -> None:
    entries, events = made_entries(entries_seed), made_history(seed)
    policy = policy_of(entries)
    found = tune(policy, lambda: events, each_network=each_network)
    assert found.policies[found.now] == refusing(policy)
    others = Random(seed).sample(range(len(found.settings)), 2)
    for number in {found.now, found.recommended, *others}:
        row = reported(found.weighed[number])
        assert row == counted(found.policies[number], events, found.sides), found.settings[number]
    applied = policy_of(_edit(found)(entries))
    best = found.weighed[found.recommended]
    assert reported(best) == counted(refusing(applied), events, found.sides)
    assert (applied.limits, applied.shadow) == (found.after.limits, policy.shadow)
    assert {it.network: it for it in applied.networks} == {it.network: it for it in found.after.networks}
    assert (len(best.hurt), len(best.doubtful)) == (best.clients["legitimate"], best.clients["doubtful"])
    assert all(own > general for own, general in own_values(found))
    lenient = all(value == _MUCH for it in policy.schedules for _, value in it.overrides)
    if lenient and (each_network or not policy.networks):
        assert best.clients["legitimate"] == 0

"""Feeds the engine short histories: one address, times in microseconds after START."""

from typing import Any

from streams.engine.state import State
from streams.engine.step import Outcome, recall, step
from streams.model.client import Address, ClientPrefixes, parse_network
from streams.model.decision import Decision
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant
from streams.model.policy import Exemption, Limits, Module, NetworkRule, Policy
from streams.model.standing import PolicyIndex

START = 1_678_748_400 * MICROSECONDS
"""2023-03-13T23:00:00Z, a Monday."""
S = MICROSECONDS
HOUR = 3600 * S
DAY = 86_400 * S
ADDRESS = "192.0.2.7"
OURS = "Go away: greylisted, retry in 600 s"
INTERNAL = (NetworkRule(network=parse_network("192.0.2.0/24"), name="own", limits=Limits(), internal=True),)


def policy(**fields: Any) -> Policy:
    """No warnings and no networks, unless told; limits by name."""
    limits = {name: fields.pop(name) for name in list(fields) if name in Limits.__struct_fields__}
    return Policy(limits=Limits(**({"warn_at": 0.0} | limits)), **({"networks": ()} | fields))


def exempt(module: Module, network: str = "192.0.2.0/24") -> tuple[Exemption, ...]:
    return (Exemption(module=module, network=parse_network(network)),)


class Mta:
    """One engine, live; `again` is the engine that recalled the same events."""

    def __init__(self, rules: Policy) -> None:
        self.index = PolicyIndex(rules)
        self.state = State(memory_s=rules.memory_s)
        self.seen: list[tuple[PolicyIndex, Event, list[Decision]]] = []

    def use(self, rules: Policy) -> None:
        """From here on by this policy, as at a marker."""
        self.index = PolicyIndex(rules)
        self.state.remember_for(rules.memory_s)

    def see(
        self, at: int, kind: EventKind = "connect", *, address: str = ADDRESS, **fields: Any
    ) -> list[Outcome]:
        number = len(self.seen) + 1
        values: dict[str, Any] = {"session": f"mx/{number}", "host": "mx"}
        event = Event(
            id=f"e{number}",
            at=Instant(START + at),
            kind=kind,
            client=ClientPrefixes().client_of(Address(address)),
            address=Address(address),
            **(values | fields),
        )
        found = step(self.index, self.state, event)
        decided = [it for it in found if isinstance(it, Decision)]
        self.seen.append((self.index, event, decided))
        return found

    def decided(self, at: int, kind: EventKind = "connect", **fields: Any) -> list[tuple[str, str]]:
        """(action, rule) of what comes of it."""
        found = self.see(at, kind, **fields)
        return [(it.action, it.rule) for it in found if isinstance(it, Decision)]

    def again(self) -> "Mta":
        """As a worker that was restarted has it."""
        folded = Mta(self.index.policy)
        folded.seen = list(self.seen)
        for index, event, decided in self.seen:
            folded.state.remember_for(index.policy.memory_s)
            recall(index, folded.state, event, {event.id: decided})
        return folded

    # what events of a kind bear

    def put_off(self, at: int, sender: str = "a@x.org", to: str = "b@y.org", **fields: Any) -> list[Outcome]:
        """A recipient that the shim answered with 451."""
        said = f"451 4.7.1 <{to}>: Recipient address rejected: {OURS}"
        values: dict[str, Any] = {"sender": sender, "recipient": to, "code": 451, "detail": said}
        return self.see(at, "mail", **(values | fields))

    def queued(self, at: int, sender: str = "a@x.org", **fields: Any) -> list[Outcome]:
        return self.see(at, "message", sender=sender, **fields)

    def answer(self, at: int, detail: str, ttl_s: int = 600, **fields: Any) -> list[Outcome]:
        """A finished round of the reputation stage."""
        return self.see(at, "reputation", service="reputation", detail=detail, ttl_s=ttl_s, **fields)


def one(outcomes: list[Outcome]) -> Decision:
    (decision,) = outcomes
    assert isinstance(decision, Decision)
    return decision

"""What a history shows of each client: what it did, how it went, and how high its counts rose unblocked."""

import re
from collections.abc import Iterable
from typing import Final

from streams.engine.state import ClientState, State
from streams.engine.step import step
from streams.model.client import Address, Client
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.setting import RULES, unlimited, with_schedules_marked

_MAX_ZONES: Final = 8
_MAX_FAILING: Final = 64
_NO_LOGIN: Final = re.compile(r"\bauth=0/(\d{1,4})\b", re.ASCII)
_EVERY: Final = (True, True, True)


class Observed:
    """One client's doings in a history, in counts: small, whatever the length of the history."""

    __slots__ = (
        "accepted",
        "address",
        "asks",
        "auth_failures",
        "authenticated",
        "clean",
        "connects",
        "erring",
        "exempt",
        "failing",
        "first",
        "gaps",
        "last",
        "learnt",
        "like",
        "listed",
        "messages",
        "network",
        "peaks",
        "ptr",
        "refused",
        "typical_us",
        "violations",
    )

    def __init__(self, address: Address, at: int) -> None:
        self.address = address
        self.network = ""
        """The policy's network entry that sets its limits."""
        self.exempt = False
        """Whether the rate module lets it alone."""
        self.ptr = ""
        self.connects = self.messages = self.authenticated = self.auth_failures = self.violations = 0
        self.accepted = self.refused = 0
        """Transactions that were taken; transactions, recipients and greetings that were refused for good."""
        self.clean = self.erring = 0
        """Sessions that ended with QUIT and had no command fail; sessions that had."""
        self.learnt = False
        self.listed: tuple[str, ...] = ()
        """Zones that list it."""
        self.peaks = [0, 0, 0]
        """The highest counts of `RULES` while no limit blocks it."""
        self.asks = [0, 0, 0]
        """The same while no schedule sets that limit: what it asks of `[limits]` or its network's entry."""
        self.failing: dict[str, None] | None = None
        """Open sessions in which a login failed, at most 64: what their end says of that is known already."""
        self.first = self.last = at
        """Its first and its latest connection."""
        self.typical_us = 0
        self.gaps = self.like = 0
        """Pauses between its connections, and how many were like the typical one then (within a quarter)."""

    @property
    def regular(self) -> float:
        """Share of pauses that are alike; 0 where there are few."""
        return self.like / self.gaps if self.gaps >= 20 else 0.0

    def connected(self, at: int) -> None:
        """One more connection."""
        gap = at - self.last
        if self.connects and gap >= 0:
            self.gaps += 1
            typical = self.typical_us or gap
            self.like += abs(gap - typical) * 4 <= typical
            # follows slowly, and an outage hardly: what is typical is what most pauses are like
            self.typical_us = typical + (min(max(gap, typical // 2), typical * 2) - typical) // 8
        self.connects += 1
        self.last = max(self.last, at)

    def note(self, event: Event) -> None:
        """Count what an event tells of."""
        if event.ptr and not self.ptr:
            self.ptr = event.ptr[:128]
        match event.kind:
            case "connect":
                self.connected(event.at)
            case "mail" | "rcpt" | "refusal":
                if event.kind == "mail" and not event.code:
                    self.accepted += 1
                    self.authenticated += bool(event.sasl_user)
                elif event.code >= 500:
                    self.refused += 1
            case "message":
                self.messages += 1
            case "auth":
                self.authenticated += 1
            case "auth_failure":
                self.auth_failures += 1
                failing = self.failing = self.failing or {}
                if len(failing) >= _MAX_FAILING:
                    del failing[next(iter(failing))]
                failing[event.session] = None
            case "violation":
                self.violations += 1
            case "learnt":
                self.learnt = True
            case "reputation":
                for zone in _zones(event.detail):
                    if zone not in self.listed and len(self.listed) < _MAX_ZONES:
                        self.listed += (zone,)
            case "disconnect":
                _ended(self, event.session, event.detail)


def observe(policy: Policy, events: Iterable[Event]) -> dict[Client, Observed]:
    """Every client of the history. Peaks are counted by the engine, under the policy without its limits."""
    index, state = PolicyIndex(unlimited(policy)), State(memory_s=policy.memory_s)
    calendar = PolicyIndex(with_schedules_marked(policy))
    found: dict[Client, Observed] = {}
    for event in events:
        if event.kind == "policy":
            continue
        seen = found.get(event.client)
        if seen is None:
            seen = found[event.client] = Observed(event.address, event.at)
            standing = index.standing(event.address)
            seen.network, seen.exempt = standing.network, standing.exempt("rate", event.at)
        step(index, state, event)
        seen.note(event)
        if event.kind in ("connect", "mail") and (client := state.clients.get(event.client)) is not None:
            asks = _asks(calendar, event) if calendar.has_schedules else _EVERY
            _peaks(seen, client, event.kind, asks)
    return found


def _asks(calendar: PolicyIndex, event: Event) -> tuple[bool, ...]:
    """Of each of `RULES` whether no schedule sets it for this address at this instant."""
    limits = calendar.at(event.at).standing(event.address).limits
    return tuple(getattr(limits, rule) != -1 for rule in RULES)


def _peaks(seen: Observed, client: ClientState, kind: EventKind, asks: tuple[bool, ...]) -> None:
    """What the event has counted, and judges: transactions, or connections and open sessions."""
    if kind == "mail":
        _rose(seen, 2, len(client.requests or ()), asks)
        return
    sessions = client.sessions
    if sessions and len(sessions) > (seen.asks if asks[0] else seen.peaks)[0]:
        for name in [name for name, forgotten in sessions.items() if forgotten <= client.clock]:
            del sessions[name]
        _rose(seen, 0, len(sessions), asks)
    _rose(seen, 1, len(client.connects or ()), asks)


def _rose(seen: Observed, place: int, count: int, asks: tuple[bool, ...]) -> None:
    seen.peaks[place] = max(seen.peaks[place], count)
    if asks[place]:
        seen.asks[place] = max(seen.asks[place], count)


def _ended(seen: Observed, session: str, commands: str) -> None:
    """`ehlo=2 starttls=1 quit=1 commands=4`; `mail=0/1` is a command of which none succeeded.

    Failed logins are taken from here only where no line of their own told of them.
    """
    failing = seen.failing
    told = failing is not None and session in failing
    if failing is not None and told:
        del failing[session]
    if "/" in commands:
        seen.erring += 1
        if not told:
            seen.auth_failures += _failed_logins(commands)
    elif "quit=" in commands and ("ehlo=" in commands or "helo=" in commands):
        seen.clean += 1


def _failed_logins(commands: str) -> int:
    """`ehlo=1 auth=0/2 commands=1/3` → 2; 0 where a login succeeded, or none was tried."""
    found = _NO_LOGIN.search(commands)
    return int(found[1]) if found else 0


def _zones(detail: str) -> list[str]:
    """`zen.example 127.0.0.2,127.0.0.4; bl.example 127.0.0.2` → zones that list, errors left out."""
    found = []
    for part in detail.split("; "):
        zone, _, codes = part.partition(" ")
        if any(it.startswith("127.") and not it.startswith("127.255.255.") for it in codes.split(",")):
            found.append(zone[:64])
    return found


def span_s(seen: Observed) -> float:
    """Seconds from its first connection to its latest."""
    return (seen.last - seen.first) / MICROSECONDS

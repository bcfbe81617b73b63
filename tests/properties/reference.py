"""The engine, written to be obviously right rather than fast: it keeps every event and counts from scratch.

The rules are those of the docstrings of `streams.engine` and of docs/policy.md; nothing is shared with it but
the model. What each module makes of an event is in `reference_modules`.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Block, Limits, Policy
from tests.properties.reference_policy import MODULES, block_entry, let_off, limits_of, shadowed

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Said = list[Decision | LimitWarning]


@dataclass
class Answer:
    """What a zone said of an address."""

    address: str
    zone: str
    shown: str
    weight: int
    at: int
    until: int


@dataclass
class History:
    """All that is known of one client, in order of arrival."""

    clock: int
    counted: list[Event] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    """Session → when it is forgotten."""
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """(strike, until) of each block by a limit."""
    warned: set[str] = field(default_factory=set)
    listed: Block | None = None
    stands: dict[str, int] = field(default_factory=dict)
    """Trigger (not `rate`) → end of its block."""
    spoken: dict[str, int] = field(default_factory=dict)
    """Rule in shadow → when it speaks again."""
    violations: list[tuple[int, bool]] = field(default_factory=list)
    """(when, whether by a rule in shadow)."""
    answers: list[Answer] = field(default_factory=list)
    blamed: str = ""
    firsts: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """(sender, recipient) as greylisting knows them → first attempt, and the sender."""
    learnt: int = 0

    def outlives(self) -> int:
        """When the last of what is remembered beyond the windows ends."""
        firsts = [at + DAY for at, _ in self.firsts.values()]
        return max([0, self.learnt, *self.stands.values(), *self.spoken.values(), *firsts])


class Reference:
    """`step` over a whole history."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.version = policy.version
        self.newest = 0
        self.clients: dict[str, History] = {}

    def known(self, event: Event) -> History | None:
        self.newest = max(self.newest, event.at)
        found = self.clients.get(event.client)
        if found is None:
            return None
        forgotten = found.clock + self.policy.memory_s * SECOND < self.newest
        if forgotten and found.outlives() <= self.newest:
            return None
        found.clock = max(found.clock, event.at)
        return found

    def client(self, event: Event) -> History:
        found = self.known(event)
        if found is None:
            found = self.clients[event.client] = History(event.at)
        return found

    def step(self, event: Event) -> Said:
        from tests.properties import reference_modules as modules

        attempt = event.kind in ("mail", "rcpt") and modules.is_ours(self.policy, event)
        if event.kind in ("connect", "mail") and block_entry(self.policy, event) is not None:
            return self.listed(event)
        if attempt:
            return modules.deferred(self, event)
        if event.kind in ("connect", "mail"):
            return [] if let_off(self.policy, "rate", event) else self.count(event)
        special = modules.SPECIAL.get(event.kind)
        found = special(self, event) if special else None
        if found is None:
            history = self.known(event)
            if history is not None:
                self.sessions(history, event)
        return found or []

    def count(self, event: Event) -> Said:
        from tests.properties import reference_modules as modules

        history = self.client(event)
        self.sessions(history, event)
        if self.refused(history, event):
            return []
        network, limits = limits_of(self.policy, event)
        history.counted.append(event)
        if event.kind == "connect":
            history.open[event.session] = event.at + limits.session_idle_s * SECOND
        said = self.judge(event, history, network, limits)
        blocked = any(isinstance(it, Decision) and not it.shadow for it in said)
        return said if blocked else modules.no_retry(self, history, event) + said

    def refused(self, history: History, event: Event) -> bool:
        """Whether a block stands that refuses what the event tells of."""
        stands = dict(history.stands)
        if history.blocks:
            stands["rate"] = history.blocks[-1][1]
        return any(
            history.clock < until
            and not let_off(self.policy, MODULES[trigger], event)
            and not (trigger == "greylist" and event.kind == "connect")
            for trigger, until in stands.items()
        )

    def sessions(self, history: History, event: Event) -> None:
        """What an event that is not (yet) counted says of the client's open sessions."""
        history.open = {name: until for name, until in history.open.items() if until > history.clock}
        if event.kind == "disconnect":
            history.open.pop(event.session, None)
        elif event.session in history.open:
            later = event.at + limits_of(self.policy, event)[1].session_idle_s * SECOND
            history.open[event.session] = max(history.open[event.session], later)

    def judge(self, event: Event, history: History, network: str, limits: Limits) -> Said:
        now = history.clock
        within = [one for one in history.counted if now - MINUTE < one.at <= now and one.kind == event.kind]
        if event.kind == "connect":
            alive = [name for name, until in history.open.items() if until > now]
            counts = [
                ("concurrent_connections", len(alive), limits.concurrent_connections, 0),
                ("connections_per_minute", len(within), limits.connections_per_minute, 60),
            ]
        else:
            counts = [("requests_per_minute", len(within), limits.requests_per_minute, 60)]
        shadows, blocks, warnings = Said(), Said(), Said()
        strike, until = self.strike(history, limits)
        for rule, count, limit, window_s in counts:
            share = Fraction(limits.warn_at).limit_denominator(1000)
            threshold = ceil(share * limit)
            evidence = Evidence(count=count, limit=limit, window_s=window_s, network=network)
            if count > limit:
                history.warned.add(rule)
                shadow = shadowed(self.policy, "rate", rule)
                if (shadow and now < history.spoken.get(rule, 0)) or (not shadow and blocks):
                    continue
                said = self.say(
                    event,
                    history,
                    "rate",
                    rule,
                    until=until,
                    code=self.policy.replies.connect_code,
                    reason=self.policy.replies.rate,
                    evidence=Evidence(
                        count=count, limit=limit, window_s=window_s, network=network, strike=strike
                    ),
                )
                (shadows if shadow else blocks).append(said)
                if shadow:
                    history.spoken[rule] = until
                else:
                    history.blocks.append((strike, until))
            elif threshold == 0 or count < threshold:
                history.warned.discard(rule)
            elif count == 1 or rule not in history.warned:
                history.warned.add(rule)
                warnings.append(self.warning(event, history, rule, evidence))
        return shadows + blocks + warnings

    @staticmethod
    def strike(history: History, limits: Limits) -> tuple[int, int]:
        """Which block in a row one would be that starts now, and when it would end."""
        now, strike = history.clock, 1
        if history.blocks:
            last_strike, last_until = history.blocks[-1]
            if now < last_until + limits.repeat_within_s * SECOND:
                strike = last_strike + 1
        length = limits.cool_down_s * SECOND
        if limits.cool_down_growth > 1:
            cap = max(limits.cool_down_max_s, limits.cool_down_s) * SECOND
            for _ in range(strike - 1):
                length = min(length * round(limits.cool_down_growth * 1000) // 1000, cap)
        return strike, now + length

    def say(
        self, event: Event, history: History, trigger: Any, rule: str, *, until: int | None, **fields: Any
    ) -> Decision:
        action = fields.get("action", "block")
        shadow = action == "block" and shadowed(self.policy, trigger, rule)
        name = f"{trigger} {action} {rule if shadow else ''}" if shadow or action != "block" else trigger
        values: dict[str, Any] = {"address": event.address, "code": 0, "reason": "", "evidence": Evidence()}
        return Decision(
            id=derived_id(name, event.client, event.id),
            at=Instant(history.clock),
            until=None if until is None else Instant(until),
            client=event.client,
            trigger=trigger,
            rule=rule,
            policy=self.version,
            event=event.id,
            session=event.session,
            host=event.host,
            shadow=shadow,
            **{**values, "action": action, **fields},
        )

    def listed(self, event: Event) -> Said:
        entry, history = block_entry(self.policy, event), self.client(event)
        if entry is None or history.listed == entry:
            return []
        history.listed = entry
        replies = self.policy.replies
        return [
            self.say(
                event,
                history,
                "blocklist",
                "blocks",
                until=entry.expires,
                code=replies.connect_code,
                reason=replies.blocklist + (f": {entry.note}" if entry.note else ""),
                evidence=Evidence(network=str(entry.network), note=entry.note),
            )
        ]

    def warning(self, event: Event, history: History, rule: str, evidence: Evidence) -> LimitWarning:
        return LimitWarning(
            id=derived_id("warning", rule, event.client, event.id),
            at=Instant(history.clock),
            client=event.client,
            address=event.address,
            rule=rule,
            evidence=evidence,
            policy=self.version,
            event=event.id,
            host=event.host,
        )

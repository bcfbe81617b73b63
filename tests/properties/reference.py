"""The engine, written to be obviously right rather than fast: it keeps every event and counts from scratch.

The rules are those of `streams.engine.step`'s docstring; nothing here is shared with it but the model.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Block, Limits, Policy

SECOND = 1_000_000
MINUTE = 60 * SECOND


@dataclass
class _History:
    """All that is known of one client, in order of arrival."""

    clock: int
    counted: list[Event] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    """Session → when it is forgotten."""
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """(strike, until) of each block."""
    warned: set[str] = field(default_factory=set)
    listed: Block | None = None


class Reference:
    """`step` over a whole history."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.newest = 0
        self.clients: dict[str, _History] = {}

    def limits_of(self, event: Event) -> tuple[str, Limits]:
        from ipaddress import ip_address

        ip = ip_address(event.address)
        matching = [rule for rule in self.policy.networks if ip in rule.network]
        if not matching:
            return "", self.policy.limits
        best = max(matching, key=lambda rule: rule.network.prefixlen)
        return str(best.network), best.limits

    def exempt(self, event: Event) -> bool:
        from ipaddress import ip_address

        return any(
            entry.module == "rate"
            and ip_address(event.address) in entry.network
            and (entry.expires is None or event.at < entry.expires)
            for entry in self.policy.exemptions
        )

    def block_entry(self, event: Event) -> Block | None:
        from ipaddress import ip_address

        matching = [entry for entry in self.policy.blocks if ip_address(event.address) in entry.network]
        return max(matching, key=lambda entry: entry.network.prefixlen) if matching else None

    def client(self, event: Event) -> _History:
        self.newest = max(self.newest, event.at)
        found = self.clients.get(event.client)
        if found is None or found.clock + self.policy.memory_s * SECOND < self.newest:
            found = self.clients[event.client] = _History(event.at)
        found.clock = max(found.clock, event.at)
        return found

    def step(self, event: Event) -> list[Decision | LimitWarning]:
        entry = self.block_entry(event)
        if event.kind in ("connect", "mail"):
            if entry is not None:
                history = self.client(event)
                if history.listed == entry:
                    return []
                history.listed = entry
                return [self.listed(event, history, entry)]
            if self.exempt(event):
                return []
        else:
            self.newest = max(self.newest, event.at)
            known = self.clients.get(event.client)
            if known is None or known.clock + self.policy.memory_s * SECOND < self.newest:
                return []
        history = self.client(event)
        now = history.clock
        name, limits = self.limits_of(event)
        self.sessions(history, event, limits)
        if event.kind not in ("connect", "mail"):
            return []
        if history.blocks and now < history.blocks[-1][1]:
            return []
        history.counted.append(event)
        if event.kind == "connect":
            history.open[event.session] = event.at + limits.session_idle_s * SECOND
        return self.judge(event, history, name, limits)

    @staticmethod
    def sessions(history: _History, event: Event, limits: Limits) -> None:
        """What an event that is not (yet) counted says of the client's open sessions."""
        history.open = {name: until for name, until in history.open.items() if until > history.clock}
        if event.kind == "disconnect":
            history.open.pop(event.session, None)
        elif event.session in history.open:
            later = event.at + limits.session_idle_s * SECOND
            history.open[event.session] = max(history.open[event.session], later)

    def judge(
        self, event: Event, history: _History, network: str, limits: Limits
    ) -> list[Decision | LimitWarning]:
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
        blocked: list[Decision | LimitWarning] = []
        warned: list[Decision | LimitWarning] = []
        for rule, count, limit, window_s in counts:
            share = Fraction(limits.warn_at).limit_denominator(1000)
            threshold = ceil(share * limit)
            evidence = Evidence(count=count, limit=limit, window_s=window_s, network=network)
            if count > limit:
                if not blocked:
                    blocked.append(self.block(event, history, limits, rule, evidence))
                history.warned.add(rule)
            elif threshold == 0 or count < threshold:
                history.warned.discard(rule)
            elif rule not in history.warned:
                history.warned.add(rule)
                warned.append(self.warning(event, history, rule, evidence))
        return blocked + warned

    def block(
        self, event: Event, history: _History, limits: Limits, rule: str, evidence: Evidence
    ) -> Decision:
        now, strike = history.clock, 1
        if history.blocks:
            last_strike, last_until = history.blocks[-1]
            if now < last_until + limits.repeat_within_s * SECOND:
                strike = last_strike + 1
        length = limits.cool_down_s * SECOND
        if limits.cool_down_growth > 1:
            for _ in range(strike - 1):
                length = min(
                    length * round(limits.cool_down_growth * 1000) // 1000, limits.cool_down_max_s * SECOND
                )
        history.blocks.append((strike, now + length))
        return Decision(
            id=derived_id("rate", event.client, event.id),
            at=Instant(now),
            until=Instant(now + length),
            action="block",
            client=event.client,
            address=event.address,
            trigger="rate",
            rule=rule,
            code=self.policy.replies.connect_code,
            reason=self.policy.replies.rate,
            evidence=Evidence(
                count=evidence.count,
                limit=evidence.limit,
                window_s=evidence.window_s,
                network=evidence.network,
                strike=strike,
            ),
            policy=self.policy.version,
            event=event.id,
            session=event.session,
            host=event.host,
        )

    def listed(self, event: Event, history: _History, entry: Block) -> Decision:
        note = f": {entry.note}" if entry.note else ""
        return Decision(
            id=derived_id("blocklist", event.client, event.id),
            at=Instant(history.clock),
            until=None,
            action="block",
            client=event.client,
            address=event.address,
            trigger="blocklist",
            rule="blocks",
            code=self.policy.replies.connect_code,
            reason=self.policy.replies.blocklist + note,
            evidence=Evidence(network=str(entry.network), note=entry.note),
            policy=self.policy.version,
            event=event.id,
            session=event.session,
            host=event.host,
        )

    def warning(self, event: Event, history: _History, rule: str, evidence: Evidence) -> LimitWarning:
        return LimitWarning(
            id=derived_id("warning", rule, event.client, event.id),
            at=Instant(history.clock),
            client=event.client,
            address=event.address,
            rule=rule,
            evidence=evidence,
            policy=self.policy.version,
            event=event.id,
            host=event.host,
        )

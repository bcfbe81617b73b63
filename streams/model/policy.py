"""The policy: what is allowed, to whom, and what is said to the rest. Units stand in the names."""

from typing import Final, Literal

import msgspec

from streams.model.client import ClientPrefixes, Network, parse_network
from streams.model.decision import derived_id
from streams.model.instant import Instant
from streams.model.modules import Greylist, Notify, Partner, Protocol, Reputation, Zone
from streams.model.schedule import Schedule

Module = Literal["rate", "dnsbl", "greylist", "protocol"]
MODULES: Final[tuple[Module, ...]] = ("rate", "dnsbl", "greylist", "protocol")

MODULE_OF: Final[dict[str, Module]] = {
    "rate": "rate",
    "reputation": "dnsbl",
    "greylist": "greylist",
    "protocol": "protocol",
}
"""Trigger → the module whose exemption or suspension lifts its decisions. Nothing lifts `blocklist`."""

WINDOW_S: Final = 60
"""The window of `requests_per_minute` and `connections_per_minute`, in seconds."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`[limits]`, and what a `[[networks]]` entry may override. Defaults: mission.md, R1."""

    concurrent_connections: int = 10
    requests_per_minute: int = 20
    connections_per_minute: int = 30
    cool_down_s: int = 60
    cool_down_growth: float = 1.0
    """Each further block within `repeat_within_s` lasts this many times the one before; 1 is no growth."""
    cool_down_max_s: int = 3600
    """Cap of a grown cool-down."""
    repeat_within_s: int = 3600
    """A block that starts within this time of the end of the one before counts as a repeat."""
    session_idle_s: int = 1800
    """A session without an event for this long is forgotten: its end was never logged."""
    warn_at: float = 0.8
    """Share of a limit at which a warning is recorded; 0 is never."""

    def warning_count(self, limit: int) -> int:
        """Smallest count that is at least `warn_at` of the limit; 0 where warnings are off."""
        permille = round(self.warn_at * 1000)
        return -(-limit * permille // 1000)


class NetworkRule(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[networks]]` entry; its limits are `[limits]` with what the entry overrides."""

    network: Network
    name: str
    limits: Limits
    internal: bool = False
    """Whether its clients are our own: greylist, protocol and reputation leave them alone unless told."""


class Exemption(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[exemptions]]` entry: this module leaves these addresses alone, until `expires`."""

    module: Module
    network: Network
    note: str = ""
    expires: Instant | None = None
    """First instant at which it no longer counts."""
    by: str = ""
    """Who added it."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[blocks]]` entry: refused for as long as the entry stands, until `expires`."""

    network: Network
    note: str = ""
    expires: Instant | None = None
    by: str = ""
    """Who added it."""


class Suspension(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[suspensions]]` entry: this module judges nobody until then, and returns by itself."""

    module: Module
    until: Instant
    note: str = ""
    by: str = ""


class Replies(msgspec.Struct, frozen=True, kw_only=True):
    """`[replies]`: the codes and texts of mission.md, which an administrator may change."""

    connect_code: int = 551
    session_code: int = 571
    enhanced_status: str = "5.7.1"
    opening: str = "Go away"
    rate: str = "exceeded connection rate limit"
    reputation: str = "IP listed in DNSBL"
    """Followed by `: [NAME]`, the zone's display name."""
    greylist: str = "greylist policy: no retry"
    greylisted: str = "greylisted, retry in"
    """Followed by ` N s`; a 451, since the client is to come back."""
    protocol: str = "SMTP protocol violation"
    """Followed by `: VIOLATION`."""
    blocklist: str = "blocked by administrator"
    """Followed by `: NOTE` where the entry has one."""


INTERNAL: Final = NetworkRule(
    network=parse_network("192.168.1.0/24"),
    name="internal",
    limits=Limits(concurrent_connections=50, requests_per_minute=100, connections_per_minute=150),
    internal=True,
)
"""Stands where a policy names no networks (mission.md, R3). Each of its 100 requests may come over a
connection of its own, so the third limit is raised in the same proportion as the first."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The whole policy. `version` depends on its content alone."""

    limits: Limits = Limits()
    clients: ClientPrefixes = ClientPrefixes()
    networks: tuple[NetworkRule, ...] = (INTERNAL,)
    exemptions: tuple[Exemption, ...] = ()
    blocks: tuple[Block, ...] = ()
    replies: Replies = Replies()
    reputation: Reputation = Reputation()
    zones: tuple[Zone, ...] = ()
    partners: tuple[Partner, ...] = ()
    greylist: Greylist = Greylist()
    protocol: Protocol = Protocol()
    notify: Notify = Notify()
    suspensions: tuple[Suspension, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    shadow: tuple[str, ...] = ()
    """Triggers (`reputation`) and rules (`requests_per_minute`) that decide and record, and refuse nobody."""

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits; equal policies have equal versions."""
        return derived_id(repr(self))[:12]

    @property
    def horizon_s(self) -> int:
        """How far back the events lie that a restarted worker counts again, in seconds (at least an hour).

        Windows need 60 s, open sessions their idle time; blocks are taken from the decisions recorded.
        """
        idle_s = (2 * limits.session_idle_s for limits in self._all_limits())
        return max(3600, self.protocol.window_s, *idle_s)

    @property
    def memory_s(self) -> int:
        """How long a client is remembered that is not heard of: nothing that still counts is older."""
        every = self._all_limits()
        repeat_s = max(limits.repeat_within_s for limits in every)
        # apart from each other: several schedules may be in force at once
        return max(self.horizon_s, repeat_s + max(max(it.cool_down_s, it.cool_down_max_s) for it in every))

    def _all_limits(self) -> list[Limits]:
        plain = [self.limits, *(rule.limits for rule in self.networks)]
        changed = [msgspec.structs.replace(it, **dict(s.overrides)) for s in self.schedules for it in plain]
        return plain + changed

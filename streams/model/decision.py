"""What the engine says: decisions (block, until when, why) and warnings (close to a limit)."""

from hashlib import blake2b
from typing import Literal

import msgspec

from streams.model.client import Address, Client
from streams.model.instant import Instant

Trigger = Literal["rate", "reputation", "greylist", "protocol", "blocklist"]
Action = Literal["block", "release"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What was counted, over which window, against which limit, and where that limit comes from."""

    count: int = 0
    limit: int = 0
    window_s: int = 0
    """Length of the sliding window in seconds; 0 for what is counted at one moment."""
    network: str = ""
    """The policy's network entry (CIDR) that set the limit; empty for `[limits]`."""
    strike: int = 0
    """Which block within `repeat_within_s` this is, from 1."""
    note: str = ""
    """An administrator's note on the entry that decided."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision; `id` is derived from (trigger, client, event), so emitting it twice is harmless."""

    id: str
    at: Instant
    until: Instant | None
    """First instant at which the client is let in again; null: as long as the policy's entry stands."""
    action: Action
    client: Client
    address: Address
    trigger: Trigger
    rule: str
    """The limit's own name: `concurrent_connections`, `requests_per_minute`, …"""
    code: int
    reason: str
    evidence: Evidence
    policy: str
    """Version of the policy that decided."""
    event: str
    """Id of the event that brought it about."""
    session: str
    host: str


class LimitWarning(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A client reached `warn_at` of a limit; nothing is refused yet."""

    id: str
    at: Instant
    client: Client
    address: Address
    rule: str
    evidence: Evidence
    policy: str
    event: str
    host: str


def derived_id(*parts: str) -> str:
    """16 hexadecimal digits that depend on the parts alone, in their order."""
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

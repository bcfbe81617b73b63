"""What the engine says: decisions (block, until when, why) and warnings (close to a limit)."""

from hashlib import blake2b
from typing import Final, Literal

import msgspec

from streams.model.client import Address, Client
from streams.model.instant import Instant

Trigger = Literal["rate", "reputation", "greylist", "protocol", "blocklist"]
Action = Literal["block", "release", "defer", "pass"]
"""`block` refuses; `release` ends a block early; `defer` notes a first greylist attempt; `pass` lets
through what would have to wait: a learnt client (`greylist`), a client that no DNSBL lists (`reputation`)."""


NOWHERE: Final = Address("::")
"""Stands in records that are about no client's address."""
MOST_NOTED: Final = 256
"""Characters of an event's text that a decision's note takes in."""


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
    """An administrator's note on the entry that decided; the event's text, cut, where that decided."""


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
    shadow: bool = False
    """Decided and recorded only: nothing is refused."""
    triplet: str = ""
    """Of a `defer`: `SENDER:RECIPIENT`, two hashes (`greylist_triplet`)."""
    pool: str = ""
    """Of a greylist `defer` or `pass`: the domain that the client's verified name shares with its neighbours
    (`pool_of`)."""

    @property
    def key(self) -> str:
        """Key of its record on `smtp.decisions`: the latest of a key is what holds."""
        return f"{self.trigger}:{self.client}" + (f":{self.triplet}" if self.triplet else "")


class LimitWarning(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A client reached `warn_at` of a limit, or what else people should know; nothing is refused by it."""

    id: str
    at: Instant
    client: Client
    address: Address
    rule: str
    evidence: Evidence
    policy: str
    event: str
    host: str
    about: Literal["limit", "zone", "partner", "pipeline"] = "limit"
    """Of `zone`, `partner` and `pipeline` trouble `client` is what it is about, and `rule` is empty."""
    text: str = ""
    """In words, with what to do; empty for `limit`, whose evidence says all."""


def notice(
    about: Literal["zone", "partner", "pipeline"],
    subject: str,
    text: str,
    *,
    named: tuple[str, ...],
    at: Instant,
    host: str,
    policy: str = "",
    address: Address = NOWHERE,
) -> LimitWarning:
    """What people should know of a zone, a partner or the pipeline. Its id depends on `about` and `named`."""
    return LimitWarning(
        id=derived_id(about, *named),
        at=at,
        client=Client(subject),
        address=address,
        rule="",
        evidence=Evidence(),
        policy=policy,
        event="",
        host=host,
        about=about,
        text=text,
    )


def derived_id(*parts: str) -> str:
    """16 hexadecimal digits that depend on the parts alone, in their order."""
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

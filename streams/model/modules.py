"""The policy of the modules beside the limits: reputation, greylist, protocol, notices."""

from ipaddress import IPv4Network
from typing import Final

import msgspec

from streams.model.client import Address

ERROR_CODES: Final = IPv4Network("127.255.255.0/24")
"""Answers by which a zone says that it does not answer: .252 typo, .254 open resolver, .255 volume. Never a
listing (https://www.spamhaus.org/faqs/dnsbl-usage/)."""


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[zones]]` entry: a DNSBL (RFC 5782)."""

    domain: str
    """Where it is asked, in lower case without a dot at the end: `zen.spamhaus.org`."""
    name: str = ""
    """What the client is told: `IP listed in DNSBL: [Spamhaus]`; empty: the domain."""
    weight: int = 1
    """What any listing adds to the sum that is held against `threshold`, where `codes` says nothing."""
    codes: tuple[tuple[IPv4Network, int], ...] = ()
    """Return code → its own weight, most specific first; with any, codes that are not named weigh nothing."""
    enabled: bool = True
    ipv4: bool = True
    ipv6: bool = True
    test: bool = True
    """Whether the zone has the test entries of RFC 5782, section 5: 127.0.0.2 listed, 127.0.0.1 not."""
    delisting: str = ""
    """Page where a listing can be looked up and removed."""

    @property
    def shown(self) -> str:
        """Its display name."""
        return self.name or self.domain


class Partner(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[partners]]` entry: an address that is looked up on a schedule, to warn when it is listed."""

    address: Address
    name: str = ""


class Reputation(msgspec.Struct, frozen=True, kw_only=True):
    """`[reputation]`: how zones are asked, and what follows. Without an enabled zone nothing is asked."""

    threshold: int = 1
    """Sum of weights at which a client is refused."""
    timeout_ms: int = 2000
    """Longest wait for one zone's answer."""
    concurrency: int = 200
    """Look-ups under way at once; further clients wait, and beyond a bound are not looked up."""
    resolvers: tuple[str, ...] = ()
    """`HOST` or `HOST:PORT`; empty: those of the machine (resolv.conf)."""
    ttl_min_s: int = 300
    ttl_max_s: int = 86_400
    """An answer holds for its TTL, at least and at most this long; a block by it as long as the answer."""
    wait_ms: int = 0
    """Longest wait of the shim at RCPT for the first verdict on a client; 0: none."""
    partners_every_s: int = 3600
    """Pause between two look-ups of each partner."""
    health_every_s: int = 60
    """Pause between two tests of each zone."""
    internal: bool = False
    """Whether clients of internal networks are looked up too."""


class Greylist(msgspec.Struct, frozen=True, kw_only=True):
    """`[greylist]` (mission.md, R7; RFC 6647)."""

    enabled: bool = False
    delay_s: int = 600
    """A retry counts from this long after the first attempt."""
    retry_window_s: int = 14_400
    """A retry counts until this long after the first attempt; later it is a first attempt again."""
    learnt_s: int = 2_592_000
    """A client that retried well passes for this long after it was last seen to deliver."""
    no_retry_count: int = 20
    """This many first attempts that were never retried, and none that was: the client does not retry."""
    no_retry_after_s: int = 14_400
    """A first attempt counts as never retried from this long after it."""
    no_retry_block_s: int = 86_400
    """How long a client that does not retry is refused."""
    ipv4_prefix: int = 24
    ipv6_prefix: int = 64
    """Addresses that share so many leading bits may retry for each other."""
    pool_clients: int = 3
    """This many learnt clients whose verified names share a domain let all of it pass; 0: none does."""
    authenticated: bool = False
    """Whether clients with a SASL login are greylisted too."""
    internal: bool = False
    """Whether clients of internal networks are greylisted too."""


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """`[protocol]`: which violations count. All but the last three are read from the log."""

    missing_helo: bool = True
    pipelining: bool = False
    non_smtp_command: bool = False
    too_many_errors: bool = False
    pregreet: bool = False
    hangup: bool = False
    bare_newline: bool = False
    command_limit: bool = False
    invalid_sender: bool = False
    """The sender's domain has neither MX nor address (RFC 5321, 5.1); asked by the reputation stage."""
    invalid_helo: bool = False
    """A HELO name that is no domain and no address literal (RFC 5321, 4.1.1.1); refused in the session."""
    forged_sender: bool = False
    """A sender whose domain is not that of the SASL login; refused in the session."""
    threshold: int = 1
    """This many violations within `window_s` bring about a block."""
    window_s: int = 3600
    block_s: int = 600
    internal: bool = False
    """Whether clients of internal networks are judged too."""

    def judges(self, violation: str) -> bool:
        """Whether this violation, by its name in events, counts."""
        name = VIOLATIONS.get(violation)
        return name is not None and bool(getattr(self, name))


VIOLATIONS: Final[dict[str, str]] = {
    "missing HELO": "missing_helo",
    "pipelining": "pipelining",
    "non-SMTP command": "non_smtp_command",
    "too many errors": "too_many_errors",
    "pregreet": "pregreet",
    "hangup": "hangup",
    "bare newline": "bare_newline",
    "command limit": "command_limit",
    "invalid sender": "invalid_sender",
    "invalid HELO": "invalid_helo",
    "forged sender": "forged_sender",
}
"""Violation as events and replies name it → its switch in `[protocol]`."""


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """`[notify]`: what people are told, and how often. Where to is a secret: `GOAWAY_NOTIFY_URLS`."""

    about: tuple[str, ...] = ("limit", "block", "zone", "partner", "pipeline")
    digest_s: int = 300
    """What comes within this time of the first message goes out as one; 0: each at once."""
    per_client_per_hour: int = 4
    """Messages about one client within an hour at most; the rest is counted in the next digest."""
    quiet_from: str = ""
    quiet_to: str = ""
    """`HH:MM` in `timezone`; between them only zone, partner and pipeline trouble is told, the rest waits."""
    timezone: str = "UTC"


TOPICS_OF_NOTICE: Final = ("limit", "block", "shadow", "zone", "partner", "pipeline")
"""What `about` may name; `shadow` are the blocks of rules in shadow."""

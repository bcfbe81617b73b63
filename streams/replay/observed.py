"""What a history shows of one client: what it did and how it went, in counts."""

from collections.abc import Iterator
from typing import Final, TypeVar

from streams.model.client import Address
from streams.model.event import Event
from streams.replay.log_words import answered_zones, failed_logins, refusing_zone
from streams.replay.rhythm import Rhythms
from streams.wire.postfix.ours import is_ours

_MAX_ZONES: Final = 8
_MAX_OPEN: Final = 64
T = TypeVar("T")


class Observed:
    """One client's doings in a history, in counts: small, whatever the length of the history.

    What Goaway refused of it is no evidence: neither the refusals, nor how sessions ended that had one.
    """

    __slots__ = (
        "accepted",
        "address",
        "asks",
        "auth_failures",
        "authenticated",
        "clean",
        "connects",
        "elsewhere",
        "erring",
        "exempt",
        "failing",
        "learnt",
        "listed",
        "messages",
        "network",
        "peaks",
        "ptr",
        "refused",
        "rhythms",
        "turned_away",
        "turning_away",
        "unserved",
        "violations",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.network = ""
        """The policy's network entry that set the limits of its first event."""
        self.exempt = False
        """Whether the rate module lets all of its connections and transactions alone."""
        self.ptr = ""
        self.connects = self.messages = self.authenticated = self.auth_failures = self.violations = 0
        self.accepted = self.refused = 0
        """Transactions that were taken; transactions, recipients and greetings that were refused for good."""
        self.turned_away = self.unserved = 0
        """Attempts that Goaway refused for good; sessions in which it refused one, or put it off."""
        self.clean = self.erring = 0
        """Sessions that ended with QUIT and had no command fail; sessions that had."""
        self.learnt = False
        self.listed: tuple[str, ...] = ()
        """Zones that list it."""
        self.peaks = [0, 0, 0]
        """The highest counts of `RULES` while no limit blocks it."""
        self.asks = [0, 0, 0]
        """The same at what `[limits]` judge, or its network's entry: not while it is exempt, nor while a
        schedule sets that limit."""
        self.elsewhere: dict[str, list[int]] | None = None
        """What addresses of it ask that other entries hold (empty: `[limits]`), by entry."""
        self.failing: dict[str, None] | None = None
        """Open sessions in which a login failed, at most 64: what their end says of that is known already."""
        self.turning_away: dict[str, bool] | None = None
        """Open sessions in which Goaway refused, at most 64, and whether it did so at the door."""
        self.rhythms: Rhythms | None = None
        """At what intervals it connects, from its second connection on: most clients come once."""

    @property
    def served(self) -> int:
        """Connections in which Goaway refused nothing."""
        return max(0, self.connects - self.unserved)

    def entries(self) -> Iterator[tuple[str, list[int]]]:
        """Every network entry that judged it (empty: `[limits]`), with what it asks of that."""
        yield self.network, self.asks
        if self.elsewhere is not None:
            yield from self.elsewhere.items()

    def note(self, event: Event) -> None:
        """Count what an event tells of."""
        if event.ptr and not self.ptr:
            self.ptr = event.ptr[:128]
        match event.kind:
            case "connect":
                self.connects += 1
                if self.rhythms is not None:
                    self.rhythms.beat_at(event.host, event.service, event.at)
                elif self.connects > 1:
                    self.rhythms = Rhythms(event.host, event.service, event.at)
            case "mail" | "rcpt" | "refusal":
                if event.code >= 400:
                    _refused(self, event)
                elif not event.code and _taken(event):
                    self.accepted += 1
                    self.authenticated += bool(event.sasl_user)
            case "message":
                self.messages += 1
            case "auth":
                self.authenticated += 1
            case "auth_failure":
                self.auth_failures += 1
                self.failing = _with(self.failing, event.session, None)
            case "violation":
                self.violations += 1
            case "learnt":
                self.learnt = True
            case "reputation":
                for zone in answered_zones(event.detail):
                    _listed(self, zone)
            case "disconnect":
                _ended(self, event.session, event.detail)


def _taken(event: Event) -> bool:
    """Whether it was taken: it has a queue id, or is passed on without one, and without a word. Not what is
    only counted at a session's end, nor what is thrown away."""
    return bool(event.queue_id) or (event.kind == "mail" and not event.detail)


def _refused(seen: Observed, event: Event) -> None:
    """By Goaway, which says nothing of the client; or by the MTA, and then perhaps since a zone lists it."""
    if is_ours(event):
        seen.turned_away += event.code >= 500
        known = seen.turning_away or {}
        seen.unserved += event.session not in known
        at_the_door = event.kind == "refusal" or known.get(event.session, False)
        seen.turning_away = _with(known, event.session, at_the_door)
        return
    seen.refused += event.code >= 500
    if zone := refusing_zone(event.detail):
        _listed(seen, zone)


def _listed(seen: Observed, zone: str) -> None:
    if zone not in seen.listed and len(seen.listed) < _MAX_ZONES:
        seen.listed += (zone,)


def _with(sessions: dict[str, T] | None, session: str, value: T) -> dict[str, T]:
    """The open sessions with one more of them; the oldest makes room."""
    known = {} if sessions is None else sessions
    if session not in known and len(known) >= _MAX_OPEN:
        del known[next(iter(known))]
    known[session] = value
    return known


def _ended(seen: Observed, session: str, commands: str) -> None:
    """`ehlo=2 starttls=1 quit=1 commands=4`; `mail=0/1` is a command of which none succeeded.

    Failed logins are taken from here only where no line of their own told of them, and not where Goaway had
    refused at the door: no command succeeds after that.
    """
    failing, turning = seen.failing, seen.turning_away
    told = failing is not None and session in failing
    if failing is not None and told:
        del failing[session]
    refused_at_the_door = turning.pop(session, None) if turning else None
    if "/" in commands:
        seen.erring += refused_at_the_door is None
        if not told and not refused_at_the_door:
            seen.auth_failures += failed_logins(commands)
    elif refused_at_the_door is None and "quit=" in commands and ("ehlo=" in commands or "helo=" in commands):
        seen.clean += 1

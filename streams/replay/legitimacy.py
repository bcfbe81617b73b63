"""Who is a legitimate client, by the evidence in its history: points for and against, each with its reason.

Rows of one table; the points of all that hold are added up. 30 and more: legitimate. 0 and less: abusive
where anything spoke against it. What lies between, and who is not known by anything, is unclear.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from streams.model.instant import MICROSECONDS
from streams.replay.observed import Observed

Verdict = Literal["legitimate", "unclear", "abusive"]

LEGITIMATE: Final = 30
_REGULAR: Final = 0.8
_REGULAR_SPAN_S: Final = 6 * 3600
_REGULAR_SESSIONS: Final = 20
_SHORTEST_PAUSE_US: Final = 30 * MICROSECONDS
_FEW_OPEN: Final = 4
_FEW_A_MINUTE: Final = 12
"""What a prober may have open at once, and do in a minute. Nothing vouches for it: what it can ask of limits
(with headroom 5 and 15) is less than their defaults."""
_WORTH: Final = 20
"""So many connections at most for a message, and for a transaction that is taken."""
_NOT_SHOWN: Final = "what they would have sent is not shown"


class Legitimacy(msgspec.Struct, frozen=True):
    """What is thought of a client, and why."""

    verdict: Verdict
    score: int
    reasons: tuple[str, ...]
    """The evidence in words, each with its points: `+50 delivered 134 messages`."""


def legitimacy(seen: Observed) -> Legitimacy:
    """The points of this client."""
    score, against, reasons = 0, False, []
    for points_of in EVIDENCE:
        points, words = points_of(seen)
        if points:
            score += points
            against |= points < 0
            reasons.append(f"{points:+d} {words}")
    if seen.turned_away:
        reasons.append(f"+0 Goaway refused {_attempts(seen.turned_away)} here: {_NOT_SHOWN}")
    if score >= LEGITIMATE:
        verdict: Verdict = "legitimate"
    else:
        verdict = "abusive" if against and score <= 0 else "unclear"
    return Legitimacy(verdict, score, tuple(reasons))


def cut_short(clients: Iterable[Observed]) -> str:
    """That Goaway itself refused in this history, in a sentence; empty where it did not."""
    refused = [it.turned_away for it in clients if it.turned_away]
    if not refused:
        return ""
    of = f"{len(refused):,} client{'s' * (len(refused) != 1)}"
    return f"Goaway itself refused {_attempts(sum(refused))} of {of} in this history: {_NOT_SHOWN}."


def _attempts(count: int) -> str:
    return f"{count:,} attempt{'s' * (count != 1)}"


def protected(seen: Observed, found: Legitimacy) -> bool:
    """Whether limits must not hurt it: legitimate, or it delivered mail, whatever else is said of it."""
    return found.verdict == "legitimate" or seen.messages > 0


Points = tuple[int, str]


def _exempt(seen: Observed) -> Points:
    return (60 if seen.exempt else 0), "exempt from rate by the policy"


def _delivered(seen: Observed) -> Points:
    words = f"delivered {seen.messages:,} message{'s' * (seen.messages != 1)}"
    return (0 if not seen.messages else 40 if seen.messages < 3 else 60), words


def _authenticated(seen: Observed) -> Points:
    return (40 if seen.authenticated else 0), f"logged in {seen.authenticated:,} times"


def _learnt(seen: Observed) -> Points:
    return (50 if seen.learnt else 0), "known to deliver (greylist learn)"


def _regular(seen: Observed) -> Points:
    """A prober: it comes at even intervals for hours, with few connections, greets, quits, and never errs."""
    rhythms = seen.rhythms
    if rhythms is None:
        return 0, ""
    evenly = rhythms.regular >= _REGULAR and rhythms.pause_us >= _SHORTEST_PAUSE_US
    few = seen.peaks[0] <= _FEW_OPEN and max(seen.peaks[1:]) <= _FEW_A_MINUTE
    errs = seen.erring or seen.refused or seen.violations or seen.listed or seen.auth_failures
    greets = seen.clean >= max(_REGULAR_SESSIONS, 0.9 * seen.served)
    door = rhythms.steadiest
    even_s = door.even_us / MICROSECONDS
    prober = evenly and few and not errs and greets and even_s >= _REGULAR_SPAN_S
    every = f"{door.typical_us / MICROSECONDS:.0f} s"
    return (40 if prober else 0), f"connects every {every} for {even_s / 3600:.0f} h and never errs"


def _named(seen: Observed) -> Points:
    return (10 if seen.ptr else 0), f"has a verified name, {seen.ptr}"


def _listed(seen: Observed) -> Points:
    return (-30 if seen.listed else 0), f"listed in {', '.join(seen.listed)}"


def _violations(seen: Observed) -> Points:
    much = seen.violations and seen.violations >= 0.1 * seen.served
    return (-min(40, 10 + 2 * seen.violations) if much else 0), f"{seen.violations:,} protocol violations"


def _refused(seen: Observed) -> Points:
    more = seen.refused > 2 * seen.accepted
    words = f"{seen.refused:,} refused for good, {seen.accepted:,} transactions taken"
    return (-min(30, 5 + seen.refused) if seen.refused and more else 0), words


def _guesses(seen: Observed) -> Points:
    more = seen.auth_failures > 2 and seen.auth_failures > 3 * seen.authenticated
    return (-40 if more else 0), f"{seen.auth_failures:,} failed logins"


def _errs(seen: Observed) -> Points:
    sessions = seen.erring + seen.clean
    most = seen.erring > 0.5 * max(sessions, 1) and seen.erring > seen.messages
    return (-min(30, 5 + seen.erring) if most else 0), f"commands fail in {seen.erring:,} of its sessions"


def _nothing(seen: Observed) -> Points:
    idle = seen.served >= 20 and not seen.accepted and not seen.clean and not seen.authenticated
    return (-20 if idle else 0), f"{seen.served:,} connections and not one clean session"


def _next_to_nothing(seen: Observed) -> Points:
    """Or one message would let its sender set the limits of everybody."""
    idle = seen.messages and _WORTH * (seen.messages + seen.accepted) < seen.served
    excused = seen.authenticated or _regular(seen)[0]
    words = f"{seen.served:,} connections for {seen.messages:,} message{'s' * (seen.messages != 1)}"
    return (-60 if idle and not excused else 0), words


EVIDENCE: Final[tuple[Callable[[Observed], Points], ...]] = (
    _exempt,
    _delivered,
    _authenticated,
    _learnt,
    _regular,
    _named,
    _listed,
    _violations,
    _refused,
    _guesses,
    _errs,
    _nothing,
    _next_to_nothing,
)
"""What speaks for a client, then what speaks against it."""

"""Who is a legitimate client, by the evidence in its history: points for and against, each with its reason.

Rows of one table; the points of all that hold are added up. 30 and more: legitimate. 0 and less: abusive
where anything spoke against it. What lies between, and who is not known by anything, is unclear.
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from streams.model.instant import MICROSECONDS
from streams.replay.observed import Observed, span_s

Verdict = Literal["legitimate", "unclear", "abusive"]

LEGITIMATE: Final = 30
_REGULAR: Final = 0.8
_REGULAR_SPAN_S: Final = 6 * 3600


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
    if score >= LEGITIMATE:
        verdict: Verdict = "legitimate"
    else:
        verdict = "abusive" if against and score <= 0 else "unclear"
    return Legitimacy(verdict, score, tuple(reasons))


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
    """A prober: it comes at even intervals for hours, greets, quits, and never errs."""
    evenly = seen.regular >= _REGULAR and span_s(seen) >= _REGULAR_SPAN_S
    errs = seen.erring or seen.violations or seen.listed or seen.auth_failures
    prober = evenly and not errs and seen.clean >= 0.9 * seen.connects
    every = f"{seen.typical_us / MICROSECONDS:.0f} s" if seen.gaps else ""
    return (40 if prober else 0), f"connects every {every} for {span_s(seen) / 3600:.0f} h and never errs"


def _named(seen: Observed) -> Points:
    return (10 if seen.ptr else 0), f"has a verified name, {seen.ptr}"


def _listed(seen: Observed) -> Points:
    return (-30 if seen.listed else 0), f"listed in {', '.join(seen.listed)}"


def _violations(seen: Observed) -> Points:
    much = seen.violations and seen.violations >= 0.1 * seen.connects
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
    idle = seen.connects >= 20 and not seen.accepted and not seen.clean and not seen.authenticated
    return (-20 if idle else 0), f"{seen.connects:,} connections and not one clean session"


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
)
"""What speaks for a client, then what speaks against it."""

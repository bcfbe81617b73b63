"""What a month suggests: whom to exempt, whom to block, what to look at; each with its evidence and command.

Pure: facts in, proposals out. The facts are of clients that connected often (`monthly` gathers them).
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address
from math import ceil
from typing import Any, Final, Literal

from streams.audit.facts import REGULAR_GAPS, Facts, Reasons, evidence, gap, times
from streams.errors import InvalidValueError
from streams.model.client import Address, parse_address, parse_network
from streams.model.instant import as_datetime
from streams.model.standing import PolicyIndex, Standing

Kind = Literal["exempt", "block", "remove", "look"]
KINDS: Final[tuple[Kind, ...]] = ("exempt", "block", "remove", "look")

_FLOOR: Final = 10
"""A threshold scaled to few days is never lower."""
_FEW_HOURS: Final = 4
"""Who was there in fewer hours of the whole month came in a burst."""
_BLOCK_FOR: Final = "90d"
_LATELY: Final = "--last 60d"
_THIS_HOST: Final = "this host itself (its own programs, or a proxy that hands on everybody's mail)"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From how many connections a month on a client is judged, scaled to the days that there is data of."""

    exempt_from: int = 1000
    block_from: int = 100
    stale_days: int = 90
    """An exemption whose addresses were not seen for so long is stale."""

    def scaled(self, days: int, of: int) -> "Thresholds":
        """The same for `days` of a month of `of` days."""
        if days >= of:
            return self
        some, every = (max(_FLOOR, ceil(it * days / of)) for it in (self.block_from, self.exempt_from))
        return Thresholds(min(every, self.exempt_from), min(some, self.block_from), self.stale_days)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One thing to do, or to look at."""

    kind: Kind
    subject: str
    """A client, a network, or the key of an exemption."""
    why: str
    """In a sentence."""
    evidence: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    """What does it; empty where there is nothing to type."""
    reasons: Reasons = field(default_factory=Reasons)
    """What the client was told, and did wrong; of a network, all of its clients."""


def period_around(start: int, end: int, now: int) -> str:
    """Flags of `goaway stats` that show the month [start, end) and the one before it."""
    if now < end:
        return _LATELY
    before = as_datetime(start) - timedelta(days=1)
    return f"--from {before:%Y-%m}-01 --to {as_datetime(end):%Y-%m-%d}"


def judge(
    facts: Iterable[Facts],
    index: PolicyIndex,
    thresholds: Thresholds,
    at: int,
    month: str,
    *,
    period: str = _LATELY,
    whole: bool = True,
) -> list[Proposal]:
    """Proposals about clients, those that connect most first; none where the policy says already what would
    be proposed. `period`: the flags by which `goaway stats` shows the month. `whole`: whether all events of
    the month are stored; that they are not is no reason to block anybody."""
    found = []
    for it in sorted(facts, key=lambda it: (-it.connections, it.client)):
        try:
            address = parse_address(str(parse_network(it.client).network_address))
        except InvalidValueError:
            continue  # no address: nothing that a command could name
        standing = index.standing(address)
        exempt = any(
            entry.module == "rate" and (entry.expires is None or at < entry.expires)
            for entry in standing.exemptions
        )
        if exempt or standing.blocked(at) is not None:
            continue
        whose = _whose(address, standing)
        proposal = _of(it, thresholds, month, own=bool(whose), whole=whole)
        if proposal is None:
            continue
        if whose:
            # a proxy that is exempt lets all its clients off
            kind = "look" if whose == _THIS_HOST else proposal.kind
            proposal = replace(proposal, kind=kind, why=f"{whose}: {proposal.why}")
        if proposal.kind == "look":
            proposal = replace(proposal, command=f"goaway stats {it.client} --by day {period}")
        found.append(proposal)
    return found


def _whose(address: Address, standing: Standing) -> str:
    """In words, whose an address of our own is; empty: somebody else's."""
    if ip_address(address).is_loopback:
        return _THIS_HOST
    return f"one of our own ({standing.network} is internal)" if standing.internal else ""


def _of(it: Facts, thresholds: Thresholds, month: str, *, own: bool, whole: bool) -> Proposal | None:
    if it.counts["messages"]:
        return _of_sender(it, thresholds, month)
    if it.connections < thresholds.block_from:
        return None
    if it.rhythm is not None and it.rhythm.regular and it.harmless:
        return _of_clock(it, month)
    if why := _why_look(it, month, own=own, whole=whole):
        return _look(it, why)
    command = deny_command(it.client, it.connections, month)
    return Proposal("block", it.client, _why_block(it), evidence(it), command, it.reasons)


def _of_sender(it: Facts, thresholds: Thresholds, month: str) -> Proposal | None:
    messages = it.counts["messages"]
    if it.connections < min(thresholds.block_from, thresholds.exempt_from):
        return None
    if it.trouble > messages:
        outweigh = "outweighs" if it.trouble == 1 else "outweigh"
        return _look(it, f"delivers, but {_troubles(it)} {outweigh} {times(messages, 'message')}")
    if it.connections < thresholds.exempt_from:
        return None
    if 0 < it.hours < _FEW_HOURS:
        hours = "one hour" if it.hours == 1 else f"{it.hours} hours"
        words = f"delivers, but all within {hours} of the month: a burst, not a standing partner"
        return _look(it, words)
    if it.rhythm is not None and it.rhythm.regular and not it.trouble:
        words = f"a monitor that delivers too: connects every {gap(it.rhythm)}, is refused nothing"
        return _exempt(it, words, month)
    return _exempt(it, "delivers and connects often", month)


def _troubles(it: Facts) -> str:
    counted = (
        (it.refused_by_mta, "refusal"),
        (it.counts["violations"], "protocol violation"),
        (it.counts["login_failures"], "failed login"),
    )
    *some, last = [times(count, what) for count, what in counted if count]
    return f"{', '.join(some)} and {last}" if some else last


def _of_clock(it: Facts, month: str) -> Proposal:
    """Of who connects by a clock, sends nothing, and does no harm."""
    if it.quiet:
        words = f"a monitor: connects every {gap(it.rhythm)}, says EHLO and QUIT, tries no mail"
        return _exempt(it, f"{words}, is refused nothing", month)
    known = sum(count for text, count in it.sessions if text)
    how_many = "" if it.silent == known else f" in {it.silent} of {known} sessions"
    return _look(it, f"probes the port every {gap(it.rhythm)} and says nothing{how_many}")


def _why_look(it: Facts, month: str, *, own: bool, whole: bool) -> str:
    """Why somebody who sends nothing is not to be blocked yet; empty: there is no reason not to."""
    counts = it.counts
    if own:
        return "connects and sends no mail"
    if it.delivered:
        last = it.delivered_last
        words = "used to deliver" if last < month else "delivers in other months"
        return f"{words}: {times(it.delivered, 'message')}, the last in {last}; none in this month"
    if counts["logins"]:
        return "signs in and sends no mail"
    if counts["deferrals"] and counts["deferrals"] == counts["refusals"]:
        return "was greylisted and never came back in time: it may be honest"
    if _deeds(it):
        return ""
    if it.unlogged and it.rhythm is not None and it.rhythm.regular:
        return f"connects every {gap(it.rhythm)} and sends no mail; what it says is not logged"
    if not _is_known(it, whole=whole):
        little = "too little of it was read" if whole else "too little is stored of it"
        return f"connects and sends no mail; {little} to tell a monitor from a scanner"
    return ""


def _is_known(it: Facts, *, whole: bool) -> bool:
    """Whether its connections were read: all of them, or enough in a month of which everything is stored."""
    read = it.rhythm.gaps + 1 if it.rhythm is not None else 0
    return read >= it.connections or (whole and read > REGULAR_GAPS)


def _why_block(it: Facts) -> str:
    regular = it.rhythm is not None and it.rhythm.regular
    nothing = "says nothing" if it.silent and it.harmless else "tries no mail"
    what = ", ".join(_deeds(it)) or (nothing if regular else f"{nothing}, at no regular time")
    return f"connects and delivers nothing in this month: {what}"


def _deeds(it: Facts) -> list[str]:
    """What it did that speaks against it."""
    counts = it.counts
    done = []
    if counts["refusals"]:
        done.append(times(counts["refusals"], "refusal"))
    if counts["violations"]:
        done.append(times(counts["violations"], "protocol violation"))
    if counts["login_failures"]:
        done.append(times(counts["login_failures"], "failed login"))
    if it.blocks:
        done.append(f"{times(it.blocks, 'block')} by Goaway")
    if it.tried_mail and not counts["refusals"]:
        done.append(f"breaks off after MAIL in {times(it.tried_mail, 'session')}")
    elif counts["requests"] and not counts["refusals"]:
        done.append(f"{times(counts['requests'], 'request')} to send, without a message")
    return done


def _look(it: Facts, why: str) -> Proposal:
    return Proposal("look", it.client, why, evidence(it), reasons=it.reasons)


def _exempt(it: Facts, why: str, month: str) -> Proposal:
    note = f"audit {month}: {it.connections} connections, {it.counts['messages']} messages"
    command = f"goaway exempt rate {it.client} --note {shlex.quote(note)}"
    return Proposal("exempt", it.client, why, evidence(it), command, it.reasons)


def deny_command(subject: str, connections: int, month: str) -> str:
    """What blocks a client or a network for a while."""
    note = f"audit {month}: {connections} connections, no mail"
    return f"goaway deny {subject} --expires {_BLOCK_FOR} --note {shlex.quote(note)}"

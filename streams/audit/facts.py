"""What is known of a client's month, and what it comes to: is it quiet, a clock, what did it try. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_REGULAR: Final = 0.8
REGULAR_GAPS: Final = 10
"""Of fewer gaps nothing is said."""
DETAILED: Final = 100
"""Clients of a list that are looked at closely: their reasons, names, sessions and neighbours."""
_SHORTEST_GAP_S: Final = 5.0
"""Nobody watches a server more often; who connects faster is in a hurry."""
_HARMLESS: Final = 0.95
_POLITE: Final = re.compile(
    r"(?=.*\bquit=)(?:(?:ehlo|helo|starttls|quit|noop|rset|commands)=\d+ ?)+", re.ASCII
)
_NOTHING_SAID: Final = re.compile(r"commands=0(?:/0)?", re.ASCII)

Counted = tuple[tuple[str, int], ...]
"""Texts and how often each, the commonest first."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How regularly a client connects."""

    gap_s: float
    """The middle one of the times between its connections."""
    share: float
    """How many of them are within a fifth of that."""
    gaps: int

    @property
    def regular(self) -> bool:
        """Whether a clock connects."""
        return self.gaps >= REGULAR_GAPS and self.share >= _REGULAR and self.gap_s >= _SHORTEST_GAP_S


@dataclass(frozen=True, slots=True)
class Reasons:
    """What a client was told, and what it did wrong, as far as this was looked up."""

    refused: Counted = ()
    """Why it was refused, by whomever."""
    violated: Counted = ()
    """Its violations of the protocol, by their names."""
    helo: str = ""
    """The name that it gave where it was refused."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One client's month."""

    client: str
    counts: Mapping[str, int]
    """As `stats.COUNTERS`."""
    days: int
    hours: int
    """Days and hours in which it was there; 0 where that is no longer stored."""
    ptr: str = ""
    rhythm: Rhythm | None = None
    sessions: Counted = ()
    """What its sessions consisted of: Postfix's command counts."""
    reasons: Reasons = field(default_factory=Reasons)
    blocks: int = 0
    """How often Goaway decided to refuse it, in shadow or not."""
    delivered: int = 0
    """Messages in other months, as far as these are stored; asked only of who delivered none in this one."""
    delivered_last: str = ""
    """The latest of those months: `2026-10`."""

    @property
    def connections(self) -> int:
        """How often it connected."""
        return self.counts["connections"]

    @property
    def refused_by_mta(self) -> int:
        """Refusals that Goaway did not speak."""
        return self.counts["refusals"] - self.counts["go_aways"]

    @property
    def trouble(self) -> int:
        """What speaks against who delivers: refusals that Goaway did not speak, violations, failed logins."""
        return self.refused_by_mta + self.counts["violations"] + self.counts["login_failures"]

    @property
    def harmless(self) -> bool:
        """Nothing about it was refused, failed or violated, and its sessions said nothing but courtesies, or
        nothing at all."""
        return self._untroubled and self._share(_POLITE, _NOTHING_SAID) >= _HARMLESS

    @property
    def quiet(self) -> bool:
        """As `harmless`, and its sessions said EHLO (and STARTTLS, NOOP) and, in the end, QUIT."""
        return self._untroubled and self._share(_POLITE) >= _HARMLESS

    @property
    def unlogged(self) -> bool:
        """Whether nothing is known of what it said in its sessions."""
        return self._untroubled and not any(text for text, _ in self.sessions)

    @property
    def silent(self) -> int:
        """Sessions in which it said nothing, as far as these were counted by their commands."""
        return sum(count for text, count in self.sessions if _NOTHING_SAID.fullmatch(text))

    @property
    def _untroubled(self) -> bool:
        troubles = ("requests", "refusals", "violations", "login_failures")
        return not (self.blocks or any(self.counts[it] for it in troubles))

    def _share(self, *kinds: re.Pattern[str]) -> float:
        """Share of its sessions that are of these kinds, among those of which something is known."""
        known = [(text, count) for text, count in self.sessions if text]
        some = sum(count for text, count in known if any(it.fullmatch(text) for it in kinds))
        return some / sum(count for _, count in known) if known else 0.0

    @property
    def tried_mail(self) -> int:
        """Sessions in which it gave a MAIL command, as far as these were counted by their commands."""
        return sum(count for text, count in self.sessions if "mail=" in text)


def evidence(it: Facts) -> dict[str, Any]:
    """What was counted, as columns of a table."""
    found: dict[str, Any] = {name: count for name, count in it.counts.items() if count or name == "messages"}
    if it.hours:
        found |= {"days": it.days, "hours": it.hours}
    if it.ptr:
        found["name"] = it.ptr
    if it.reasons.helo:
        found["helo"] = it.reasons.helo
    if it.rhythm is not None and it.rhythm.gaps:
        found["every"] = gap(it.rhythm)
        found["regular"] = f"{round(100 * it.rhythm.share)} %"
    if it.sessions:
        found["commonest session"] = f"{it.sessions[0][0] or 'nothing logged'} ({times(it.sessions[0][1])})"
    if it.blocks:
        found["blocks"] = it.blocks
    if it.delivered:
        found["messages in other months"] = it.delivered
    return found | said(it.reasons)


def said(reasons: Reasons) -> dict[str, str]:
    """The commonest refusals and violations in words; of either, nothing where there is none."""
    texts = {"refused": reasons.refused, "violated": reasons.violated}
    return {
        name: "; ".join(f"{why} ({times(count)})" for why, count in some[:3])
        for name, some in texts.items()
        if some
    }


def times(count: int, what: str = "time") -> str:
    """`1 refusal`, `2 refusals`"""
    return f"{count} {what}{'' if count == 1 else 's'}"


def gap(rhythm: Rhythm | None) -> str:
    """`60 s`, `5 min`, `1 h`"""
    seconds = rhythm.gap_s if rhythm else 0
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"

"""What is known of a client's month, and what it comes to: is it quiet, a clock, what did it try. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_REGULAR: Final = 0.8
_REGULAR_GAPS: Final = 10
_SHORTEST_GAP_S: Final = 5.0
"""Nobody watches a server more often; who connects faster is in a hurry."""
_HARMLESS: Final = 0.95
_POLITE: Final = re.compile(
    r"(?=.*\bquit=)(?:(?:ehlo|helo|starttls|quit|noop|rset|commands)=\d+ ?)+", re.ASCII
)
_NOTHING_SAID: Final = re.compile(r"commands=0(?:/0)?", re.ASCII)


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
        return self.gaps >= _REGULAR_GAPS and self.share >= _REGULAR and self.gap_s >= _SHORTEST_GAP_S


@dataclass(frozen=True, slots=True)
class Facts:
    """One client's month."""

    client: str
    counts: Mapping[str, int]
    """As `stats.COUNTERS`."""
    days: int
    hours: int
    """Days and hours in which it was there."""
    ptr: str = ""
    rhythm: Rhythm | None = None
    sessions: tuple[tuple[str, int], ...] = ()
    """What its sessions consisted of (Postfix's command counts) and how many, the commonest first."""
    refused: tuple[tuple[str, int], ...] = ()
    """Why it was refused, by whomever, and how often; violations too. The commonest first."""
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
    def quiet(self) -> bool:
        """Nothing about it was refused, failed or violated, and none of its sessions tried to send mail."""
        troubles = ("requests", "refusals", "violations", "login_failures")
        trouble = self.blocks or any(self.counts[it] for it in troubles)
        return not trouble and self.polite_share >= _HARMLESS

    @property
    def polite_share(self) -> float:
        """Share of its sessions that said only EHLO, STARTTLS, NOOP and, in the end, QUIT; or nothing."""
        known = [(text, count) for text, count in self.sessions if text]
        polite = sum(n for text, n in known if _POLITE.fullmatch(text) or _NOTHING_SAID.fullmatch(text))
        return polite / sum(n for _, n in known) if known else 0.0

    @property
    def tried_mail(self) -> int:
        """Sessions in which it gave a MAIL command, as far as these were counted by their commands."""
        return sum(count for text, count in self.sessions if "mail=" in text)


def evidence(it: Facts) -> dict[str, Any]:
    """What was counted, as columns of a table."""
    found: dict[str, Any] = {name: count for name, count in it.counts.items() if count or name == "messages"}
    found |= {"days": it.days, "hours": it.hours}
    if it.ptr:
        found["name"] = it.ptr
    if it.rhythm is not None and it.rhythm.gaps:
        found["every"] = gap(it.rhythm)
        found["regular"] = f"{round(100 * it.rhythm.share)} %"
    if it.sessions:
        found["commonest session"] = f"{it.sessions[0][0] or 'nothing logged'} ({it.sessions[0][1]} times)"
    if it.blocks:
        found["blocks"] = it.blocks
    if it.delivered:
        found["messages in other months"] = it.delivered
    if it.refused:
        found["refused"] = "; ".join(f"{why} ({count} times)" for why, count in it.refused[:3])
    return found


def times(count: int, what: str) -> str:
    """`1 refusal`, `2 refusals`"""
    return f"{count} {what}{'' if count == 1 else 's'}"


def gap(rhythm: Rhythm | None) -> str:
    """`60 s`, `5 min`, `1 h`"""
    seconds = rhythm.gap_s if rhythm else 0
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"

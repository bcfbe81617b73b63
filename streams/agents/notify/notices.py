"""A notice: one warning or decision that people are told of, and its words. Pure."""

from collections.abc import Collection
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from streams.model.decision import Decision, Evidence, LimitWarning
from streams.model.instant import as_datetime
from streams.model.policy import MODULE_OF

URGENT: Final = frozenset(("zone", "partner", "pipeline"))
"""What is told in quiet hours too."""

SHADOW: Final = "shadow"
"""In `[notify] about`: blocks that were decided in shadow are told."""

MAX_LINE: Final = 300
"""Longest line of a notice, in characters."""

_MAX_SUBJECT: Final = 64
_HARMLESS: Final = str.maketrans({"<": "‹", ">": "›", "`": "'", "*": "∗", "~": "∼", "|": "¦", "\\": "⧵"})


class Notice(NamedTuple):
    """One thing to tell. `subject` is what it is about: a client, a zone's domain, a partner, a stage."""

    id: str
    about: str
    subject: str
    source: Decision | LimitWarning

    @property
    def urgent(self) -> bool:
        """Whether it is told in quiet hours too."""
        return self.about in URGENT


def notice_of(source: Decision | LimitWarning, about: Collection[str]) -> Notice | None:
    """What there is to tell of a record, or None where nobody asked for it (`[notify] about`)."""
    if isinstance(source, LimitWarning):
        wanted, topic = source.about in about, str(source.about)
    else:
        wanted, topic = source.action == "block" and (SHADOW if source.shadow else "block") in about, "block"
    if not wanted:
        return None
    return Notice(source.id[:_MAX_SUBJECT], topic, plain(source.client, _MAX_SUBJECT), source)


def plain(text: str, longest: int = MAX_LINE) -> str:
    """The text on one line, printable, and harmless in every service.

    Nothing of it is HTML, a mention of people (`@all`), or a link under other words, whatever a service makes
    of plain text.
    """
    shown = "".join(c if c.isprintable() else " " for c in text[: longest + 1]).translate(_HARMLESS)
    shown = shown.replace("@", "＠").replace("](", "] (")
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def clock(at: int, zone: ZoneInfo) -> str:
    """`2026-11-24 18:03:11 CET`."""
    return as_datetime(at).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def lines_of(notice: Notice, zone: ZoneInfo) -> tuple[str, ...]:
    """What happened, in words: one to three lines of at most `MAX_LINE` characters, without commands."""
    source = notice.source
    if isinstance(source, Decision):
        said = _block_lines(source, zone)
    elif source.about == "limit":
        said = (f"{clock(source.at, zone)} on {source.host}: {_counted(source.rule, source.evidence)}",)
    else:
        said = (f"{clock(source.at, zone)}: {source.text}",)
    return tuple(plain(line) for line in said)


def remedies_of(notice: Notice) -> tuple[str, ...]:
    """The commands that let a blocked client through, exactly as they are typed."""
    source = notice.source
    if not isinstance(source, Decision):
        return ()
    # an exemption of one address leaves its neighbours, who share the client's counters, where they are
    module = MODULE_OF.get(source.trigger)
    lasting = (f"for good: goaway exempt {module} {plain(source.client, _MAX_SUBJECT)}",) if module else ()
    return (f"let it in now: goaway unblock {plain(source.address, _MAX_SUBJECT)}", *lasting)


def _block_lines(decision: Decision, zone: ZoneInfo) -> tuple[str, ...]:
    until = f"until {clock(decision.until, zone)}" if decision.until is not None else "until it is lifted"
    verb = "would be blocked (shadow)" if decision.shadow else "blocked"
    where = f" on {decision.host}" if decision.host else ""
    first = f"{clock(decision.at, zone)}{where}: {verb} {until}"
    said = [first, f"why: {decision.code} {decision.reason}"]
    if evidence := _counted(decision.rule, decision.evidence):
        said.append(f"evidence: {evidence}")
    return tuple(said)


def _counted(rule: str, evidence: Evidence) -> str:
    """`requests_per_minute at 21 in 60 s, limit 20 (192.0.2.0/24), block 2 in a row`."""
    said = rule
    if evidence.count or evidence.limit:
        said += f" at {evidence.count}"
        said += f" in {evidence.window_s} s" if evidence.window_s else ""
        said += f", limit {evidence.limit}" if evidence.limit else ""
        said += f" ({evidence.network})" if evidence.network else ""
    if evidence.strike > 1:
        said += f", block {evidence.strike} in a row"
    return f"{said}, {evidence.note}" if evidence.note else said

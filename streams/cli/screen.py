"""What `goaway up` and `goaway status` show: the parts, who was refused and why, what to do next."""

from collections.abc import Sequence
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.embedded.up.plan import Part
from streams.engine.advice import standing_decisions
from streams.model.decision import Decision
from streams.model.instant import rfc3339
from streams.model.policy import Replies
from streams.model.standing import PolicyIndex

COLOURS = {"runs": "green", "done": "green", "starts": "yellow", "ended": "red"}

SHOWN = {
    "broker": ("kind", "address", "memory"),
    "clickhouse": ("address",),
    "shim": ("caught_up", "decisions_standing", "requests", "refused", "listening"),
    "worker": ("events", "events_per_s", "decisions", "clients", "records_waiting", "unreadable"),
    "reputation": ("looked_up", "listed", "zones_out", "waiting", "records_waiting"),
    "notify": ("messages", "notices_told", "notices_waiting", "trouble"),
    "sink": ("rows", "lag", "trouble"),
    "sample": ("lines_read", "events", "bytes_behind", "trouble"),
    "ship": ("lines_read", "events", "bytes_behind", "unreadable", "trouble"),
}
"""Facts of a stage that fit on its line, in order."""

_ONLY_TROUBLE: Final = frozenset((("worker", "unreadable"),))
"""Facts that are shown where they are not 0."""

WIDE = 100
"""Columns from which on process ids and reasons are shown on a terminal."""


def parts_table(parts: Sequence[Part], *, width: int | None = None) -> Table:
    """One row a part; on a terminal of that many columns, one line, cut where it is too long."""
    with_pids = width is None or width >= WIDE
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("part", "state", *(("pid",) if with_pids else ()), "restarts"):
        table.add_column(name, no_wrap=True)
    table.add_column("facts")
    fits = width is not None
    for part in parts:
        stage = part.name.partition("-")[0]
        facts = ", ".join(
            f"{name.replace('_', ' ')} {_fact(value)}"
            for name in SHOWN.get(stage, ())
            if (value := part.facts.get(name)) not in ("", None)
            and (value or (stage, name) not in _ONLY_TROUBLE)
        )
        table.add_row(
            part.name,
            Text(part.state, style=COLOURS.get(part.state, "")),
            *((str(part.pid or ""),) if with_pids else ()),
            str(part.restarts or ""),
            Text(part.note or facts, no_wrap=fits, overflow="ellipsis" if fits else "fold"),
        )
    return table


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)[:120]


def why(decision: Decision) -> str:
    """The evidence in words: `requests_per_minute: 21 in 60 s, limit 20`."""
    evidence = decision.evidence
    if decision.action == "release":
        # what was counted (of a listing: what the zones say) is no longer against it
        return f"{decision.rule}: {ascii(evidence.note)[1:-1]}" if evidence.note else decision.rule
    if decision.trigger == "protocol":
        return f"{decision.rule}: {evidence.count} in {evidence.window_s} s, threshold {evidence.limit}"
    if decision.trigger == "greylist":
        return f"{decision.rule}: {evidence.count} first attempts without a retry in {evidence.window_s} s"
    if decision.trigger != "rate":
        return f"{decision.rule}: {evidence.network or ascii(evidence.note)[1:-1]}"
    window = f" in {evidence.window_s} s" if evidence.window_s else " open"
    source = f" ({evidence.network})" if evidence.network else ""
    return f"{decision.rule}: {evidence.count}{window}, limit {evidence.limit}{source}"


def refusals_table(
    decisions: Sequence[Decision], *, index: PolicyIndex | None, now: int, width: int | None = None
) -> Table:
    """Who was told to go away, newest first; an address and a time are never cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("at (UTC)", no_wrap=True)
    table.add_column("client", no_wrap=True, overflow="fold")
    table.add_column("answer")
    table.add_column("why")
    table.add_column("until", no_wrap=True)
    with_reasons = width is None or width >= WIDE
    for one in decisions:
        until = "the entry is removed" if one.until is None else rfc3339(one.until)[11:19]
        ended = standing(one, index, now)
        answer = f"{one.code} {escape(one.reason)}" if with_reasons else str(one.code)
        table.add_row(
            rfc3339(one.at)[11:19],
            Text(one.client, style="" if ended else "bold"),
            f"in shadow: {answer}" if one.shadow else answer,
            escape(why(one)),
            f"{until}{f' ({ended})' if ended and not one.shadow else ''}",
        )
    return table


def standing(block: Decision, index: PolicyIndex | None, now: int) -> Literal["", "over", "lifted", "shadow"]:
    """Empty where a block refuses its client at this instant; `lifted`: by an exemption, a suspension, a
    change of the policy, where that is known."""
    if block.shadow:
        return "shadow"
    if block.until is not None and block.until <= now:
        return "over"
    if index is None:
        return ""
    if block.trigger == "blocklist":
        return "" if index.standing(block.address).blocked(now) else "over"
    (stands,) = standing_decisions(index, block.address, [block], now)
    return "lifted" if stands.lifted_by else ""


def refusal_line(decision: Decision, replies: Replies) -> str:
    """One decision on one line, for a log; `replies`: how the policy has it said."""
    until = "the entry is removed" if decision.until is None else rfc3339(decision.until)
    what = "IN SHADOW" if decision.shadow else "REFUSED"
    return (
        f"{rfc3339(decision.at)} {what} {decision.client}: {decision.code} {replies.enhanced_status} "
        f"{replies.opening}: {decision.reason} ({why(decision)}; until {until})"
    )


def overview(
    parts: Sequence[Part],
    decisions: Sequence[Decision],
    *,
    counted: str,
    index: PolicyIndex | None,
    now: int,
    hints: Sequence[str],
    trouble: str = "",
    width: int | None = None,
) -> RenderableType:
    """The one screen; `width` is that of a terminal which it must fit, in columns.

    `counted` says how many the decisions are; `index` is the policy in force, where it is known; `trouble`
    says why the decisions are not known.
    """
    refused = Text(f"\nWho was told to go away ({counted})", style="bold")
    body: RenderableType
    if trouble:
        refused = Text("\nWho was told to go away", style="bold")
        body = Text(f"not known: {trouble}; the shim goes on refusing by what it knows", style="yellow")
    elif decisions:
        body = refusals_table(decisions, index=index, now=now, width=width)
    else:
        body = Text("nobody yet", style="dim")
    return Group(
        parts_table(parts, width=width), refused, body, Text(""), *(Text(hint, style="dim") for hint in hints)
    )

"""What `goaway up` and `goaway status` show: the parts, who was refused and why, what to do next."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.embedded.up.plan import Part
from streams.model.decision import Decision
from streams.model.instant import rfc3339
from streams.model.policy import Replies

COLOURS = {"runs": "green", "done": "green", "starts": "yellow", "ended": "red"}

SHOWN = {
    "broker": ("kind", "address", "memory"),
    "clickhouse": ("address",),
    "shim": ("caught_up", "decisions_standing", "requests", "refused", "listening"),
    "worker": ("events", "events_per_s", "decisions", "clients", "records_waiting"),
    "reputation": ("looked_up", "listed", "zones_out", "waiting", "records_waiting"),
    "notify": ("messages", "notices_told", "notices_waiting", "trouble"),
    "sink": ("rows", "lag", "trouble"),
    "sample": ("lines_read", "events", "bytes_behind", "trouble"),
    "ship": ("lines_read", "events", "bytes_behind", "unreadable", "trouble"),
}
"""Facts of a stage that fit on its line, in order."""


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
        chosen = SHOWN.get(part.name.partition("-")[0], ())
        facts = ", ".join(
            f"{name.replace('_', ' ')} {_fact(part.facts[name])}"
            for name in chosen
            if name in part.facts and part.facts[name] not in ("", None)
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
    if decision.trigger == "protocol":
        return f"{decision.rule}: {evidence.count} in {evidence.window_s} s, threshold {evidence.limit}"
    if decision.trigger == "greylist":
        return f"{decision.rule}: {evidence.count} first attempts without a retry in {evidence.window_s} s"
    if decision.trigger != "rate":
        return f"{decision.rule}: {evidence.network or ascii(evidence.note)[1:-1]}"
    window = f" in {evidence.window_s} s" if evidence.window_s else " open"
    source = f" ({evidence.network})" if evidence.network else ""
    return f"{decision.rule}: {evidence.count}{window}, limit {evidence.limit}{source}"


def refusals_table(decisions: Sequence[Decision], *, now: int, width: int | None = None) -> Table:
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
        stands = one.until is None or one.until > now
        table.add_row(
            rfc3339(one.at)[11:19],
            Text(one.client, style="bold" if stands else ""),
            f"{one.code} {escape(one.reason)}" if with_reasons else str(one.code),
            escape(why(one)),
            f"{until}{'' if stands else ' (over)'}",
        )
    return table


def refusal_line(decision: Decision) -> str:
    """One decision on one line, for a log."""
    replies = Replies()
    until = "the entry is removed" if decision.until is None else rfc3339(decision.until)
    return (
        f"{rfc3339(decision.at)} REFUSED {decision.client}: {decision.code} {replies.enhanced_status} "
        f"{replies.opening}: {decision.reason} ({why(decision)}; until {until})"
    )


def overview(
    parts: Sequence[Part],
    decisions: Sequence[Decision],
    *,
    total: int,
    now: int,
    hints: Sequence[str],
    width: int | None = None,
) -> RenderableType:
    """The one screen; `width` is that of a terminal which it must fit, in columns."""
    refused = Text(f"\nWho was told to go away ({total} so far)", style="bold")
    body: RenderableType = (
        refusals_table(decisions, now=now, width=width) if decisions else Text("nobody yet", style="dim")
    )
    return Group(
        parts_table(parts, width=width), refused, body, Text(""), *(Text(hint, style="dim") for hint in hints)
    )

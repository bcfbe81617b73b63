"""The month as one HTML page: nothing is loaded, no script runs, and what remotes wrote is text."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from streams.audit.month_series import BY_MTA, OTHER
from streams.audit.monthly import Month
from streams.audit.proposals import Proposal
from streams.audit.report.charts import Bar, bars, heat_map, stacked_days
from streams.audit.report.style import STYLE
from streams.audit.report.text import number, safe
from streams.model.instant import rfc3339
from streams.model.policy import MODULE_OF

SHOWN: Final = {"exempt": 30, "block": 30, "remove": 50, "look": 30}
"""Proposals of each kind on the page; the CSV has all."""
TITLES: Final = {
    "exempt": ("To exempt", "They connect often and mean well; a limit would meet them first."),
    "block": (
        "To block",
        "They connected and delivered nothing in this month, nor in the twelve before it. "
        "The note of a block is part of the answer that the client is given: write what it may read.",
    ),
    "remove": ("To remove", "Exemptions that nobody uses."),
    "look": ("To look at", "Not clear enough to propose anything; look before you act."),
}
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


def report(month: Month) -> str:
    """The whole page."""
    parts = [_head(month), *_figures(month), *_proposals(month), *_refused(month), *_changed(month)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Goaway: audit of {safe(month.name)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _head(month: Month) -> str:
    remarks = "".join(f'<p class="remark">{safe(it, 400)}</p>' for it in month.remarks)
    return (
        f"<h1>Audit of {safe(month.name)}</h1>"
        f'<p class="quiet">{rfc3339(month.start)[:10]} up to {rfc3339(month.end)[:10]}, times in UTC. '
        f"{month.days} of {month.days_in_month} days have data; made on {_minute(month.made_at)}</p>{remarks}"
    )


def _figures(month: Month) -> Iterable[str]:
    if month.total is None:
        yield "<p>Nothing was seen in this month.</p>"
        return
    counts, before = month.total.counts, month.before
    cards = [("clients", month.total.clients, before.clients if before else None)]
    for name, label in (
        ("connections", "connections"),
        ("messages", "messages"),
        ("refusals", "refusals"),
        ("go_aways", "of them by Goaway"),
        ("violations", "violations"),
    ):
        cards.append((label, counts[name], before.counts[name] if before else None))
    yield '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"
    yield "<h2>The month</h2>"
    triggers = [
        it
        for it in (*MODULE_OF, "blocklist", OTHER, BY_MTA)
        if any(it in day.refusals for day in month.daily)
    ]
    series = {it: [day.refusals.get(it, 0) for day in month.daily] for it in triggers}
    if series:
        yield _figure("Refusals by day, and what brought them about", stacked_days(series, "refusals by day"))
    else:
        yield "<p>Nothing was refused.</p>"
    rows = [
        Bar(
            f"{row.name} {month.names.get(row.name, '')}".strip(),
            row.counts["connections"],
            f"({number(row.counts['messages'])} {'message' if row.counts['messages'] == 1 else 'messages'})",
            row.counts["refusals"],
        )
        for row in month.top
    ]
    yield _figure(
        "Who connected most; the part of the bar in the second colour: refusals", bars(rows, "top clients")
    )
    cells = {(day, hour): count for day, hour, count in month.hourly}
    yield _figure(
        "Connections by day (down) and hour (across), in logarithmic shades",
        heat_map(cells, "hours of the month"),
    )


def _card(label: str, value: int, before: int | None) -> str:
    was = "" if before is None else f"<br>before: {number(before)}"
    return f'<div class="card"><b>{number(value)}</b><span>{safe(label)}{was}</span></div>'


def _minute(at: int) -> str:
    return rfc3339(at)[:16].replace("T", " ")


def _figure(caption: str, chart: str) -> str:
    return f"<figure><figcaption>{safe(caption)}</figcaption>{chart}</figure>"


def _proposals(month: Month) -> Iterable[str]:
    for kind, (title, what) in TITLES.items():
        of_kind = [it for it in month.proposals if it.kind == kind]
        if not of_kind:
            continue
        yield f'<h2>{title} ({len(of_kind)})</h2><p class="quiet">{what}</p>'
        yield from map(_proposal, of_kind[: SHOWN[kind]])
        if len(of_kind) > SHOWN[kind]:
            yield f'<p class="quiet">and {len(of_kind) - SHOWN[kind]} more: goaway audit --csv</p>'
    if not month.proposals:
        yield "<h2>Nothing to propose</h2><p>No client and no exemption stands out.</p>"


def _proposal(it: Proposal) -> str:
    command = f"<code>{_command(it.command)}</code>" if it.command else ""
    return (
        f'<div class="proposal {it.kind}"><span class="tag">{it.kind}</span><b>{safe(it.subject)}</b>'
        f'<p class="why">{safe(it.why, 400)}</p>'
        f'<p class="evidence">{_evidence(it.evidence)}</p>{command}</div>'
    )


def _command(text: str) -> str:
    """A command whose flags are not broken at their hyphens."""
    words = (safe(word, 600) for word in text.split(" "))
    return " ".join(f'<span class="flag">{word}</span>' if word.startswith("-") else word for word in words)


def _evidence(evidence: dict[str, Any]) -> str:
    parts = []
    for name, value in evidence.items():
        if value == "":
            continue
        text = number(value) if isinstance(value, int) else safe(value, 300)
        parts.append(f"{safe(name.replace('_', ' '))} <strong>{text}</strong>")
    return " · ".join(parts)


def _refused(month: Month) -> Iterable[str]:
    if month.refused:
        yield "<h2>Who was refused most, and why</h2>"
        yield _table(
            ("client", "refused", "by Goaway", "connections", "messages", "why"),
            [
                (
                    f"{it.row.name} {it.ptr}".strip(),
                    it.row.counts["refusals"],
                    it.row.counts["go_aways"],
                    it.row.counts["connections"],
                    it.row.counts["messages"],
                    "; ".join(f"{why} ({number(count)})" for why, count in it.reasons[:3]),
                )
                for it in month.refused
            ],
        )
    if month.rules:
        yield "<h2>What the rules did</h2>"
        yield _table(
            ("rule", "blocks", "released early", "warnings", "clients"),
            [
                (
                    f"{it.trigger}: {it.rule or '–'}{' (shadow: nobody was refused)' if it.shadow else ''}",
                    it.blocks,
                    it.releases,
                    it.warnings,
                    it.clients,
                )
                for it in month.rules
            ],
        )
    if month.warned:
        yield "<h2>Warnings</h2>"
        yield _table(
            ("about", "rule", "times", "highest", "last"),
            [
                (
                    it.subject,
                    it.text or f"{it.rule}, limit {it.limit}",
                    it.times,
                    it.highest or "–",
                    _minute(it.last),
                )
                for it in month.warned
            ],
        )


def _changed(month: Month) -> Iterable[str]:
    if month.compared:
        yield "<h2>Changes against the month before</h2>"
        yield _table(
            ("client", "what", "connections", "before", "messages", "before ", "refusals", "before  "),
            [
                (
                    f"{it.client} {month.names.get(it.client, '')}".strip(),
                    it.what,
                    *it.connections,
                    *it.messages,
                    *it.refusals,
                )
                for it in month.compared
            ],
        )
    yield "<h2>Changes of the policy</h2>"
    if not month.changes:
        yield "<p>None on record.</p>"
        return
    yield _table(
        ("when", "number", "who", "what", "note"),
        [(_minute(it.at), it.number, it.who, it.what, it.note or "–") for it in month.changes],
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numeric = [all(isinstance(row[at], int) for row in rows) for at in range(len(heading))]
    head = "".join(
        f"<th{' class=n' if is_number else ''}>{safe(name.strip())}</th>"
        for name, is_number in zip(heading, numeric, strict=True)
    )
    body = []
    for row in rows:
        cells = []
        for name, is_number, value in zip(heading, numeric, row, strict=True):
            text = number(value) if isinstance(value, int) else safe(value, 300)
            cells.append(
                f'<td{" class=n" if is_number else ""} data-label="{safe(name.strip())}">{text}</td>'
            )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'

"""What a candidate would have done, as a row of a table, as a page, as JSON and in words."""

from collections.abc import Sequence
from datetime import tzinfo

from streams.audit.shadow_report import Compared, Difference, Side
from streams.cli.period import local
from streams.model.instant import Instant, rfc3339
from streams.replay.page import heading, page, paragraph, table

_COLUMNS = ("client", "refused by", "first", "blocks", "more s", "less s", "mail", "lost")
"""`more s`: seconds refused by the candidate only; `less s`: by the policy in force only; `lost`: messages
that were delivered while the candidate would have refused."""
_MOST = 500
"""Clients on the page that are not known to deliver mail; the JSON has all of them."""
_SPANS = 5
_SPANS_SHOWN = 4
_MEANING = (
    "blocks: the candidate's/those in force; more s: seconds in which only the candidate refuses; less s: in "
    "which only the policy in force does; mail: messages delivered; lost: those of them that were delivered "
    "while the candidate would have refused."
)


def in_words(found: Compared) -> str:
    """The whole in a sentence or two."""
    refused = (
        f"The candidate refuses {_clients(found.refused_candidate)}, the policy in force "
        f"{found.refused_live:,}, both {found.refused_both:,}."
    )
    if not found.differences:
        return f"Nobody would have been treated differently. {refused}"
    more = [it for it in found.differences if it.candidate.alone_s or it.candidate.alone]
    lost = sum(it.candidate.messages or 0 for it in more)
    known = sum(it.legitimate for it in more)
    costs = f", {known:,} of them known to deliver mail ({lost:,} messages in that time)" if known else ""
    less = sum(bool(it.live.alone_s or it.live.alone) for it in found.differences)
    return (
        f"Refused by the candidate while the policy in force lets them in: {_clients(len(more))}{costs}. The "
        f"other way round: {_clients(less)}. {refused}"
    )


def _clients(count: int) -> str:
    return f"{count:,} client{'' if count == 1 else 's'}"


def first_of(it: Difference) -> Instant:
    """When the client is refused for the first time, by either."""
    return min(at for at in (it.candidate.first, it.live.first) if at is not None)


def who(it: Difference) -> str:
    """Who refuses it."""
    return "in force" if it.where == "live" else it.where


def _row(it: Difference, zone: tzinfo) -> tuple[object, ...]:
    return (
        it.client,
        who(it),
        local(first_of(it), zone, seconds=False),
        f"{it.candidate.blocks}/{it.live.blocks}",
        it.candidate.alone_s,
        it.live.alone_s,
        "–" if it.messages is None else it.messages,
        "–" if it.candidate.messages is None else it.candidate.messages,
    )


def as_json(found: Compared) -> dict[str, object]:
    """Everything, for a program to read; times in RFC 3339, lengths in seconds."""
    return {
        "from": rfc3339(found.start),
        "to": rfc3339(found.end),
        "same": not found.differences,
        "refused": {
            "candidate": found.refused_candidate,
            "live": found.refused_live,
            "both": found.refused_both,
        },
        "left_out": found.left_out,
        "triggers": {
            name: {"candidate": it.candidate, "live": it.live, "same": it.same}
            for name, it in found.triggers.items()
        },
        "differences": [
            {
                "client": it.client,
                "where": it.where,
                "name": it.name,
                "messages": it.messages,
                "candidate": _side(it.candidate),
                "live": _side(it.live),
            }
            for it in found.differences
        ],
    }


def _side(it: Side) -> dict[str, object]:
    return {
        "blocks": it.blocks,
        "alone": it.alone,
        "refused_s": it.refused_s,
        "alone_s": it.alone_s,
        "first": None if it.first is None else rfc3339(it.first),
        "last": None if it.last is None else rfc3339(it.last),
        "by": it.by,
        "spans": [(rfc3339(at), rfc3339(until)) for at, until in it.spans[:_SPANS]],
        "messages": it.messages,
    }


def shadow_page(found: Compared, lines: Sequence[str], zone: tzinfo) -> str:
    """The page; `lines` say which candidate it is about, and when it was tried."""
    known = [it for it in found.differences if it.legitimate]
    rest = [it for it in found.differences if not it.legitimate]
    totals = [(name, it.candidate, it.live, it.same) for name, it in found.triggers.items()]
    unknown = any(it.messages is None for it in found.differences)
    none = "ClickHouse would have to say." if unknown else "None is treated differently."
    parts = [
        *(paragraph(line, kind="soft") for line in lines),
        paragraph(in_words(found), kind="big warn" if known else "big"),
        heading("Known to deliver mail"),
        _table(known, zone) if known else paragraph(none),
        heading("Everybody else"),
        _table(rest[:_MOST], zone) if rest else paragraph("Nobody is treated differently."),
        *([paragraph(f"And {len(rest) - _MOST:,} others; --json has them.")] if len(rest) > _MOST else []),
        paragraph(_MEANING, kind="soft"),
        heading("Blocks by trigger"),
        table(("trigger", "candidate", "in force", "both at once"), totals),
    ]
    return page("A candidate beside the policy in force", parts)


def _table(found: Sequence[Difference], zone: tzinfo) -> str:
    names = (*_COLUMNS, "by", "when only one refuses it")
    return table(names, ((*_row(it, zone), _by(it), _times(it, zone)) for it in found))


def _by(it: Difference) -> str:
    return "; ".join(dict.fromkeys([*it.candidate.by, *it.live.by]))


def _times(it: Difference, zone: tzinfo) -> str:
    def words(spans: Sequence[tuple[Instant, Instant]]) -> str:
        shown = [_span(local(at, zone), local(until, zone)) for at, until in spans[:_SPANS_SHOWN]]
        return ", ".join(shown) + (", …" if len(spans) > _SPANS_SHOWN else "")

    sides = (("candidate", it.candidate), ("in force", it.live))
    return "; ".join(f"{name}: {words(side.spans)}" for name, side in sides if side.spans)


def _span(at: str, until: str) -> str:
    """`2026-11-01 08:00:00 to 08:01:00`"""
    return f"{at} to {until[11:] if at[:10] == until[:10] else until}"

"""A comparison of two policies as a page, as JSON, and in words."""

import msgspec

from streams.model.instant import Instant, rfc3339
from streams.replay.compare import Compared, Difference, Refusals, seconds
from streams.replay.page import heading, page, paragraph, table

_MOST = 500
"""Clients on the page; the JSON has all of them."""


def compare_page(found: Compared, *, names: tuple[str, str]) -> str:
    """The page; `names` are what the user calls the two policies."""
    known = [it for it in found.differences if it.protected]
    rest = [it for it in found.differences if not it.protected]
    parts = [
        paragraph(f"A is {names[0]}, version {found.a}; B is {names[1]}, version {found.b}.", kind="soft"),
        paragraph(in_words(found), kind="big warn" if known else "big"),
        heading("Known legitimate senders"),
        _table(known) if known else paragraph("None is treated differently."),
        heading("Everybody else"),
        _table(rest) if rest else paragraph("Nobody is treated differently."),
    ]
    if len(rest) > _MOST:
        parts.append(paragraph(f"And {len(rest) - _MOST:,} more; --json has them."))
    return page("Two policies over one history", parts)


def in_words(found: Compared) -> str:
    """The whole in a sentence or two."""
    if not found.differences:
        return f"Same: of {found.clients:,} clients none is refused under one and not under the other."
    known = sum(it.protected for it in found.differences)
    return (
        f"{len(found.differences):,} of {found.clients:,} clients are refused differently, {known:,} of them "
        f"known legitimate senders. A refuses {found.refused_a:,} clients and {found.attempts_a:,} attempts, "
        f"B {found.refused_b:,} clients and {found.attempts_b:,} attempts."
    )


def as_json(found: Compared) -> dict[str, object]:
    """Everything, for a program to read; times in RFC 3339, lengths in seconds."""
    return {
        **{name: getattr(found, name) for name in Compared.__struct_fields__ if name != "differences"},
        "same": not found.differences,
        "differences": [
            {
                "client": it.client,
                "where": it.where,
                "ptr": it.ptr,
                "connects": it.connects,
                "messages": it.messages,
                "legitimate": it.protected,
                "legitimacy": msgspec.to_builtins(it.legitimacy),
                "a": _refusals(it.a),
                "b": _refusals(it.b),
            }
            for it in found.differences
        ],
    }


def _refusals(it: Refusals) -> dict[str, object]:
    return {
        "blocks": it.blocks,
        "attempts": it.attempts,
        "blocked_s": seconds(it.blocked_us),
        "first": None if it.first is None else rfc3339(it.first),
        "last": None if it.last is None else rfc3339(it.last),
        "triggers": it.triggers,
        "spans": [(rfc3339(at), None if until is None else rfc3339(until)) for at, until in it.spans],
    }


def row(it: Difference) -> tuple[object, ...]:
    """One client: under which, first refused when, how often and how long under A and under B, by what."""
    first = min((at for at in (it.a.first, it.b.first) if at is not None), default=None)
    return (
        it.client,
        it.where,
        _moment(first),
        it.a.attempts,
        it.b.attempts,
        seconds(it.a.blocked_us),
        seconds(it.b.blocked_us),
        it.messages,
    )


COLUMNS = ("client", "under", "first (UTC)", "attempts A", "B", "seconds A", "B", "messages")


def _table(found: list[Difference]) -> str:
    return table(
        (*COLUMNS, "by", "points", "why"),
        (
            (
                *row(it),
                "; ".join(dict.fromkeys([*it.a.triggers, *it.b.triggers])),
                it.legitimacy.score,
                "; ".join(it.legitimacy.reasons) or "nothing is known",
            )
            for it in found[:_MOST]
        ),
    )


def _moment(at: Instant | None) -> str:
    return "" if at is None else rfc3339(at)[:16].replace("T", " ")

"""A comparison of two policies as a page, as JSON, and in words."""

from collections.abc import Sequence

import msgspec

from streams.model.instant import Instant, rfc3339
from streams.replay.compare import Compared, Difference, Refusals, seconds
from streams.replay.page import heading, page, paragraph, table

_MOST = 500
"""Clients on the page that are not known to be legitimate; the JSON has all of them."""


def compare_page(found: Compared, *, names: tuple[str, str]) -> str:
    """The page; `names` are what the user calls the two policies."""
    known = [it for it in found.differences if it.protected]
    rest = [it for it in found.differences if not it.protected]
    parts = [
        paragraph(f"{policies(found, names)} {period(found)}", kind="soft"),
        paragraph(in_words(found), kind="big warn" if known or not found.same else "big"),
        *(paragraph(it.said, kind="big warn") for it in found.unjudged),
        heading("Known legitimate senders"),
        _table(known) if known else paragraph("None is treated differently."),
        heading("Everybody else"),
        _table(rest[:_MOST]) if rest else paragraph("Nobody is treated differently."),
    ]
    if len(rest) > _MOST:
        parts.append(paragraph(f"And {len(rest) - _MOST:,} others; --json has them."))
    return page("Two policies over one history", parts)


def policies(found: Compared, names: Sequence[str]) -> str:
    """Which policy is which."""
    a, b = (
        name if name == version else f"{name}, version {version}"
        for name, version in zip(names, (found.a, found.b), strict=True)
    )
    return f"A is {a}; B is {b}."


def period(found: Compared) -> str:
    """From when to when the history reaches."""
    return f"The history: {moment(found.first)} to {moment(found.last)} UTC."


def in_words(found: Compared) -> str:
    """The whole in a sentence or two."""
    if not found.differences:
        none = f"of {found.clients:,} clients none is refused under one and not under the other."
        return f"By what can be judged, {none}" if found.unjudged else f"Same: {none}"
    known = sum(it.protected for it in found.differences)
    return (
        f"{len(found.differences):,} of {found.clients:,} clients are refused differently; known legitimate "
        f"senders among them: {known:,}. A refuses {found.refused_a:,} clients and {found.attempts_a:,} "
        f"attempts, B {found.refused_b:,} clients and {found.attempts_b:,} attempts."
    )


def as_json(found: Compared) -> dict[str, object]:
    """Everything, for a program to read; times in RFC 3339, lengths in seconds."""
    return {
        **{name: getattr(found, name) for name in Compared.__struct_fields__},
        "first": rfc3339(found.first),
        "last": rfc3339(found.last),
        "same": found.same,
        "unjudged": [{**msgspec.structs.asdict(it), "said": it.said} for it in found.unjudged],
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


def first_of(it: Difference) -> Instant | None:
    """When the client is refused for the first time, under either."""
    return min((at for at in (it.a.first, it.b.first) if at is not None), default=None)


def _row(it: Difference) -> tuple[object, ...]:
    return (
        it.client,
        it.where,
        moment(first_of(it)),
        it.a.attempts,
        it.b.attempts,
        seconds(it.a.blocked_us),
        seconds(it.b.blocked_us),
        it.messages,
    )


_COLUMNS = (
    "client",
    "under",
    "first (UTC)",
    "attempts A",
    "attempts B",
    "seconds A",
    "seconds B",
    "messages",
)


def _table(found: list[Difference]) -> str:
    return table(
        (*_COLUMNS, "by", "points", "why"),
        (
            (
                *_row(it),
                "; ".join(dict.fromkeys([*it.a.triggers, *it.b.triggers])),
                it.legitimacy.score,
                "; ".join(it.legitimacy.reasons) or "nothing is known",
            )
            for it in found
        ),
    )


def moment(at: Instant | None) -> str:
    """A time as people write it, in UTC."""
    return "" if at is None else rfc3339(at)[:16].replace("T", " ")

"""Tables of a preview, and texts that somebody else wrote: bounded, and nothing in them obeyed."""

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from streams import charts
from streams.wire.policy_words import escaped

ROWS: Final = 12
"""Rows of a table that are shown."""
_LONGEST: Final = 140
"""Characters of a text that are shown."""
_LONGEST_WORD: Final = 48
"""Characters of a table's word that are shown: a longer one would take the room of the other columns."""
_UNBROKEN: Final = 16
"""Characters of a word that is not broken: an IPv4 address has room anywhere."""


def table(names: Sequence[str], rows: Sequence[Sequence[Any]], units: Mapping[str, str], zone: tzinfo) -> str:
    """The first rows; moments as this zone has them, numbers in the unit that their column has."""
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    body = []
    for row in rows[:ROWS]:
        cells = (
            _cell(name, value, units.get(name, ""), zone) for name, value in zip(names, row, strict=True)
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<p class="note">and {len(rows) - ROWS} more</p>' if len(rows) > ROWS else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{more}"
    )


def _cell(name: str, value: Any, unit: str, zone: tzinfo) -> str:
    label = f'data-name="{text(name)}"'
    if isinstance(value, datetime):
        return f"<td {label} class=when>{moment(seconds(value), zone)}</td>"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"<td {label} class=number>{html.escape(charts.shown(float(value), unit))}</td>"
    whole = "" if value is None else str(value)
    short = " ".join(charts.cut(word, _LONGEST_WORD) for word in whole.split(" "))
    title = f' title="{text(whole)}"' if short != whole else ""
    kept = " class=short" if max(map(len, short.split(" "))) <= _UNBROKEN else ""
    return f"<td {label}{kept}{title}>{text(short)}</td>"


def text(value: object, *, markup: bool = True) -> str:
    """Without its middle where it is long, control characters written out; as markup where it is to be."""
    plain = escaped(charts.cut(str(value), _LONGEST))
    return html.escape(plain) if markup else plain


def seconds(value: datetime) -> float:
    """Since 1970; a moment without a zone is one of UTC."""
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def moment(at: float, zone: tzinfo) -> str:
    """`2026-11-01 08:00:00`"""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")

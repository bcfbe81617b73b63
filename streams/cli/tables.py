"""Answers as tables, JSON and CSV; no terminal or spreadsheet obeys what a remote wrote."""

import csv
import io
import json
import os
import re
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.audit.report.text import bounded
from streams.wire.policy_words import escaped

MAX_CELL: Final = 200
_SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with, full-width as well."""
_FORMULA: Final = re.compile(rf"\A(?= *[{_SIGNS}\t\r])|(?<=[;\t\r\n])(?=[ \"]*[{_SIGNS}])")
"""Where a formula would begin: at the beginning of a cell, and where a spreadsheet that does not separate by
commas would see another one begin, quoted by us or not."""
BOM: Final = "\ufeff"
"""The mark by which a spreadsheet knows UTF-8."""
_KEY_WIDTH: Final = len("2001:db80:1234:5678::/64")
"""No column is broken to less: a client stays in one piece."""


def cell(text: object, longest: int = MAX_CELL) -> str:
    """A text as a terminal may have it: bounded, control characters written out."""
    return escaped(bounded(str(text), longest))


def spreadsheet(value: object) -> str:
    """A value as a cell of CSV: wherever a spreadsheet would see a formula begin, there is an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    return _FORMULA.sub("'", str(value))


def write_csv(out: TextIO, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV with CRLF line ends (RFC 4180), its first row the heading."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heading)
    for row in rows:
        writer.writerow([spreadsheet(value) for value in row])


def print_csv(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV on standard output; where that is a new file, with the mark that spreadsheets want of UTF-8. What
    reads a pipe would take the mark for part of the first name."""
    out = io.StringIO(newline="")
    write_csv(out, heading, rows)
    click.echo(((BOM if _into_new_file() else "") + out.getvalue()).encode(), nl=False)


def _into_new_file() -> bool:
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # nothing that has a file behind it
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on one line, ASCII only."""
    click.echo(json.dumps(document, ensure_ascii=True))


def print_table(
    heading: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    total: Sequence[object] = (),
    folded: int = 0,
    spare: Sequence[str] = (),
) -> None:
    """A table; numbers stand to the right. A text is cut at `MAX_CELL`; outside a terminal none is broken.

    Where a terminal is too narrow the first `folded` columns are broken, then the `spare` ones are left out
    one by one, which a line below says; where that is not enough, each row is a paragraph.
    """
    lines = [[shown(value) for value in row] for row in rows]
    footer = [shown(value) for value in total]
    columns = zip(heading, *lines, *([footer] if footer else []), strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sum(widths) + len(widths)
    fitted = _fitted(widths, room, folded, [heading.index(name) for name in spare])
    if not fitted:
        _print_stacked(heading, [*lines, *([footer] if footer else [])], room)
        return
    table = Table(
        box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), show_footer=bool(total)
    )
    for place, width in fitted.items():
        values = [row[place] for row in rows] or [""]
        is_number = (
            all(isinstance(value, (int, float)) or value in ("", "–") for value in values) and place > 0
        )
        table.add_column(
            heading[place],
            justify="right" if is_number else "left",
            no_wrap=place >= folded,
            overflow="fold",
            width=width,
            footer=Text(footer[place] if footer else "", style="bold"),
        )
    for line in lines:
        table.add_row(*(Text(line[place]) for place in fitted))
    Console(width=sum(fitted.values()) + len(fitted)).print(table)
    left_out = [name for place, name in enumerate(heading) if place not in fitted]
    if left_out:
        click.echo(f"left out for want of room: {', '.join(left_out)}; --json has all")


def _fitted(widths: Sequence[int], room: int, folded: int, spare: Sequence[int]) -> dict[int, int]:
    """Place → width of the columns that stand in `room`; empty where even without the spare ones some do
    not."""
    for left_out in range(len(spare) + 1):
        found = {place: width for place, width in enumerate(widths) if place not in spare[:left_out]}
        over = sum(found.values()) + len(found) - 1 - room
        for place in range(folded):
            taken = max(0, min(over, found[place] - _KEY_WIDTH))
            found[place] -= taken
            over -= taken
        if over <= 0:
            return found
    return {}


def _print_stacked(heading: Sequence[str], lines: Sequence[Sequence[str]], room: int) -> None:
    """Each row as a paragraph: its first cell, then the others behind their names."""
    for first, *others in lines:
        click.echo(first)
        pairs = (f"{name} {value}" for name, value in zip(heading[1:], others, strict=True) if value)
        # a pair stays on one line: what holds it together is no place to break at
        text = "  ".join(pair.replace(" ", "\u00a0") for pair in pairs)
        wrapped = textwrap.fill(
            text,
            room,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        click.echo(wrapped.replace("\u00a0", " "))


def print_wrapped(text: str, *, indent: str = "", hanging: str = "", colour: str | None = None) -> None:
    """A paragraph as wide as the terminal, and at most 80 columns; `hanging` is the indent from its second
    line on. Control characters are written out."""
    text = "\n".join(map(escaped, text.split("\n")))
    width = max(30, min(80, shutil.get_terminal_size().columns))
    click.secho(click.wrap_text(text, width, indent, hanging or indent), fg=colour)


def shown(value: object) -> str:
    """A cell of a table."""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else cell(value)

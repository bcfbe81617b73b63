"""Answers as tables, JSON and CSV; no terminal or spreadsheet obeys what a remote wrote."""

import csv
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.audit.report.text import bounded
from streams.wire.policy_words import escaped

MAX_CELL: Final = 200
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def cell(text: object, longest: int = MAX_CELL) -> str:
    """A text as a terminal may have it: bounded, control characters written out."""
    return escaped(bounded(str(text), longest))


def spreadsheet(value: object) -> str:
    """A value as a cell of CSV: what a spreadsheet would take for a formula has an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_csv(out: TextIO, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV with CRLF line ends (RFC 4180), its first row the heading."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heading)
    for row in rows:
        writer.writerow([spreadsheet(value) for value in row])


def print_csv(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV on standard output."""
    out = io.StringIO(newline="")
    write_csv(out, heading, rows)
    click.echo(out.getvalue().encode(), nl=False)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on one line, ASCII only."""
    click.echo(json.dumps(document, ensure_ascii=True))


def print_table(
    heading: Sequence[str], rows: Sequence[Sequence[object]], *, total: Sequence[object] = (), folded: int = 0
) -> None:
    """A table; numbers stand to the right. The first `folded` columns are broken where they do not fit."""
    table = Table(
        box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), show_footer=bool(total)
    )
    for place, name in enumerate(heading):
        values = [row[place] for row in rows] or [""]
        is_number = all(isinstance(value, int) or value in ("", "–") for value in values) and place > 0
        footer = shown(total[place]) if total else ""
        table.add_column(
            name,
            justify="right" if is_number else "left",
            no_wrap=place >= folded,
            overflow="fold",
            footer=Text(footer, style="bold"),
        )
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console().print(table)


def print_wrapped(text: str, *, indent: str = "", hanging: str = "", colour: str | None = None) -> None:
    """A paragraph as wide as the terminal, and at most 80 columns; `hanging` is the indent from its second
    line on."""
    width = max(30, min(80, shutil.get_terminal_size().columns))
    click.secho(click.wrap_text(text, width, indent, hanging or indent), fg=colour)


def shown(value: object) -> str:
    """A cell of a table."""
    return f"{value:,}" if isinstance(value, int) else cell(value)

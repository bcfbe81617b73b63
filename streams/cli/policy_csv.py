"""CSV of addresses: what `policy import` reads and `policy export --csv` writes."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from shlex import quote
from typing import Final

from streams.cli.policy_when import moment
from streams.errors import InvalidValueError, PolicyError, UsageError
from streams.model.client import Network
from streams.model.instant import Instant, rfc3339
from streams.model.policy import MODULES
from streams.wire.policy_values import commands, network_text, read_network

KINDS: Final = ("allow", "deny", *(f"exempt:{module}" for module in MODULES))
"""What a row becomes (`--as`, column `as`): exempt in every module, a block, or exempt in one module."""
COLUMNS: Final = ("as", "address", "note", "expires", "by")
SHOWN_FAULTS: Final = 10
_MAX_NOTE: Final = 256


@dataclass(frozen=True, slots=True)
class Row:
    """One row that reads; `kind` as in `KINDS`, empty where the file has no column for it."""

    line: int
    network: Network
    note: str = ""
    kind: str = ""
    expires: Instant | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used: its line number in the file, from 1, and why."""

    line: int
    what: str


def read_rows(content: bytes, *, file: str, at: int) -> list[Row]:
    """Every row, or `PolicyError` with the line numbers of the bad ones, ten at most, and nothing else.

    `address,note`; a first row that names its columns (any of `COLUMNS`, in any order) is a heading. UTF-8,
    with or without a byte order mark; empty lines and those that begin with `#` are passed over. A row that
    is expired at `at` is a bad one.
    """
    rows: list[Row] = []
    faults: list[Fault] = []
    for found in _read(content, at):
        if isinstance(found, Row):
            rows.append(found)
        else:
            faults.append(found)
    if faults:
        shown = "; ".join(f"line {fault.line}: {fault.what}" for fault in faults[:SHOWN_FAULTS])
        more = f"; and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise PolicyError(
            f"{file}: {len(faults)} of {len(faults) + len(rows)} rows cannot be used, so nothing is applied. "
            f"{shown}{more}",
            try_next=_look(faults[0].line, file),
        )
    if not rows:
        raise PolicyError(f"{file}: no row in it", try_next="printf 'address,note\\n192.0.2.7,why\\n'")
    return rows


def _look(line: int, file: str) -> str:
    """How that line is looked at."""
    if file == "-":
        return f"mend line {line} of what is piped in, then the same again"
    return f"sed -n {line}p {quote(file)}"


def _read(content: bytes, at: int) -> Iterator[Row | Fault]:
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(lines, newline=""), strict=True)
    columns: tuple[str, ...] | None = None
    before = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # what follows a quote that is never closed cannot be told apart into rows
            yield Fault(before + 1, f"is not CSV ({error})")
            return
        line, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        if columns is None:
            columns = _heading(cells)
            if columns is not None:
                if wrong := _wrong_heading(columns):
                    yield Fault(line, wrong)
                    return
                continue
            columns = ("address", "note")
        yield _row(line, cells, columns, at)


def _heading(cells: list[str]) -> tuple[str, ...] | None:
    """The columns where this row names them; what a spreadsheet leaves empty at the end is none."""
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return tuple(names) if "address" in names else None


def _wrong_heading(columns: tuple[str, ...]) -> str:
    """Why these columns cannot be read; empty where they can."""
    for place, name in enumerate(columns, start=1):
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1, cutoff=0.4)
            meant = f"did you mean {near[0]}? " if near else ""
            shown = f"column {ascii(name)[:32]} is not known" if name else f"column {place} has no name"
            return f"{shown}; {meant}known are {', '.join(COLUMNS)}"
        if name in columns[: place - 1]:
            return f"column {name} stands twice"
    return ""


def _row(line: int, cells: list[str], columns: tuple[str, ...], at: int) -> Row | Fault:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        wanted = ",".join(columns)
        return Fault(line, f"has {len(cells)} columns, not {wanted}; a note with a comma stands in quotes")
    found = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
    try:
        return Row(
            line=line,
            network=_network(found.get("address", "")),
            note=_text(found.get("note", ""), "note"),
            kind=_kind(found.get("as", "")),
            expires=moment(found["expires"], at, flag="expires") if found.get("expires") else None,
            by=_text(found.get("by", ""), "by"),
        )
    except UsageError as error:
        meant = error.try_next.removeprefix("expires ")
        return Fault(line, f"{error.what} (leave the row out, or write {meant})")
    except InvalidValueError as error:
        advice = f" (write {error.try_next})" if error.try_next else ""
        return Fault(line, f"{error.what}{advice}")


def _network(text: str) -> Network:
    if not text.isascii():
        raise InvalidValueError(f"{ascii(text)[:64]} is not an address or CIDR")
    return read_network(text)


def _text(text: str, name: str) -> str:
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        raise InvalidValueError(f"{name} is not UTF-8")
    if len(text) > _MAX_NOTE:
        raise InvalidValueError(f"{name} has {len(text)} characters, more than {_MAX_NOTE}")
    if commands(text):
        raise InvalidValueError(f"{name} has a line break or a control character")
    return text


def _kind(text: str) -> str:
    if text and text not in KINDS:
        raise InvalidValueError(f"as = {ascii(text)[:32]} is none of {', '.join(KINDS)}")
    return text


def write_rows(rows: Iterable[Row]) -> str:
    """CSV with a heading that `read_rows` reads back."""
    written = io.StringIO(newline="")
    out = csv.writer(written, lineterminator="\n")
    out.writerow(COLUMNS)
    for row in rows:
        expires = "" if row.expires is None else rfc3339(row.expires)
        out.writerow((row.kind, network_text(row.network), row.note, expires, row.by))
    return written.getvalue()

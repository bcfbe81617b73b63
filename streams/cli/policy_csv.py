"""CSV of addresses: what `policy import` reads and `policy export --csv` writes."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from streams.errors import InvalidValueError, PolicyError
from streams.model.client import Network, parse_network
from streams.model.instant import Instant, parse_instant, rfc3339
from streams.model.policy import MODULES
from streams.wire.policy_values import network_text

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


def read_rows(content: bytes, *, file: str) -> list[Row]:
    """Every row, or `PolicyError` with the line numbers of the bad ones, ten at most, and nothing else.

    `address,note`; a first row that names its columns (any of `COLUMNS`, in any order) is a heading. UTF-8,
    with or without a byte order mark; empty lines and those that begin with `#` are passed over.
    """
    rows: list[Row] = []
    faults: list[Fault] = []
    for found in _read(content):
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
            try_next=f"sed -n {faults[0].line}p {file}",
        )
    if not rows:
        raise PolicyError(f"{file}: no row in it", try_next="printf 'address,note\\n192.0.2.7,why\\n'")
    return rows


def _read(content: bytes) -> Iterator[Row | Fault]:
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
                continue
            columns = ("address", "note")
        yield _row(line, cells, columns)


def _heading(cells: list[str]) -> tuple[str, ...] | None:
    """The columns where this row names them."""
    names = tuple(cell.strip().lower() for cell in cells)
    return names if "address" in names else None


def _row(line: int, cells: list[str], columns: tuple[str, ...]) -> Row | Fault:
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
            expires=parse_instant(found["expires"]) if found.get("expires") else None,
            by=_text(found.get("by", ""), "by"),
        )
    except InvalidValueError as error:
        advice = f" (write {error.try_next})" if error.try_next else ""
        return Fault(line, f"{error.what}{advice}")


def _network(text: str) -> Network:
    if not text.isascii():
        raise InvalidValueError(f"{ascii(text)[:64]} is not an address or CIDR")
    return parse_network(text)


def _text(text: str, name: str) -> str:
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        raise InvalidValueError(f"{name} is not UTF-8")
    if len(text) > _MAX_NOTE:
        raise InvalidValueError(f"{name} has {len(text)} characters, more than {_MAX_NOTE}")
    if not text.isprintable():
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

"""`policy.toml` ↔ rows. A key that is not known is an error that names its neighbours."""

import tomllib
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any, Final

import msgspec

from streams.errors import PolicyError
from streams.model.instant import MICROSECONDS, rfc3339
from streams.wire import policy_values as v
from streams.wire.policy_keys import canonical_key, value_of
from streams.wire.policy_rows import module
from streams.wire.policy_tables import BY_KEY, BY_NAME, TABLES, Table
from streams.wire.policy_values import Row, RowError

CHECK: Final = "goaway policy check"
_INTERNAL_ROW: Final[Row] = {
    "name": "internal",
    "internal": True,
    "concurrent_connections": 50,
    "requests_per_minute": 100,
    "connections_per_minute": 150,
}
"""Stands where a file names no networks: the model's `INTERNAL`, with the file's other limits."""


class PlacedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a file: its entry's key, and its place for people."""

    key: str
    row: Row
    place: str


def rows_of(text: str, *, file: str) -> Iterator[PlacedRow]:
    """Every row of the file in its order, checked by itself; `PolicyError` names file, table and key."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{file}: {error}", try_next=check_of(file)) from error
    place = ""
    try:
        v.only_known(document, tuple(BY_NAME))
        for table in TABLES:
            place = f"[{table.name}]"
            if table.named_by:
                place = f"[[{table.name}]]"
                rows = document.get(table.name, [])
                if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                    raise RowError("must be a list of tables")
                if table.name == "networks" and "networks" not in document:
                    yield PlacedRow(key="networks/192.168.1.0/24", row=dict(_INTERNAL_ROW), place="")
                for number, row in enumerate(rows, start=1):
                    place = f"[[{table.name}]] entry {number}:"
                    yield _placed(table, row, place)
            elif table.name in document:
                if not isinstance(document[table.name], dict):
                    raise RowError("must be a table")
                if document[table.name]:
                    yield _placed(table, document[table.name], place)
    except RowError as error:
        said = f"{file}: {place} {error.what}".replace(":  ", ": ")
        raise PolicyError(said, try_next=error.try_next or check_of(file)) from error


def check_of(file: str) -> str:
    """The command that checks this file, with its name as a shell takes it."""
    return f"{CHECK} {quote(file)}"


def _placed(table: Table, row: Mapping[str, Any], place: str) -> PlacedRow:
    v.only_known(row, (*table.named_by, *table.keys))
    key = table.key
    for name in table.named_by:
        part = row.get(name, "")
        key += f"/{module(part) if name == 'module' else v.text(name, part, required=True)}"
    key = canonical_key(key)
    rest = v.canonical_row({name: row[name] for name in row if name not in table.named_by})
    value_of(key, rest)
    return PlacedRow(key=key, row=rest, place=place)


def document_of(entries: Mapping[str, Row]) -> str:
    """The entries as TOML, in the order of the tables and within one by key."""
    by_table: dict[str, list[str]] = {name: [] for name in BY_NAME}
    for key in sorted(entries):
        table = BY_KEY[key.partition("/")[0]]
        by_table[table.name].append(key)
    lines = [] if by_table["networks"] else ["networks = []", ""]
    for table in TABLES:
        for key in by_table[table.name]:
            if table.named_by:
                lines += [f"[[{table.name}]]", *_names(table, key)]
            elif entries[key]:
                lines.append(f"[{table.name}]")
            else:
                continue
            row = entries[key]
            order = [name for name in table.keys if name in row] + [k for k in row if k not in table.keys]
            lines += [f"{name} = {_shown(name, row[name])}" for name in order if row[name] is not None]
            lines.append("")
    return "\n".join(lines)


def _names(table: Table, key: str) -> Iterator[str]:
    parts = key.split("/", len(table.named_by))[1:]
    for name, part in zip(table.named_by, parts, strict=True):
        yield f"{name} = {toml(part)}"


def _shown(name: str, value: object) -> str:
    if name in ("expires", "until"):
        at = v.instant(name, value)
        text = rfc3339(at)
        return text if at % MICROSECONDS else f"{text[:19]}Z"
    return toml(value)


def toml(value: object) -> str:
    """A value as TOML; texts as basic strings (JSON's escapes are TOML's, and DEL is escaped too)."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
        case dict():
            inside = ", ".join(f"{toml(key)} = {toml(it)}" for key, it in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(toml(it) for it in value)}]"
        case _:
            return repr(value)

"""Just enough of SQL to know which statements take data, and to turn them into an insert from a file."""

import re
from dataclasses import dataclass
from typing import Final

_SPACE: Final = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_QUOTED_NAME: Final = r"`(?:[^`\\]|\\.)+`|\"(?:[^\"\\]|\\.)+\""
_NAME: Final = rf"(?:{_QUOTED_NAME}|[A-Za-z_][A-Za-z0-9_]*)"
_INSERT: Final = re.compile(
    rf"{_SPACE}*INSERT{_SPACE}+INTO{_SPACE}+(?:TABLE{_SPACE}+)?(?!FUNCTION\b)"
    rf"(?P<table>{_NAME}(?:{_SPACE}*\.{_SPACE}*{_NAME})?){_SPACE}*"
    rf"(?:\((?P<columns>(?:[^()`\"]|{_QUOTED_NAME}|\([^()]*\))*)\){_SPACE}*)?"
    rf"(?P<settings>SETTINGS{_SPACE}+(?:[^';]|'(?:[^'\\]|\\.)*')*?)?"
    rf"(?:VALUES|FORMAT{_SPACE}+[A-Za-z]+){_SPACE}*;?{_SPACE}*",
    re.IGNORECASE | re.DOTALL,
)
_KEYWORD: Final = re.compile(rf"{_SPACE}*\(*([A-Za-z]+)", re.DOTALL)
_FORMAT_AT_END: Final = re.compile(r"\s+FORMAT\s+[A-Za-z]+\s*;?\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DataInsert:
    """An INSERT whose rows follow as data: `INSERT INTO table (columns) SETTINGS … VALUES`."""

    table: str
    columns: str
    settings: str

    def describe(self) -> str:
        """The statement that lists the columns to be sent, in order: name, type, …"""
        return f"DESCRIBE (SELECT {self.columns or '*'} FROM {self.table})"  # noqa: S608  # the client's own words

    def from_file(self, name: str) -> str:
        """The statement that inserts a file of Native blocks; `name` is ours, without quotes or wildcards."""
        columns = f"({self.columns})" if self.columns else ""
        return f"INSERT INTO {self.table} {columns} FROM INFILE '{name}' {self.settings} FORMAT Native"


def data_insert(query: str) -> DataInsert | None:
    """The INSERT that waits for data, or None for every other statement."""
    match = _INSERT.fullmatch(query)
    if match is None:
        return None
    return DataInsert(match["table"], (match["columns"] or "").strip(), (match["settings"] or "").strip())


def keyword(query: str) -> str:
    """The first word, in capitals: SELECT, CREATE, …"""
    match = _KEYWORD.match(query)
    return match[1].upper() if match else ""


def without_format(query: str) -> str:
    """A query without its FORMAT clause, which this protocol ignores: results are always blocks."""
    return _FORMAT_AT_END.sub("", query)


def quoted(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A quoted name of a database, table or column."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

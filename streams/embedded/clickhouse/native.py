"""Where a block ends: the layout of ClickHouse's Native format, column type by column type.

Nothing here looks at a value. A block is passed on to the engine as the bytes it came in, so all that is
needed is its length, which only its column types tell. Layouts: ClickHouse's `Serialization*` classes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from streams.embedded.clickhouse.feed import Feed, NativeProtocolError, Reading, T
from streams.embedded.clickhouse.writing import text

MAX_COLUMNS: Final = 4096
MAX_ROWS: Final = 64 * 1024 * 1024
MAX_TYPE_BYTES: Final = 64 * 1024
MAX_TYPE_DEPTH: Final = 32
MAX_NAME_BYTES: Final = 4096

_WIDTHS: Final = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "IPv4", "Decimal32", "Time"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Decimal64", "Time64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}
_ALIASES: Final = {"Point": "Tuple(Float64, Float64)", "Ring": "Array(Point)", "Polygon": "Array(Ring)"}
_TYPE: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_ELEMENT_NAME: Final = re.compile(r"\s*(?:`(?:[^`\\]|\\.)*`|[A-Za-z_][A-Za-z0-9_]*)\s+(?=[A-Za-z])")


class UnknownTypeError(NativeProtocolError):
    """A column type whose layout is not known here; no block with one can be read."""


def _no_prefix(_feed: Feed) -> Reading[None]:
    return
    yield


@dataclass(frozen=True, slots=True)
class Layout:
    """How one column lies in a block: `prefix` once, then `rows` for its number of rows."""

    rows: Callable[[Feed, int], Reading[None]]
    prefix: Callable[[Feed], Reading[None]] = _no_prefix


@lru_cache(maxsize=1024)
def layout(name: str) -> Layout:
    """The layout of a type as ClickHouse writes it: `Map(String, UInt32)`. Raises `UnknownTypeError`."""
    return _layout(name, MAX_TYPE_DEPTH)


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and type, and where in the block the type is written."""

    name: str
    type: str
    start: int
    end: int


def block_body(feed: Feed) -> Reading[list[Column]]:
    """Pass over one block: columns, rows, then for each column its name, type and values."""
    columns = yield from feed.varint()
    rows = yield from feed.varint()
    if columns > MAX_COLUMNS or rows > MAX_ROWS:
        raise NativeProtocolError(f"a block of {columns} columns and {rows} rows is too large")
    found: list[Column] = []
    for _ in range(columns):
        name = yield from feed.text(MAX_NAME_BYTES)
        start = feed.at
        type_name = yield from feed.text(MAX_TYPE_BYTES)
        found.append(Column(name, type_name, start, feed.at))
        column = layout(type_name)
        if rows:
            yield from column.prefix(feed)
            yield from column.rows(feed, rows)
    return found


def block_columns(block: bytes) -> list[Column]:
    """The columns of a whole block. Raises `NativeProtocolError`, `UnknownTypeError`."""
    feed = Feed()
    feed.append(block)
    return _finished(block_body(feed))


def split_blocks(stream: bytes) -> Iterator[bytes]:
    """The blocks of a complete Native stream, each as its own bytes. Raises `NativeProtocolError`."""
    feed = Feed()
    feed.append(stream)
    while feed.at < len(stream):
        start = feed.at
        _finished(block_body(feed))
        yield stream[start : feed.at]


def with_types(block: bytes, types: Sequence[str]) -> bytes:
    """A block with other names for the types of its columns, which must lie in it as these do.

    Raises `NativeProtocolError`.
    """
    out, done = bytearray(), 0
    for column, type_name in zip(block_columns(block), types, strict=True):
        if column.type != type_name:
            out += block[done : column.start] + text(type_name)
            done = column.end
    return bytes(out + block[done:])


def block_size(block: bytes | memoryview) -> tuple[int, int]:
    """(columns, rows) of a block, from its first bytes. Raises `NativeProtocolError`."""
    feed = Feed()
    feed.append(block[:20])
    return _finished(feed.varint()), _finished(feed.varint())


def _finished(reading: Reading[T]) -> T:
    try:
        next(reading)
    except StopIteration as done:
        value: T = done.value
        return value
    raise NativeProtocolError("the stream ends inside a block")


def _layout(name: str, depth: int) -> Layout:
    match = _TYPE.fullmatch(name)
    if match is None or depth == 0:
        raise UnknownTypeError(f"column type {name[:99]!r}")
    kind, inside = match[1], match[2]
    if (width := _WIDTHS.get(kind)) is not None:
        return _fixed(width)
    if kind.startswith("Interval"):
        return _fixed(8)
    if kind in _ALIASES:
        return _layout(_ALIASES[kind], depth - 1)
    if kind == "String":
        return Layout(Feed.skip_texts)
    if inside is None:
        raise UnknownTypeError(f"column type {name[:99]!r}")
    arguments = _arguments(inside)
    match kind, arguments:
        case "FixedString", [size] if size.isascii() and size.isdigit():
            return _fixed(int(size))
        case "Decimal", [precision, *_] if precision.isascii() and precision.isdigit():
            return _fixed(
                next((w for limit, w in ((9, 4), (18, 8), (38, 16)) if int(precision) <= limit), 32)
            )
        case "Nullable", [inner]:
            return _nullable(_layout(inner, depth - 1))
        case "LowCardinality", [inner]:
            bare = _TYPE.fullmatch(inner)
            dictionary = bare[2] if bare is not None and bare[1] == "Nullable" and bare[2] else inner
            return _low_cardinality(_layout(dictionary, depth - 1))
        case "Array", [inner]:
            return _array(_layout(inner, depth - 1))
        case (("Tuple" | "Nested" | "Map"), [_, *_]):
            together = _together(
                [_layout(_ELEMENT_NAME.sub("", each, count=1), depth - 1) for each in arguments]
            )
            return together if kind == "Tuple" else _array(together)
        case "SimpleAggregateFunction", [_, inner]:
            return _layout(inner, depth - 1)
    raise UnknownTypeError(f"column type {name[:99]!r}")


def _arguments(text: str) -> list[str]:
    """`A(b, c), 'd, e'` → [`A(b, c)`, `'d, e'`]."""
    parts: list[str] = []
    depth = start = 0
    quote = ""
    escaped = False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'`\"":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _fixed(width: int) -> Layout:
    return Layout(lambda feed, rows: feed.skip(rows * width))


def _nullable(inner: Layout) -> Layout:
    def rows_of(feed: Feed, rows: int) -> Reading[None]:
        yield from feed.skip(rows)
        yield from inner.rows(feed, rows)

    return Layout(rows_of, inner.prefix)


def _array(inner: Layout) -> Layout:
    def rows_of(feed: Feed, rows: int) -> Reading[None]:
        yield from feed.skip((rows - 1) * 8)
        elements = yield from feed.unsigned(8)
        if elements > MAX_ROWS:
            raise NativeProtocolError(f"arrays of {elements} elements in one block")
        if elements:
            yield from inner.rows(feed, elements)

    return Layout(rows_of, inner.prefix)


def _together(inner: list[Layout]) -> Layout:
    def prefix(feed: Feed) -> Reading[None]:
        for each in inner:
            yield from each.prefix(feed)

    def rows_of(feed: Feed, rows: int) -> Reading[None]:
        for each in inner:
            yield from each.rows(feed, rows)

    return Layout(rows_of, prefix)


def _low_cardinality(dictionary: Layout) -> Layout:
    def prefix(feed: Feed) -> Reading[None]:
        version = yield from feed.unsigned(8)
        if version != 1:
            raise NativeProtocolError(f"LowCardinality of version {version}")

    def rows_of(feed: Feed, rows: int) -> Reading[None]:
        flags = yield from feed.unsigned(8)
        index_width, has_global_keys, has_own_keys = 1 << (flags & 0xFF), flags & 0x100, flags & 0x200
        if index_width > 8 or has_global_keys:
            raise NativeProtocolError(f"LowCardinality with flags {flags:#x}")
        if has_own_keys:
            keys = yield from feed.unsigned(8)
            if keys > MAX_ROWS:
                raise NativeProtocolError(f"a dictionary of {keys} keys")
            if keys:
                yield from dictionary.rows(feed, keys)
        indexed = yield from feed.unsigned(8)
        if indexed != rows:
            raise NativeProtocolError(f"LowCardinality with {indexed} indexes for {rows} rows")
        yield from feed.skip(rows * index_width)

    return Layout(rows_of, prefix)

"""The native protocol without a socket: bytes in, packets out; and back."""

import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.embedded.clickhouse import replies
from streams.embedded.clickhouse.compression import NoCompressionError, frame, read_frame
from streams.embedded.clickhouse.feed import Feed, NativeProtocolError
from streams.embedded.clickhouse.native import (
    MAX_ROWS,
    UnknownTypeError,
    block_columns,
    block_size,
    layout,
    split_blocks,
    with_types,
)
from streams.embedded.clickhouse.packets import (
    REVISION,
    Cancel,
    Data,
    Hello,
    Packet,
    PacketReader,
    Ping,
    Query,
    Setting,
)
from streams.embedded.clickhouse.replies import ServerError
from streams.embedded.clickhouse.statement import data_insert, identifier, keyword, quoted, without_format
from streams.embedded.clickhouse.writing import text, varint

INFO = bytes([1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0])
HELLO = (
    b"\0"
    + text("ClickHouse driver")
    + b"\x14\x0a"
    + varint(54468)
    + text("goaway")
    + text("u")
    + text("pass word")
)
PING = b"\4"
CANCEL = b"\3"


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def strings(*values: str) -> bytes:
    return b"".join(map(text, values))


def block(rows: int, *columns: tuple[str, str, bytes]) -> bytes:
    return (
        varint(len(columns))
        + varint(rows)
        + b"".join(text(name) + text(kind) + raw for name, kind, raw in columns)
    )


def data(body: bytes) -> bytes:
    return b"\2" + text("") + INFO + body


def query(sql: str, settings: Iterable[tuple[str, int, str]] = (), *, compressed: int = 0) -> bytes:
    client_info = (
        b"\1"
        + strings("", "", "0.0.0.0:0")
        + b"\1"
        + strings("root", "host", "driver")
        + b"\x14\x0a"
        + varint(54468)
    )
    return b"".join(
        (
            b"\1",
            text("query-id"),
            client_info + text("quota") + b"\2",
            *(text(name) + bytes([flags]) + text(value) for name, flags, value in settings),
            text(""),
            varint(2),
            varint(compressed),
            text(sql),
        )
    )


# type, rows, the column's bytes
COLUMNS = [
    ("UInt8", 3, b"\1\2\3"),
    ("Bool", 2, b"\0\1"),
    ("Enum8('a, b' = 1, 'it\\'s)' = 2)", 2, b"\1\2"),
    ("Enum16('a' = 1)", 1, b"\1\0"),
    ("DateTime('UTC')", 2, bytes(8)),
    ("DateTime64(6, 'UTC')", 2, bytes(16)),
    ("Float64", 2, bytes(16)),
    ("Decimal(9, 2)", 1, bytes(4)),
    ("Decimal(18, 2)", 1, bytes(8)),
    ("Decimal(38, 2)", 1, bytes(16)),
    ("Decimal(76, 2)", 1, bytes(32)),
    ("IPv4", 2, bytes(8)),
    ("IPv6", 2, bytes(32)),
    ("UUID", 1, bytes(16)),
    ("FixedString(5)", 3, b"abcdefghijklmno"),
    ("IntervalDay", 1, bytes(8)),
    ("String", 4, strings("", "a\n\n\nb", "\0", "x" * 300)),
    ("String", 2, text("y" * 20_000) + text("")),
    ("String", 6, strings(*("z" * size for size in (126, 127, 128, 129, 16_383, 16_384)))),
    ("Nullable(UInt16)", 2, b"\0\1" + bytes(4)),
    ("Nullable(String)", 2, b"\0\1" + strings("a", "")),
    ("Array(UInt8)", 3, u64(2, 2, 3) + b"\1\2\3"),
    ("Array(String)", 2, u64(0, 0)),
    ("Array(Array(Nullable(UInt8)))", 2, u64(1, 2) + u64(2, 3) + b"\0\0\1" + b"\1\2\0"),
    ("Map(String, UInt32)", 2, u64(1, 3) + strings("k", "l", "m") + bytes(12)),
    ("Tuple(a UInt8, `b c` String)", 2, b"\1\2" + strings("p", "q")),
    ("Nested(n UInt8, s String)", 1, u64(2) + b"\1\2" + strings("p", "q")),
    ("Point", 1, bytes(16)),
    ("SimpleAggregateFunction(sum, UInt64)", 2, bytes(16)),
    ("LowCardinality(String)", 3, u64(1) + u64(0x600) + u64(2) + strings("", "v") + u64(3) + b"\1\0\1"),
    ("LowCardinality(Nullable(String))", 1, u64(1) + u64(0x601) + u64(1) + strings("") + u64(1) + b"\0\0"),
    ("Array(LowCardinality(String))", 2, u64(1) + u64(0, 0)),
    (
        "Array(LowCardinality(String))",
        2,
        u64(1) + u64(1, 1) + u64(0x600) + u64(1) + strings("v") + u64(1) + b"\0",
    ),
    (
        "Map(LowCardinality(String), UInt8)",
        1,
        u64(1, 1) + u64(0x600, 1) + strings("k") + u64(1) + b"\0" + b"\7",
    ),
    ("UInt8", 0, b""),
    ("LowCardinality(String)", 0, b""),
]
BROKEN = [
    pytest.param(
        block(1, ("c", "AggregateFunction(uniq, String)", b"")), id="a type whose layout is not known"
    ),
    pytest.param(block(1, ("c", "Array(" * 99 + "UInt8" + ")" * 99, b"")), id="nested without end"),
    pytest.param(block(1, ("c", "", b"")), id="no type"),
    pytest.param(block(1, ("c", "Decimal(x)", b"")), id="a precision that is no number"),
    pytest.param(varint(5000) + varint(1), id="too many columns"),
    pytest.param(varint(1) + varint(MAX_ROWS + 1), id="too many rows"),
    pytest.param(block(1, ("c", "Array(UInt8)", u64(MAX_ROWS + 1))), id="arrays too long"),
    pytest.param(block(1, ("c", "FixedString(999999999)", b"")), id="a value too long"),
    pytest.param(block(1, ("c", "String", varint(1 << 30))), id="a string too long"),
    pytest.param(block(1, ("c", "String", b"\xff" * 9)), id="a string of a size that is none"),
    pytest.param(block(1, ("c", "LowCardinality(String)", u64(7))), id="LowCardinality of another version"),
    pytest.param(
        block(1, ("c", "LowCardinality(String)", u64(1, 0x109))), id="LowCardinality with global keys"
    ),
    pytest.param(block(1, ("c", "LowCardinality(String)", u64(1, 0x200, MAX_ROWS + 1))), id="too many keys"),
    pytest.param(block(2, ("c", "LowCardinality(String)", u64(1, 0x200, 0, 3))), id="too many indexes"),
]


def packets(stream: bytes, size: int) -> list[Packet]:
    reader = PacketReader()
    return [packet for at in range(0, len(stream), size) for packet in reader.feed(stream[at : at + size])]


@pytest.mark.parametrize(("kind", "rows", "raw"), COLUMNS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_block_ends_where_its_types_say(kind: str, rows: int, raw: bytes, size: int) -> None:
    body = block(rows, ("first", kind, raw), ("second", "UInt8", bytes(rows)))

    assert packets(HELLO + data(body) + PING, size)[1:] == [Data("", body), Ping()]
    assert block_size(body) == (2, rows)
    assert list(split_blocks(body * 3)) == [body] * 3


@pytest.mark.parametrize("body", BROKEN)
def test_a_block_that_is_not_one_is_refused(body: bytes) -> None:
    with pytest.raises(NativeProtocolError):
        packets(HELLO + data(body), 1 << 20)


def test_a_stream_that_ends_inside_a_block_is_refused() -> None:
    with pytest.raises(NativeProtocolError, match="ends inside"):
        list(split_blocks(block(2, ("c", "UInt8", b"\1"))))
    with pytest.raises(NativeProtocolError, match="ends inside"):
        block_size(b"\1")


def test_a_time_zone_is_put_back_where_it_was_left_out() -> None:
    columns = [("s", "String", text("DateTime")), ("t", "DateTime", bytes(4)), ("u", "DateTime", bytes(4))]
    full = [
        ("s", "String", text("DateTime")),
        ("t", "DateTime('UTC')", bytes(4)),
        ("u", "DateTime", bytes(4)),
    ]
    assert with_types(block(1, *columns), [kind for _, kind, _ in full]) == block(1, *full)
    assert [(c.name, c.type) for c in block_columns(block(1, *full))] == [c[:2] for c in full]
    with pytest.raises(NativeProtocolError, match="ends inside"):
        block_columns(block(1, *columns)[:-1])


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnknownTypeError, match="Dynamic"):
        layout("Dynamic")


@pytest.mark.parametrize("size", [1, 16, 4096])
def test_a_whole_conversation_at_any_chunk_size(size: int) -> None:
    stream = b"".join(
        (
            HELLO,
            PING,
            query(
                "INSERT INTO t VALUES", [("insert_deduplication_token", 0, "p-1"), ("max_threads", 1, "2")]
            ),
            data(block(0)),
            data(block(1, ("c", "String", text("π")))),
            CANCEL,
        )
    )

    assert packets(stream, size) == [
        Hello("ClickHouse driver", 54468, "goaway", "u", "pass word"),
        Ping(),
        Query(
            "INSERT INTO t VALUES",
            (Setting("insert_deduplication_token", "p-1", False), Setting("max_threads", "2", True)),
            compressed=False,
        ),
        Data("", block(0)),
        Data("", block(1, ("c", "String", text("π")))),
        Cancel(),
    ]


def test_a_password_is_not_shown() -> None:
    assert "pass word" not in repr(packets(HELLO, 99))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00", id="TLS"),
        pytest.param(b"\xff" * 64, id="a number without end"),
        pytest.param(b"\xff" * 9 + b"\x7f", id="a number of 70 bits"),
        pytest.param(PING, id="a ping before the greeting"),
        pytest.param(b"\0" + varint(1 << 40), id="a name of a terabyte"),
        pytest.param(HELLO + b"\5", id="a packet that is not served"),
        pytest.param(HELLO + HELLO, id="two greetings"),
        pytest.param(HELLO + b"\2" + text("") + b"\7", id="block info that is not known"),
        pytest.param(HELLO + b"\1" + text("") + b"\1" + strings("", "", "") + b"\2", id="HTTP client info"),
        pytest.param(HELLO + query("", [("s", 0, "")] * 1001), id="too many settings"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_is_not_the_protocol_is_refused(stream: bytes, size: int) -> None:
    with pytest.raises(NativeProtocolError):
        packets(stream, size)


@given(st.binary(max_size=200), st.integers(1, 64))
def test_garbage_is_refused_or_waited_for(garbage: bytes, size: int) -> None:
    for start in (b"", HELLO, HELLO + b"\1", HELLO + b"\2\0" + INFO):
        with suppress(NativeProtocolError, NoCompressionError):
            packets(start + garbage, size)


@given(st.sampled_from(COLUMNS), st.data())
def test_a_block_with_a_byte_changed_is_refused_or_read(
    column: tuple[str, int, bytes], draw: st.DataObject
) -> None:
    stream = bytearray(HELLO + data(block(column[1], ("c", column[0], column[2]))))
    at = draw.draw(st.integers(len(HELLO), len(stream) - 1))
    stream[at] = draw.draw(st.integers(0, 255))
    with suppress(NativeProtocolError, NoCompressionError):
        packets(bytes(stream), draw.draw(st.integers(1, 50)))


def unframe(packed: bytes) -> bytes:
    feed = Feed()
    feed.append(packed)
    reading = read_frame(feed)
    with pytest.raises(StopIteration) as done:
        next(reading)
    raw: bytes = done.value.value
    return raw


@pytest.fixture(params=[pytest.param(0x82, id="lz4"), pytest.param(0x90, id="zstd")])
def method(request: pytest.FixtureRequest) -> int:
    pytest.importorskip(
        "clickhouse_cityhash", reason="no clickhouse-cityhash here: pip install clickhouse-cityhash"
    )
    pytest.importorskip("zstd", reason="no zstd here: pip install zstd")
    number: int = request.param
    return number


@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_a_compressed_block_may_span_frames(method: int, size: int) -> None:
    body = block(3, ("c", "String", strings("a", "b" * 5000, "c")))
    raw = INFO + body
    framed = b"".join(frame(part, method) for part in (raw[:5], raw[5:100], raw[100:]))
    stream = HELLO + query("INSERT INTO t VALUES", compressed=1) + b"\2\0" + framed + PING

    assert packets(stream, size)[2:] == [Data("", body), Ping()]


def test_a_frame_that_was_changed_is_refused(method: int) -> None:
    packed = frame(b"some bytes " * 99, method)
    assert unframe(packed) == b"some bytes " * 99
    changes: list[Callable[[bytearray], None]] = [
        lambda raw: raw.__setitem__(0, raw[0] ^ 1),
        lambda raw: raw.__setitem__(len(raw) - 1, raw[-1] ^ 1),
        lambda raw: raw.__setitem__(slice(17, 21), b"\xff\xff\xff\xff"),
    ]
    for change in changes:
        raw = bytearray(packed)
        change(raw)
        feed = Feed()
        feed.append(bytes(raw))
        with pytest.raises(NativeProtocolError):
            list(read_frame(feed))


def test_bytes_after_a_compressed_block_are_refused(method: int) -> None:
    stream = (
        HELLO + query("INSERT INTO t VALUES", compressed=1) + b"\2\0" + frame(INFO + block(0) + b"?", method)
    )
    with pytest.raises(NativeProtocolError, match="longer"):
        packets(stream, 1 << 20)


def test_errors_keep_the_engines_number() -> None:
    error = ServerError.of_engine(
        "Streaming query failed: Code: 60. DB::Exception: Table t is gone. (UNKNOWN_TABLE)"
    )
    assert (error.code, error.message) == (60, "DB::Exception: Table t is gone. (UNKNOWN_TABLE)")
    assert ServerError.of_engine("odd").code == 1001
    assert replies.exception(error) == (
        b"\2" + struct.pack("<i", 60) + text("DB::Exception") + text(error.message) + text("") + b"\0"
    )


def test_replies_are_as_the_protocol_has_them() -> None:
    assert replies.hello((26, 9, 2), "UTC") == (
        b"\0" + text("ClickHouse") + b"\x1a\x09" + varint(REVISION) + text("UTC") + text("goaway") + b"\2"
    )
    assert replies.data(b"\0\0", None) == b"\1\0" + INFO + b"\0\0"
    assert replies.sample_block([("a", "UInt8")]) == b"\1\0" + text("a") + text("UInt8")
    assert replies.progress(300, 1) == b"\3" + varint(300) + b"\1\0\0\0"
    assert replies.table_columns("c") == b"\x0b" + text("") + text("c")


@pytest.mark.parametrize(
    ("sql", "table", "columns", "settings"),
    [
        ("INSERT INTO t VALUES", "t", "", ""),
        ("insert into t (a, b) values ", "t", "a, b", ""),
        ("INSERT INTO d.`t 1` (`a)`, b)\nFORMAT Native;", "d.`t 1`", "`a)`, b", ""),
        ("-- why\nINSERT INTO TABLE t (* EXCEPT(b)) VALUES", "t", "* EXCEPT(b)", ""),
        ("INSERT INTO t (a) SETTINGS x = 'VALUES', y = 1 VALUES", "t", "a", "SETTINGS x = 'VALUES', y = 1"),
    ],
)
def test_an_insert_that_waits_for_data(sql: str, table: str, columns: str, settings: str) -> None:
    insert = data_insert(sql)
    assert insert is not None
    assert (insert.table, insert.columns, insert.settings) == (table, columns, settings)
    target = f"{table} ({columns})" if columns else table
    statement = f"INSERT INTO {target} FROM INFILE 'f.native' {settings} FORMAT Native"
    assert insert.from_file("f.native").split() == statement.split()
    assert insert.describe() == f"DESCRIBE (SELECT {columns or '*'} FROM {table})"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t SELECT 1",
        "INSERT INTO FUNCTION file('x') VALUES",
        "INSERT INTO t",
        "SELECT 'INSERT INTO t VALUES'",
        "INSERT INTO t (a) SELECT 1 AS values",
        "INSERT INTO t FORMAT CSV 1,2",
    ],
)
def test_an_insert_that_brings_its_own_rows(sql: str) -> None:
    assert data_insert(sql) is None


def test_words_of_a_statement() -> None:
    assert keyword(" /* a */ -- b\n(select 1)") == "SELECT"
    assert keyword("") == ""
    assert without_format("SELECT 1 FORMAT JSON ;") == "SELECT 1"
    assert without_format("SELECT ' FORMAT JSON'") == "SELECT ' FORMAT JSON'"
    assert quoted("it's \\") == "'it\\'s \\\\'"
    assert identifier("a`b") == "`a\\`b`"

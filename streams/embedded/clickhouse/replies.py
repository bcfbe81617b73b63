"""What the server sends: values in, bytes out. Revision 54440 of the native protocol."""

import re
from typing import Final

from streams.embedded.clickhouse.compression import frame
from streams.embedded.clickhouse.packets import REVISION
from streams.embedded.clickhouse.writing import text, varint

_HELLO, _DATA, _EXCEPTION, _PROGRESS, _PONG, _END_OF_STREAM = range(6)
_TABLE_COLUMNS: Final = 11
_BLOCK_INFO: Final = bytes([1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0])
_ERROR_TEXT: Final = re.compile(r"Code: (\d+)\. (DB::[A-Za-z]+: .*)", re.DOTALL)

MAX_MESSAGE_CHARACTERS: Final = 8192

PONG: Final = bytes([_PONG])
END_OF_STREAM: Final = bytes([_END_OF_STREAM])
EMPTY_BLOCK: Final = b"\0\0"


class ServerError(Exception):
    """An error that the client is told: ClickHouse's number and text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of_engine(cls, said: str) -> "ServerError":
        """From the engine's `Code: 60. DB::Exception: Table …`; 1001 where there is no code."""
        match = _ERROR_TEXT.search(said)
        code, message = (int(match[1]), match[2]) if match else (1001, f"DB::Exception: {said}")
        return cls(code, message[:MAX_MESSAGE_CHARACTERS])


def hello(version: tuple[int, int, int], timezone: str) -> bytes:
    """The answer to a greeting that was accepted."""
    major, minor, patch = version
    return b"".join(
        (
            varint(_HELLO),
            text("ClickHouse"),
            varint(major),
            varint(minor),
            varint(REVISION),
            text(timezone),
            text("goaway"),
            varint(patch),
        )
    )


def data(block: bytes, method: int | None) -> bytes:
    """A block, packed where the query asked for it (`method` of `compression`)."""
    body = _BLOCK_INFO + block
    return bytes([_DATA, 0]) + (body if method is None else frame(body, method))


def exception(error: ServerError) -> bytes:
    """The end of a query that failed."""
    return b"".join(
        (
            bytes([_EXCEPTION]),
            error.code.to_bytes(4, "little", signed=True),
            text("DB::Exception"),
            text(error.message),
            text(""),  # stack trace
            b"\0",  # nothing nested
        )
    )


def progress(rows: int, byte_count: int) -> bytes:
    """Rows and bytes read or written since the last progress packet."""
    return bytes([_PROGRESS]) + varint(rows) + varint(byte_count) + varint(0) + varint(0) + varint(0)


def table_columns(columns: str) -> bytes:
    """Defaults of the table an INSERT writes to; clients only show it."""
    return bytes([_TABLE_COLUMNS]) + text("") + text(columns)


def sample_block(columns: list[tuple[str, str]]) -> bytes:
    """A block without rows: (name, type) of each column."""
    return (
        varint(len(columns))
        + varint(0)
        + b"".join(text(name) + text(type_name) for name, type_name in columns)
    )

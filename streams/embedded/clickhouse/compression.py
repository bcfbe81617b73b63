"""The compressed frame that ClickHouse puts around blocks, in both directions.

A frame is: CityHash128 (16 bytes) of all that follows · method (1) · size of method, sizes and payload (u32)
· size of the payload unpacked (u32) · payload. `lz4` comes with Goaway; the checksum and zstd come from
packages that clickhouse-driver needs for the same purpose.
"""

import importlib
from collections.abc import Callable
from typing import Any, Final

from streams.embedded.clickhouse.feed import Feed, NativeProtocolError, Reading

MAX_FRAME_BYTES: Final = 128 * 1024 * 1024
LZ4: Final = 0x82
ZSTD: Final = 0x90
_NAMES: Final = {"LZ4": LZ4, "LZ4HC": LZ4, "ZSTD": ZSTD}
_HEADER_BYTES: Final = 9


class NoCompressionError(Exception):
    """Compression was asked for, and a package for it is not installed."""


def _module(name: str, distribution: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NoCompressionError(
            f"compression needs {distribution}. Try: pip install {distribution}, or do without compression"
        ) from None


def checksum() -> Callable[[bytes], bytes]:
    """CityHash128 of ClickHouse's version, 16 bytes. Raises `NoCompressionError`."""
    city_hash = _module("clickhouse_cityhash.cityhash", "clickhouse-cityhash").CityHash128

    def digest(content: bytes) -> bytes:
        number: int = city_hash(content)
        # two words, the upper one first
        return (number >> 64).to_bytes(8, "little") + (number & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")

    return digest


def method_byte(name: str) -> int:
    """The method of `network_compression_method`; LZ4 for what is not known here."""
    return _NAMES.get(name.upper(), LZ4)


def frame(raw: bytes, method: int) -> bytes:
    """One compressed frame that holds `raw`. Raises `NoCompressionError`."""
    packed: bytes
    if method == ZSTD:
        packed = _module("zstd", "zstd").compress(raw, 1)
    else:
        packed = _module("lz4.block", "lz4").compress(raw, store_size=False)
    header = (
        bytes([method]) + (len(packed) + _HEADER_BYTES).to_bytes(4, "little") + len(raw).to_bytes(4, "little")
    )
    return checksum()(header + packed) + header + packed


def read_frame(feed: Feed) -> Reading[bytes]:
    """The unpacked content of the next frame. Raises `NativeProtocolError`, `NoCompressionError`."""
    digest = yield from feed.take(16)
    yield from feed.need(_HEADER_BYTES)
    size = int.from_bytes(feed.buffer[feed.at + 1 : feed.at + 5], "little")
    raw_size = int.from_bytes(feed.buffer[feed.at + 5 : feed.at + 9], "little")
    if not _HEADER_BYTES <= size <= MAX_FRAME_BYTES or raw_size > MAX_FRAME_BYTES:
        raise NativeProtocolError(f"a compressed frame of {size} bytes for {raw_size}")
    content = yield from feed.take(size)
    if checksum()(content) != digest:
        raise NativeProtocolError("a compressed frame whose checksum does not match")
    return _unpacked(content[0], content[_HEADER_BYTES:], raw_size)


def _unpacked(method: int, packed: bytes, raw_size: int) -> bytes:
    raw: bytes
    try:
        if method == LZ4:
            raw = _module("lz4.block", "lz4").decompress(packed, uncompressed_size=raw_size)
        elif method == ZSTD:
            raw = _module("zstd", "zstd").decompress(packed)
        else:
            raise NativeProtocolError(f"compression method {method:#x}")
    except NoCompressionError:
        raise
    except Exception as error:  # each codec has its own class
        raise NativeProtocolError("a compressed frame that cannot be unpacked") from error
    if len(raw) != raw_size:
        raise NativeProtocolError(f"a compressed frame that unpacks to {len(raw)} bytes, not {raw_size}")
    return raw

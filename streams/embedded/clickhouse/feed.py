"""Bytes that arrive in pieces, read by generators that pause where a piece ends.

A reader is a generator that yields whenever it lacks bytes and returns its value when it has them:
`size = yield from feed.varint()`. Whoever drives it appends what has arrived and resumes it.
"""

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Reading: TypeAlias = Generator[None, None, T]
"""A read in progress: yields None for "more bytes, please", returns the value."""

MAX_PACKET_BYTES: Final = 512 * 1024 * 1024
"""No packet may be longer, and nothing in one either."""


class NativeProtocolError(Exception):
    """Bytes that are not ClickHouse's native protocol, or are more than may be sent."""


class Feed:
    """A growing buffer and the place up to which it has been read."""

    __slots__ = ("at", "buffer")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.at = 0

    def append(self, chunk: bytes | memoryview) -> None:
        """More bytes have arrived. Raises `NativeProtocolError` where a packet grows without end."""
        if len(self.buffer) > MAX_PACKET_BYTES:
            raise NativeProtocolError(f"a packet of more than {MAX_PACKET_BYTES} bytes")
        self.buffer += chunk

    def forget(self) -> None:
        """Drop what has been read; positions taken before are void."""
        del self.buffer[: self.at]
        self.at = 0

    def part(self, start: int) -> memoryview:
        """What was read since `start`, without a copy: it keeps the buffer, the feed goes on in another."""
        whole, at = self.buffer, self.at
        self.buffer, self.at = whole[at:], 0
        return memoryview(whole)[start:at]

    def need(self, size: int) -> Reading[None]:
        """Wait until `size` unread bytes are here."""
        if size > MAX_PACKET_BYTES:
            raise NativeProtocolError(f"{size} bytes in one run, more than {MAX_PACKET_BYTES}")
        while len(self.buffer) - self.at < size:
            yield

    def skip(self, size: int) -> Reading[None]:
        """Pass over `size` bytes."""
        yield from self.need(size)
        self.at += size

    def take(self, size: int) -> Reading[bytes]:
        """The next `size` bytes."""
        yield from self.need(size)
        self.at += size
        return bytes(memoryview(self.buffer)[self.at - size : self.at])

    def unsigned(self, size: int) -> Reading[int]:
        """A little-endian integer of `size` bytes."""
        return int.from_bytes((yield from self.take(size)), "little")

    def varint(self) -> Reading[int]:
        """An unsigned LEB128 integer of at most 64 bits."""
        value = shift = 0
        while True:
            yield from self.need(1)
            byte = self.buffer[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise NativeProtocolError("a variable-length integer of more than ten bytes")
        if value >= 1 << 64:
            raise NativeProtocolError("a variable-length integer of more than 64 bits")
        return value

    def text(self, limit: int) -> Reading[str]:
        """A string of at most `limit` bytes; what is not UTF-8 becomes U+FFFD."""
        size = yield from self.varint()
        if size > limit:
            raise NativeProtocolError(f"a string of {size} bytes where {limit} are allowed")
        return (yield from self.take(size)).decode("utf-8", "replace")

    def skip_texts(self, count: int) -> Reading[None]:
        """Pass over `count` strings; the loop every row of a String column goes through.

        The position may run past what has arrived: the next read of a size then waits for it.
        """
        buffer, at, left = self.buffer, self.at, count
        start = at
        while left:
            try:
                while left:
                    start = at
                    size = buffer[at]
                    if size < 0x80:
                        at += 1 + size
                    elif (more := buffer[at + 1]) < 0x80:
                        at += 2 + (more << 7 | size & 0x7F)
                    else:
                        at += _long_text(buffer, at)
                    left -= 1
            except IndexError:
                at = start
                # two bytes past the size are enough to get on, or to come back here
                wanted = max(start, len(buffer)) + 1
                while len(buffer) < wanted:
                    yield
        while len(buffer) < at:
            yield
        self.at = at


def _long_text(buffer: bytearray, at: int) -> int:
    """Bytes of a string together with its size, which has three bytes or more. `IndexError` where the size
    goes on beyond what has arrived.
    """
    size = shift = 0
    start = at
    while True:
        byte = buffer[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            raise NativeProtocolError("a string of more than 2 GiB")
    if size > MAX_PACKET_BYTES:
        raise NativeProtocolError(f"a string of {size} bytes, more than {MAX_PACKET_BYTES}")
    return at - start + size

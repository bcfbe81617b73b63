"""What a client sends: bytes in, packets out. Revision 54440 of the native protocol.

The order of the fields is that of ClickHouse's `TCPHandler::receive*`, as clickhouse-driver writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from streams.embedded.clickhouse.compression import checksum, read_frame
from streams.embedded.clickhouse.feed import Feed, NativeProtocolError, Reading
from streams.embedded.clickhouse.native import block_body

REVISION: Final = 54440
OLDEST_REVISION: Final = 54429
"""Settings travel as strings from here on."""

MAX_FIELD_BYTES: Final = 4096
MAX_QUERY_BYTES: Final = 64 * 1024 * 1024
MAX_SETTINGS: Final = 1000
MAX_SETTING_BYTES: Final = 1024 * 1024

_HELLO, _QUERY, _DATA, _CANCEL, _PING = range(5)
_INTERFACE_TCP: Final = 1
_IMPORTANT: Final = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """The first packet; the password never appears in a repr."""

    client: str
    revision: int
    database: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of one query; an unknown one is an error only where it is important."""

    name: str
    value: str
    important: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A statement. What an INSERT writes follows in `Data` packets."""

    text: str
    settings: tuple[Setting, ...]
    compressed: bool


@dataclass(frozen=True, slots=True)
class Data:
    """A block as it came, unpacked, without its block info; no columns means the end of data."""

    table: str
    block: bytes | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the query in hand."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""


Packet: TypeAlias = Hello | Query | Data | Cancel | Ping


class PacketReader:
    """Fed with what arrives; gives the packets that are complete.

    Once `feed` has raised `NativeProtocolError` or `NoCompressionError` there is no telling where the next
    packet starts: the connection has to be dropped.
    """

    def __init__(self) -> None:
        self._feed = Feed()
        self._greeted = False
        self._compressed = False
        self._reading = self._packet()

    def feed(self, chunk: bytes) -> Iterator[Packet]:
        """The packets that this chunk completes."""
        self._feed.append(chunk)
        while True:
            try:
                next(self._reading)
            except StopIteration as done:
                packet: Packet = done.value
                self._feed.forget()
                self._greeted = True
                if isinstance(packet, Query):
                    self._compressed = packet.compressed
                self._reading = self._packet()
                yield packet
            else:
                return

    def _packet(self) -> Reading[Packet]:
        kind = yield from self._feed.varint()
        if not self._greeted:
            if kind != _HELLO:
                raise NativeProtocolError(f"packet {kind} before the greeting")
            return (yield from _hello(self._feed))
        match kind:
            case 1:
                return (yield from _query(self._feed))
            case 2:
                return (yield from self._data())
            case 3:
                return Cancel()
            case 4:
                return Ping()
        raise NativeProtocolError(f"unknown packet {kind}")

    def _data(self) -> Reading[Data]:
        table = yield from self._feed.text(MAX_FIELD_BYTES)
        if not self._compressed:
            return Data(table, (yield from _block(self._feed)))
        checksum()  # before megabytes arrive that could not be checked
        inner = Feed()
        reading = _block(inner)
        while True:
            try:
                next(reading)
            except StopIteration as done:
                if inner.at != len(inner.buffer):
                    raise NativeProtocolError("a compressed block that is longer than its columns") from None
                return Data(table, done.value)
            inner.append((yield from read_frame(self._feed)))
            self._feed.forget()


def _hello(feed: Feed) -> Reading[Hello]:
    client = yield from feed.text(MAX_FIELD_BYTES)
    yield from feed.varint()  # major and minor version say less than the revision
    yield from feed.varint()
    revision = yield from feed.varint()
    database = yield from feed.text(MAX_FIELD_BYTES)
    user = yield from feed.text(MAX_FIELD_BYTES)
    password = yield from feed.text(MAX_FIELD_BYTES)
    return Hello(client, revision, database, user, password)


def _query(feed: Feed) -> Reading[Query]:
    yield from feed.text(MAX_FIELD_BYTES)  # query id
    if (yield from feed.unsigned(1)):
        yield from _client_info(feed)
    settings: list[Setting] = []
    while name := (yield from feed.text(MAX_FIELD_BYTES)):
        flags = yield from feed.unsigned(1)
        value = yield from feed.text(MAX_SETTING_BYTES)
        settings.append(Setting(name, value, bool(flags & _IMPORTANT)))
        if len(settings) > MAX_SETTINGS:
            raise NativeProtocolError(f"more than {MAX_SETTINGS} settings")
    yield from feed.varint()  # stage: always complete here
    compressed = yield from feed.varint()
    text = yield from feed.text(MAX_QUERY_BYTES)
    return Query(text, tuple(settings), compressed=bool(compressed))


def _client_info(feed: Feed) -> Reading[None]:
    for _ in range(3):  # initial user, query id, address
        yield from feed.text(MAX_FIELD_BYTES)
    interface = yield from feed.unsigned(1)
    if interface != _INTERFACE_TCP:
        raise NativeProtocolError(f"client interface {interface}")
    for _ in range(3):  # OS user, host, client name
        yield from feed.text(MAX_FIELD_BYTES)
    for _ in range(3):  # version, revision
        yield from feed.varint()
    yield from feed.text(MAX_FIELD_BYTES)  # quota key
    yield from feed.varint()  # patch version


def _block(feed: Feed) -> Reading[memoryview]:
    while number := (yield from feed.varint()):  # block info: (number, value) pairs up to a zero
        if number not in (1, 2):
            raise NativeProtocolError(f"block info {number}")
        yield from feed.skip(1 if number == 1 else 4)
    start = feed.at
    yield from block_body(feed)
    return feed.part(start)

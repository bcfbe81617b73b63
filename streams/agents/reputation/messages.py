"""Just enough of DNS on the wire for a DNSBL: one question, A records or the negative TTL.

dnspython needs 140 µs for a query and its answer, which is most of a look-up; this needs a tenth. Mail
domains (MX), where it does not matter, are read with dnspython.
"""

import struct
from typing import Final, NamedTuple

from streams.errors import InvalidValueError

A: Final = 1
SOA: Final = 6
MX: Final = 15
AAAA: Final = 28

NOERROR: Final = 0
NXDOMAIN: Final = 3
RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

_HEADER: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_RECURSION_DESIRED: Final = 0x0100
_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_IN: Final = 1
_MAX_NAME: Final = 255
_MAX_LABEL: Final = 63


class Reply(NamedTuple):
    """What a reply to an A question says."""

    rcode: int
    addresses: tuple[str, ...]
    """A records, as they came."""
    ttl_s: int | None
    """The least TTL of the answer, or how long its absence holds (RFC 2308, 5); None where it is not said."""


def question(name: str, kind: int) -> bytes:
    """The question section for a name, or `InvalidValueError` where DNS cannot carry it."""
    parts = bytearray()
    for label in name.split("."):
        raw = label.encode("ascii", "replace")
        if not 0 < len(raw) <= _MAX_LABEL:
            raise InvalidValueError(f"{name[:99]!r} is not a domain name")
        parts.append(len(raw))
        parts += raw
    parts.append(0)
    if len(parts) > _MAX_NAME:
        raise InvalidValueError(f"{name[:99]!r} is too long for a domain name")
    return bytes(parts) + struct.pack(">HH", kind, _IN)


def query(number: int, asked: bytes) -> bytes:
    """The whole message that asks; the resolver is to find the answer (RD)."""
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + asked


def answers(message: bytes, asked: bytes) -> bool:
    """Whether the message is a reply to this very question; its number was compared already."""
    if len(message) < _HEADER.size + len(asked):
        return False
    _, flags, questions, *_ = _HEADER.unpack_from(message)
    return (
        flags & (_RESPONSE | _OPCODE) == _RESPONSE
        and questions == 1
        and message[_HEADER.size : _HEADER.size + len(asked)].lower() == asked.lower()
    )


def is_truncated(message: bytes) -> bool:
    """Whether the rest must be fetched over TCP."""
    return bool(message[2] & _TRUNCATED >> 8)


def rcode_of(message: bytes) -> int:
    """The reply's code: 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, …"""
    return message[3] & 0x0F


def read_reply(message: bytes, asked: bytes) -> Reply:
    """What a message that `answers` the A question says, or `InvalidValueError`."""
    _, flags, _, answered, authority, _ = _HEADER.unpack_from(message)
    place = _HEADER.size + len(asked)
    addresses: list[str] = []
    ttls: list[int] = []
    absent_s: int | None = None
    try:
        for number in range(answered + authority):
            place = _after_name(message, place)
            kind, family, ttl_s, length = _RECORD.unpack_from(message, place)
            place += _RECORD.size
            content = message[place : place + length]
            if len(content) < length:
                raise ValueError("cut off")
            place += length
            if number < answered:
                ttls.append(ttl_s)
                if kind == A and family == _IN and length == 4:
                    addresses.append(".".join(map(str, content)))
            elif kind == SOA and length >= 4:
                absent_s = min(ttl_s, int.from_bytes(content[-4:], "big"))
    except (ValueError, IndexError, struct.error) as error:
        raise InvalidValueError(f"not a DNS message: {error}") from error
    return Reply(flags & 0x0F, tuple(addresses), min(ttls) if addresses else absent_s)


def _after_name(message: bytes, place: int) -> int:
    """Where the name that starts here ends; a pointer is its last part, and is not followed."""
    while (length := message[place]) != 0:
        if length >= 0xC0:
            return place + 2
        if length > _MAX_LABEL:
            raise ValueError("unknown label type")
        place += length + 1
    return place + 1

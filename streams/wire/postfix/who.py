"""The client of a line, read only where Postfix itself writes it: directly after fixed words."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import Address, parse_address

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
_MAX_WHO: Final = 330
"""A name of 255 characters, brackets, and the longest address with a zone."""


class Who(msgspec.Struct, frozen=True, gc=False):
    """`name[address]:port`, and where in the text it ends."""

    address: Address
    ptr: str
    """Empty where Postfix says `unknown` and for postscreen, which looks no names up."""
    port: str
    """Digits, or empty where none is logged."""
    end: int


@lru_cache(maxsize=16_384)
def _name_and_address(text: str) -> tuple[Address, str] | None:
    """`name[address` (the bracket not yet closed), the name empty for postscreen's form."""
    name, _, address = text.partition("[")
    if name and not _HOST_NAME.match(name):
        return None
    try:
        return parse_address(address), "" if name == "unknown" else name
    except InvalidValueError:
        return None


def who_at(text: str, start: int) -> Who | None:
    """The client that begins exactly at `start`; None where there is none with an address."""
    close = text.find("]", start, start + _MAX_WHO)
    if close < 0:
        return None
    known = _name_and_address(text[start:close])
    if known is None:
        return None
    end = close + 1
    port = ""
    if text[end : end + 1] == ":":
        stop = end + 1
        while text[stop : stop + 1] in _DIGITS and stop < end + 7:
            stop += 1
        if stop > end + 1:
            port, end = text[end + 1 : stop], stop
    if text[end : end + 1] not in _FOLLOWING:
        return None
    return Who(known[0], known[1], port, end)


_FOLLOWING: Final = frozenset({"", " ", ":", ",", ";"})
_DIGITS: Final = frozenset("0123456789")
"""The empty string, which slicing yields at the end of a text, is not among them."""

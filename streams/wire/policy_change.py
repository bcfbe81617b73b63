"""Records of `smtp.policy`: entries (a row as JSON), and commits. Schema: schemas/policy.v1.json."""

from typing import Any, Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.instant import Instant
from streams.wire.instants import from_wire, to_wire
from streams.wire.policy_values import Row

COMMIT_KEY: Final = "change"
CHANGE_HEADER: Final = "goaway-change"
MAX_RECORD_BYTES: Final = 65_536
MAX_KEY: Final = 256
MAX_NUMBER: Final = 2**53 - 1
MAX_TEXTS: Final = {"version": 64, "who": 256, "what": 4096, "note": 256}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A commit: the change of this number is whole. Its texts are cut to their bounds."""

    number: int
    after: int
    """Number of the change that it follows; 0: none."""
    version: str
    """Of the policy that it makes."""
    who: str
    at: Instant
    what: str
    """In words, line by line."""
    note: str = ""
    entries: int = 0
    """How many records it has beside this one."""

    def __post_init__(self) -> None:
        for name, most in MAX_TEXTS.items():
            text = getattr(self, name)
            kept = text[:most].encode("utf-8", "replace").decode()
            if kept != text:
                msgspec.structs.force_setattr(self, name, kept)


_encoder: Final = msgspec.json.Encoder(enc_hook=to_wire)
_change: Final = msgspec.json.Decoder(Change, dec_hook=from_wire)
_row: Final = msgspec.json.Decoder(dict[str, Any])


def encode_entry(row: Row) -> bytes:
    """Value of an entry's record."""
    return _encoder.encode(row)


def encode_change(change: Change) -> bytes:
    """Value of a commit."""
    return _encoder.encode(change)


def decode_entry(value: bytes) -> Row:
    """The row of an entry's record, or `InvalidValueError`; what it says is not checked."""
    if len(value) > MAX_RECORD_BYTES:
        raise InvalidValueError(f"an entry of {len(value)} bytes")
    try:
        return _row.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not an entry: {error}") from error


def encode_number(number: int) -> bytes:
    """Value of the header `goaway-change`."""
    return b"%d" % number


def decode_number(header: bytes | None) -> int:
    """Number in that header; 0 where there is none that can be read."""
    if header is None or not 0 < len(header) <= 16 or not header.isdigit():
        return 0
    return int(header) if int(header) <= MAX_NUMBER else 0


def decode_change(value: bytes | None) -> Change:
    """A commit within its bounds, or `InvalidValueError`."""
    if value is None or len(value) > MAX_RECORD_BYTES:
        raise InvalidValueError("a commit without a value, or a huge one")
    try:
        change = _change.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not a commit: {error}") from error
    if not 0 <= change.after < change.number <= MAX_NUMBER or change.entries < 0:
        raise InvalidValueError(f"not a commit: number {change.number} after {change.after}")
    return change

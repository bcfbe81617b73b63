"""A frame: one or more events as newline-delimited JSON, the value of a record on `smtp.events`.

Decisions and warnings travel one a record, encoded by the same rules.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import ClientPrefixes, parse_address
from streams.model.deadletter import DeadLetter
from streams.model.decision import Decision, LimitWarning
from streams.model.event import Event
from streams.wire.instants import from_wire, to_wire

T = TypeVar("T")

MAX_FRAME_BYTES: Final = 900_000
"""Below Kafka's default `message.max.bytes` (1 048 588) with room for headers."""


_ENCODER: Final = msgspec.json.Encoder(enc_hook=to_wire)
_EVENT: Final = msgspec.json.Decoder(Event, dec_hook=from_wire)
_DECISION: Final = msgspec.json.Decoder(Decision, dec_hook=from_wire)
_LETTER: Final = msgspec.json.Decoder(DeadLetter)
_WARNING: Final = msgspec.json.Decoder(LimitWarning, dec_hook=from_wire)


def encode(record: Event | Decision | LimitWarning | DeadLetter) -> bytes:
    """One JSON object without a line end."""
    return _ENCODER.encode(record)


def encode_frame(events: Iterable[Event]) -> bytes:
    """The events in their order, each ended by a newline."""
    return _ENCODER.encode_lines(events)


def decode_frame(frame: bytes) -> list[Event]:
    """All events of a frame whose every line reads, or `InvalidValueError`; see `salvage_frame`."""
    try:
        return _EVENT.decode_lines(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not a frame of events: {error}") from error


def salvage_frame(frame: bytes) -> tuple[list[Event], list[tuple[bytes, str]]]:
    """The events of a frame that can be read, and each line that can't with the reason."""
    events: list[Event] = []
    unreadable: list[tuple[bytes, str]] = []
    for line in frame.split(b"\n"):
        if not line.strip():
            continue
        try:
            events.append(decode_event(line))
        except InvalidValueError as error:
            unreadable.append((line, error.what))
    return events, unreadable


def decode_event(line: bytes) -> Event:
    """One event, with the address checked to be one and the client to be a canonical key."""
    event = _decode(_EVENT, line, "an event")
    if parse_address(event.address) != event.address:
        raise InvalidValueError(f"address {event.address!r} is not in canonical form")
    return event


def decode_decision(value: bytes) -> Decision:
    """One decision from the value of a record on `smtp.decisions`."""
    return _decode(_DECISION, value, "a decision")


def decode_warning(value: bytes) -> LimitWarning:
    """One warning from the value of a record on `smtp.warnings`."""
    return _decode(_WARNING, value, "a warning")


def decode_dead_letter(value: bytes) -> DeadLetter:
    """One dead letter from the value of a record on `smtp.deadletters`."""
    return _decode(_LETTER, value, "a dead letter")


def _decode(decoder: msgspec.json.Decoder[T], value: bytes, what: str) -> T:
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not {what}: {error}") from error


def belongs(event: Event, prefixes: ClientPrefixes) -> bool:
    """Whether the event's client is the one its address has under these prefixes."""
    return prefixes.client_of(event.address) == event.client

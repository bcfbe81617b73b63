"""Events as they are sent to ClickHouse: a line of JSON each, which a view takes apart (sql/0010).

Every event is decoded and checked here, and what is sent is written anew, an array without names: so nothing
that two parsers might read differently (a name twice, a number as text, a broken escape) comes before the
second one. Only what the sink itself decides by has columns of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from streams.audit.tables import EVENT_LINE_ROWS, EVENT_ROWS
from streams.errors import InvalidValueError
from streams.model.event import Event
from streams.model.instant import Instant
from streams.wire.instants import microseconds, to_wire

Veiling = Callable[[tuple[Any, ...]], tuple[Any, ...]]
"""The fields of an event, in their order, as they are to be stored."""

_INT64_MAX: Final = 2**63 - 1
_MOST: Final = {column.field: column.bounds[1] for column in EVENT_ROWS.columns if column.bounds}


def _type(field: msgspec.structs.FieldInfo) -> Any:
    if field.type is Instant:
        return str
    if field.type is int:
        # what msgspec cannot compare with is left to the slow way
        return Annotated[int, msgspec.Meta(ge=0, le=min(_MOST[field.name], _INT64_MAX))]
    return field.type


_LINE: Final = msgspec.defstruct(
    "_Line",
    [
        (field.name, _type(field))
        if field.default is msgspec.NODEFAULT
        else (field.name, _type(field), field.default)
        for field in msgspec.structs.fields(Event)
    ],
    gc=False,
    kw_only=True,
)
"""An event whose instant is still text, a call less for each, and whose numbers fit."""
_DECODER: Final = msgspec.json.Decoder(_LINE)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=to_wire)


class EventLines(NamedTuple):
    """Events of one record."""

    columns: list[list[Any]]
    """Of `EVENT_LINE_ROWS`."""
    sources: list[str]
    positions: list[int]


def read_lines(frame: bytes, veiling: Veiling | None = None) -> EventLines:
    """All events of a frame, or `InvalidValueError` where there is the least doubt about one.

    Then `salvage_frame` tells what can be stored from what can't, and `lines_of` goes on with the former.
    """
    try:
        events: list[Any] = _DECODER.decode_lines(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not a frame of events: {error}") from error
    return _lines(events, microseconds([event.at for event in events]), veiling)


def lines_of(events: Sequence[Event], veiling: Veiling | None = None) -> EventLines:
    """Events that were checked (`EVENT_ROWS.check`)."""
    return _lines(events, [int(event.at) for event in events], veiling)


def _lines(events: Sequence[Any], at: list[int], veiling: Veiling | None) -> EventLines:
    fields: Iterable[tuple[Any, ...]] = map(astuple, events)
    if veiling is not None:
        fields = map(veiling, fields)
    lines = _ENCODER.encode_lines(fields).split(b"\n")
    del lines[-1]  # behind the last line's end
    values: tuple[Sequence[Any], ...] = (at, [event.address for event in events], lines)
    return EventLines(
        [column.fitted(found) for column, found in zip(EVENT_LINE_ROWS.columns, values, strict=True)],
        [event.source for event in events],
        [event.position for event in events],
    )

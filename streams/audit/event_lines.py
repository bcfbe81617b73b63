"""Frames of events as columns, without an object for each event: the sink's fast way.

It reads what `decode_frame` reads, and yields what `EVENT_ROWS` holds. Whatever it has the least doubt about
it leaves to the slow way (`rows`), which tells what can be stored from what can't.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streams.audit.tables import EVENT_ROWS
from streams.errors import InvalidValueError
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant

_FIELDS: Final = msgspec.structs.fields(Event)
_LINE: Final = msgspec.defstruct(
    "_Line",
    [
        (field.name, str if field.type is Instant else field.type)
        if field.default is msgspec.NODEFAULT
        else (field.name, field.type, field.default)
        for field in _FIELDS
    ],
    gc=False,
    kw_only=True,
)
"""An event whose instant is still text: a call less for each."""
_DECODER: Final = msgspec.json.Decoder(_LINE)
_ORDER: Final = [[field.name for field in _FIELDS].index(column.field) for column in EVENT_ROWS.columns]

_MAX_SECONDS: Final = 200_000


def event_columns(frame: bytes) -> list[list[Any]]:
    """The columns of `EVENT_ROWS` for all events of a frame, or `InvalidValueError`."""
    try:
        lines = _DECODER.decode_lines(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"not a frame of events: {error}") from error
    if not lines:
        return [[] for _ in _ORDER]
    fields = list(zip(*map(msgspec.structs.astuple, lines), strict=True))
    columns: list[list[Any]] = []
    for column, at in zip(EVENT_ROWS.columns, _ORDER, strict=True):
        found = instants(fields[at]) if column.field == "at" else fields[at]
        columns.append(column.fitted(found))
    return columns


_seconds: Final[dict[str, int]] = {}
"""`2023-03-13T23:00:31` → microseconds."""


def instants(texts: Sequence[str]) -> list[int]:
    """Instants in microseconds, each as `parse_instant` reads it."""
    fractions = [text[20:26] for text in texts]
    together = "".join(fractions)
    canonical = (
        len(together) == 6 * len(texts)
        and together.isascii()
        and together.isdigit()
        and {text[26:] for text in texts} == {"Z"}
        and {text[19] for text in texts} == {"."}
    )
    if not canonical:
        return [int(parse_instant(text)) for text in texts]
    return [_second(text[:19]) + int(fraction) for text, fraction in zip(texts, fractions, strict=True)]


def _second(text: str) -> int:
    known = _seconds.get(text)
    if known is None:
        if len(_seconds) >= _MAX_SECONDS:
            _seconds.clear()
        known = _seconds[text] = int(parse_instant(f"{text}.000000Z"))
    return known

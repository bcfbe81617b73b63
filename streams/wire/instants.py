"""Instants in JSON: as text, RFC 3339 in UTC."""

from typing import Any

from streams.model.instant import Instant, parse_instant, rfc3339


def to_wire(value: object) -> str:
    """For msgspec's encoders: how what they do not know is written."""
    if isinstance(value, Instant):
        return rfc3339(value)
    raise NotImplementedError(f"no wire form for {type(value).__name__}")


def from_wire(kind: type[Any], value: object) -> Instant:
    """For msgspec's decoders: how it is read."""
    if kind is Instant and isinstance(value, str):
        return Instant(parse_instant(value))
    raise ValueError(f"{str(value)[:64]!r} is not a {kind.__name__}")

"""Instants in JSON: as text, RFC 3339 in UTC."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from streams.model.instant import MICROSECONDS, Instant, parse_instant, rfc3339

_MOST_KNOWN: Final = 200_000
_POINT: Final = len("2023-03-13T23:00:31")
_LENGTH: Final = len("2023-03-13T23:00:31.185246Z")
_LENGTHS: Final = {_LENGTH}
_FRACTIONS: Final = msgspec.json.Decoder(list[int])

_seconds: Final[dict[str, int]] = {}
"""`2023-03-13T23:00:31` → microseconds, less a million; only saves work."""


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


def microseconds(texts: Sequence[str]) -> list[int]:
    """The instants of these texts, each as `parse_instant` reads it; `ValueError` where one is none."""
    if set(map(len, texts)) == _LENGTHS:
        count, together = len(texts), "".join(texts)
        parts = together.replace("Z", ".").split(".")
        digits = "".join(parts[1::2])
        if (
            len(parts) == 2 * count + 1
            and together[_POINT::_LENGTH] == "." * count
            and together[_LENGTH - 1 :: _LENGTH] == "Z" * count
            and digits.isdigit()
            and digits.isascii()
        ):
            # with a digit before each: JSON allows no zeros to lead
            fractions = _FRACTIONS.decode(f"[1{',1'.join(parts[1::2])}]")
            seconds = parts[:-1:2]
            with suppress(KeyError):
                return [_seconds[it] + us for it, us in zip(seconds, fractions, strict=True)]
            _learn(seconds)
            return [_seconds[it] + us for it, us in zip(seconds, fractions, strict=True)]
    return [int(parse_instant(text)) for text in texts]


def _learn(seconds: Iterable[str]) -> None:
    if len(_seconds) > _MOST_KNOWN:
        _seconds.clear()
    for second in set(seconds):
        _seconds[second] = parse_instant(f"{second}.000000Z") - MICROSECONDS

"""Hits of a search: their short ids, their order, and the block that stood when the MTA refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.errors import InvalidValueError
from streams.model.decision import Decision, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.wire.postfix.ours import OPENING

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of hits: everything after it on the way to older ones is not yet shown."""

    at: int
    id: str

    def __str__(self) -> str:
        return f"{_base36(self.at)}-{self.id}"


@dataclass(frozen=True, slots=True)
class Hit:
    """An event, with the block that stood when we refused it where there is one; or a decision alone."""

    event: Event | None = None
    decision: Decision | None = None

    @property
    def at(self) -> Instant:
        """When."""
        found = self.event or self.decision
        assert found is not None
        return found.at

    @property
    def id(self) -> str:
        """The id of the event or decision."""
        found = self.event or self.decision
        assert found is not None
        return found.id

    @property
    def short_id(self) -> str:
        """What `--story` takes: the instant, so that it is found at once, and four digits of the id."""
        return short_id(self.at, self.id)

    @property
    def cursor(self) -> Cursor:
        """Its place in the order."""
        return Cursor(self.at, self.id)


def short_id(at: int, whole: str) -> str:
    """`kq3f0x2m9a-1f2c`"""
    return f"{_base36(at)}-{derived_id('hit', whole)[:4]}"


def instant_of_short(text: str) -> Instant | None:
    """The instant that a short id names; None where it is no short id."""
    head, dash, tail = text.partition("-")
    if not dash or len(tail) != 4 or not 1 <= len(head) <= 12 or any(it not in _DIGITS for it in head):
        return None
    return Instant(int(head, 36))


def parse_cursor(text: str) -> Cursor:
    """What a page ended with; `InvalidValueError` for anything else."""
    head, dash, tail = text.partition("-")
    if not dash or not tail or len(tail) > 64 or not head.isalnum() or not head.isascii() or len(head) > 12:
        raise InvalidValueError(f"{text[:64]!r} is no cursor", try_next="take it from the end of a page")
    return Cursor(int(head, 36), tail)


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


def block_at(decisions: Sequence[Decision], event: Event) -> Decision | None:
    """The newest of these (they come newest first) that stood for the event's client at its instant.

    Where several stood, the one whose reason the MTA's log repeats.
    """
    deferred = 400 <= event.code < 500
    stood = [
        it
        for it in decisions
        if it.client == event.client
        and it.at <= event.at
        and (it.until is None or event.at < it.until)
        and (it.action == "defer") == deferred
    ]
    said = event.detail.partition(OPENING)[2]
    opening = [it for it in stood if it.reason and said.startswith(it.reason)]
    named = opening or [it for it in stood if it.reason and it.reason in event.detail]
    return next(iter(named or stood), None)

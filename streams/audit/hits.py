"""Hits of a search: their short ids, their order, and what a refusal's text says of who refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.errors import InvalidValueError
from streams.model.decision import Decision, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.policy import Replies

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
SPOKEN: Final[dict[str, tuple[str, ...]]] = {
    trigger: tuple(f"{Replies().opening}: {getattr(Replies(), name)}" for name in names)
    for trigger, names in {
        "rate": ("rate",),
        "reputation": ("reputation",),
        "greylist": ("greylist", "greylisted"),
        "protocol": ("protocol",),
        "blocklist": ("blocklist",),
    }.items()
}
"""Trigger → how our refusals by it begin in the MTA's log, unless `[replies]` says otherwise."""

_OPENING: Final = f"{Replies().opening}: "
OURS: Final = f"([0-9]{{3}}[ -])?([0-9][.][0-9]+[.][0-9]+ )?(<.*>: [A-Za-z -]+ rejected: )?{_OPENING}"
"""How the text of our refusals begins: `551 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Go away: `, or
without what Postfix says before our words. `<…>` may be the client's words, and so may hold all of this."""
NOT_OURS: Final = f"{_OPENING}.*>: | proto=.*{_OPENING}|> sasl_.*{_OPENING}"
"""Our opening before Postfix's own words; or marks of its line before our opening, which only a client writes
there, and by which the line may have been taken apart in the wrong place."""
MAX_OURS: Final = 510
"""Postfix cuts a reply to so many bytes: at that length it may end in the client's words. An address or HELO
name of that length may have been cut too."""
_OURS: Final = re.compile(OURS, re.DOTALL)
_NOT_OURS: Final = re.compile(NOT_OURS, re.DOTALL)


def is_ours(event: Event) -> bool:
    """Whether the MTA refused by our answer, as its text shows (the policy's default opening).

    The client's words stand in that text too, in `<…>`: only what is behind the last `>: ` counts. They stand
    in the line twice. So where they hold what ends the text, they are once more in HELO, sender or recipient:
    whoever writes our opening there is not believed. As `trigger` of `events` (sql/0012).
    """
    detail, written = event.detail, (event.helo, event.sender, event.recipient)
    return (
        event.code >= 400
        and _OURS.match(detail) is not None
        and _NOT_OURS.search(detail) is None
        and all(len(it.encode("utf-8", "surrogatepass")) < MAX_OURS for it in (detail, *written))
        and not any(Replies().opening in it for it in written)
    )


def spoken_by(event: Event) -> str:
    """The trigger whose reason this refusal gives: `other` for none of those, empty where it is not ours."""
    if not is_ours(event):
        return ""
    return next((it for it, texts in SPOKEN.items() if any(text in event.detail for text in texts)), "other")


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
    said = event.detail.partition(_OPENING)[2]
    named = [it for it in stood if it.reason and said.startswith(it.reason)]
    return next(iter(named or stood), None)

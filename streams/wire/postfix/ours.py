"""Whether a refusal in the MTA's log is our own answer, told from its text: the one definition.

As `trigger` of `events` (sql/0012_ours.sql), for what reads the log's events without a database.
"""

import re
from typing import Final

from streams.model.event import Event
from streams.model.policy import Replies

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

OPENING: Final = f"{Replies().opening}: "
OURS: Final = f"([0-9]{{3}}[ -])?([0-9][.][0-9]+[.][0-9]+ )?(<.*>: [A-Za-z -]+ rejected: )?{OPENING}"
"""How the text of our refusals begins: `551 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Go away: `, or
without what Postfix says before our words. `<…>` may be the client's words, and so may hold all of this."""
NOT_OURS: Final = f"{OPENING}.*>: | proto=.*{OPENING}|> sasl_.*{OPENING}"
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
    whoever writes our opening there is not believed.
    """
    return (
        event.code >= 400
        and _OURS.match(event.detail) is not None
        and _NOT_OURS.search(event.detail) is None
        and not _may_be_cut(event)
        and not any(Replies().opening in it for it in _written(event))
    )


def cannot_be_told(event: Event) -> bool:
    """Whether a refusal may be ours although `is_ours` does not believe it: our opening is in it, where the
    client may have put it; or the text was cut."""
    return event.code >= 400 and not is_ours(event) and (_may_be_cut(event) or OPENING in event.detail)


def _written(event: Event) -> tuple[str, str, str]:
    """What the client wrote."""
    return event.helo, event.sender, event.recipient


def _may_be_cut(event: Event) -> bool:
    """Whether one of its texts has the length at which Postfix cuts."""
    texts = (event.detail, *_written(event))
    return any(len(it.encode("utf-8", "surrogatepass")) >= MAX_OURS for it in texts)


def spoken_by(event: Event) -> str:
    """The trigger whose reason this refusal gives: `other` for none of those, empty where it is not ours."""
    if not is_ours(event):
        return ""
    return next((it for it, texts in SPOKEN.items() if any(text in event.detail for text in texts)), "other")

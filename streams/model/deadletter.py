"""What could not be read, where and why: kept on `smtp.deadletters`, never dropped in silence."""

from typing import Final

import msgspec

MAX_LETTER_TEXT: Final = 4096
"""Characters kept of the unreadable text."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One line or record that could not be read."""

    source: str
    """A file's path, or `topic/partition` of a record."""
    position: int
    """Byte offset in the file, or the record's offset."""
    reason: str
    text: str
    """The beginning of it, with what is not printable ASCII escaped as in a Python bytes literal."""


def dead_letter(source: str, position: int, reason: str, content: bytes) -> DeadLetter:
    """A dead letter of at most `MAX_LETTER_TEXT` escaped characters."""
    text = repr(content[:MAX_LETTER_TEXT])[2:-1][:MAX_LETTER_TEXT]
    return DeadLetter(source=source[:512], position=position, reason=reason[:512], text=text)

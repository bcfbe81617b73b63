"""How much there is to read, and how much of it was read: for whoever shows progress."""

from dataclasses import dataclass


@dataclass(slots=True)
class Extent:
    """Counted up by a source while it is read."""

    total: int | None = None
    """Bytes as they lie on disk, rows or records; None where nobody knows, such as of standard input."""
    done: int = 0

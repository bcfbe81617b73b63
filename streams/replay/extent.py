"""How much there is to read, and how much of it was read: for whoever shows progress."""

from dataclasses import dataclass


@dataclass(slots=True)
class Extent:
    """Counted up by a source while it is read."""

    unit: str = "bytes"
    """`bytes` (as they lie on disk, compressed or not), `rows` or `records`."""
    total: int | None = None
    """None where nobody knows, such as of standard input."""
    done: int = 0

"""Text that a remote wrote, made fit for a page: bounded, escaped."""

from html import escape
from typing import Final

MAX_SHOWN: Final = 200
THIN: Final = "\u202f"
"""Between the thousands: a thin space at which no line is broken."""


def bounded(text: str, longest: int = MAX_SHOWN) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def safe(text: object, longest: int = MAX_SHOWN) -> str:
    """The text for HTML and SVG: bounded, markup escaped, what is not printable written out."""
    cut = bounded(str(text), longest)
    printable = "".join(
        it if it.isprintable() or it == THIN else it.encode("unicode_escape").decode("ascii") for it in cut
    )
    return escape(printable, quote=True)


def number(value: float) -> str:
    """`12 345` with thin, unbreakable spaces; one decimal below ten where there is one."""
    if isinstance(value, float) and not value.is_integer() and abs(value) < 10:
        return f"{value:.1f}"
    return f"{round(value):,}".replace(",", THIN)

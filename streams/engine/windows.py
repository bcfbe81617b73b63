"""Sliding windows over event time: exact, one integer an event, nothing for clients that need none."""

from array import array
from bisect import bisect_right, insort_right
from typing import Final, TypeAlias

from streams.model.instant import MICROSECONDS
from streams.model.policy import WINDOW_S

WINDOW_US: Final = WINDOW_S * MICROSECONDS

Window: TypeAlias = "array[int]"
"""Ascending instants in microseconds."""


def slide(window: Window, at: int, now: int, length_us: int = WINDOW_US) -> int:
    """Move the window's end to `now`, count an event that happened at `at` (not after `now`), and
    return how many lie in it.

    The window is half open, `(now - length, now]`: of 60 s, what happened exactly 60 s ago has left it, what
    happened a microsecond later is in it. So one event every 3 s is 20 a minute, never 21.
    """
    edge = now - length_us
    if window and window[0] <= edge:
        del window[: bisect_right(window, edge)]
    if at > edge:
        if not window or at >= window[-1]:
            window.append(at)
        else:
            insort_right(window, at)
    return len(window)


def held(window: Window, now: int, length_us: int) -> int:
    """How many lie in the window that ends at `now`, at or after its latest event."""
    return len(window) - bisect_right(window, now - length_us)

"""How far a history is read, while it is: on standard error, and only in a terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console

from streams.replay.counts import ReadCounts
from streams.replay.extent import Extent

_EVERY_S: Final = 0.25


class Reading(Protocol):
    """Whoever reads; looked at anew each time, since a history is read more than once."""

    @property
    def counts(self) -> ReadCounts: ...
    @property
    def extent(self) -> Extent: ...


@contextmanager
def shown(reading: Reading, what: str | Callable[[], str]) -> Iterator[None]:
    """Events read, how fast, which share of the whole that is, and how long it still takes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    name = what if callable(what) else lambda: what
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=False),
        TextColumn("{task.fields[left]}"),
    )
    over = threading.Event()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name(), total=None, amount="", left="")
        extent, began = reading.extent, time.monotonic()

        def follow() -> None:
            nonlocal extent, began
            while not over.wait(_EVERY_S):
                events = reading.counts.events
                if reading.extent is not extent:  # from its beginning again
                    extent, began = reading.extent, time.monotonic() - _EVERY_S
                    progress.reset(task)
                progress.update(
                    task,
                    description=name(),
                    total=extent.total,
                    completed=extent.done,
                    amount=_amount(events, time.monotonic() - began),
                    left="" if extent.total is None else "left",
                )

        threading.Thread(target=follow, daemon=True).start()
        try:
            yield
        finally:
            over.set()


def _amount(events: int, seconds: float) -> str:
    """Empty where events are counted only at the end, as by several processes."""
    return f"{_short(events)} events, {_short(events / seconds)}/s" if events else ""


def _short(number: float) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number:,.0f}"

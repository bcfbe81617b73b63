"""A history that is read more than once: files as they are, standard input by way of a temporary file."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory

from streams.cli.options import now
from streams.model.event import Event
from streams.model.policy import Policy
from streams.replay.counts import ReadCounts
from streams.replay.sources import history
from streams.replay.tuning import History


@contextmanager
def readable_again(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The files, with `-` copied to one that is gone afterwards."""
    with TemporaryDirectory(prefix="goaway-") as folder:
        copy = Path(folder) / "standard-input"
        if any(str(file) == "-" for file in files):
            with copy.open("wb") as out:
                shutil.copyfileobj(sys.stdin.buffer, out)
        yield [copy if str(file) == "-" else file for file in dict.fromkeys(files)]


def reader(files: Sequence[Path], *, policy: Policy, zone: tzinfo, counts: ReadCounts) -> History:
    """Reads the history from its beginning each time; `counts` are those of the first time."""
    reference, first = now(), [counts]

    def events() -> Iterator[Event]:
        of = first.pop() if first else ReadCounts()
        batches = history(files, zone=zone, reference=reference, prefixes=policy.clients, counts=of)
        return (event for batch in batches for event in batch.items)

    return events

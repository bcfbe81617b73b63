"""Files that hold the same history: what is in both would count twice."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from streams.errors import UnavailableError
from streams.replay.files import chunks, is_file


def warn_of_copies(files: Sequence[Path]) -> None:
    """A line on standard error where two files of one size begin with the same line."""
    known: dict[tuple[int, bytes], Path] = {}
    for file in dict.fromkeys(files):
        if not is_file(file):
            continue
        with suppress(UnavailableError, OSError):  # said where it is read
            begins = next(chunks(file), b"").partition(b"\n")[0]
            other = known.setdefault((file.stat().st_size, begins), file)
            if other is not file and begins and not other.samefile(file):
                click.echo(
                    f"note: {file} looks like a copy of {other}: what is in both counts twice", err=True
                )

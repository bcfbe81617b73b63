"""Files that hold the same history: what is in both would count twice."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from streams.errors import UnavailableError
from streams.replay.files import first_lines, is_file

_LINES = 5
"""A line alone may be the same in two logs: hosts begin a file at the same second, with the same words."""


def warn_of_copies(files: Sequence[Path]) -> None:
    """A line on standard error where two files begin with the same lines: packed or not, and however far the
    one has grown beyond the other."""
    known: dict[bytes, list[tuple[Path, list[bytes]]]] = {}
    for file in dict.fromkeys(files):
        if not is_file(file):
            continue
        with suppress(UnavailableError, OSError):  # said where it is read
            lines = first_lines(file, _LINES)
            if not lines:
                continue
            alike = known.setdefault(lines[0], [])
            other = next((it for it, begins in alike if _same(begins, lines)), None)
            if other is None:
                alike.append((file, lines))
            elif not other.samefile(file):
                click.echo(
                    f"note: {file} looks like a copy of {other}: what is in both counts twice", err=True
                )


def _same(one: list[bytes], other: list[bytes]) -> bool:
    """As far as the shorter goes."""
    return all(a == b for a, b in zip(one, other, strict=False))

"""A history that is read more than once: files as they are, standard input by way of a temporary file."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def readable_again(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The files, with `-` copied to one that is gone afterwards."""
    with TemporaryDirectory(prefix="goaway-") as folder:
        copy = Path(folder) / "standard-input"
        if any(str(file) == "-" for file in files):
            with copy.open("wb") as out:
                shutil.copyfileobj(sys.stdin.buffer, out)
        yield [copy if str(file) == "-" else file for file in dict.fromkeys(files)]

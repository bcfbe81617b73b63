"""A history that is read more than once: files as they are, pipes by way of a temporary file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from streams.errors import UnavailableError
from streams.replay.files import chunks, is_file


@contextmanager
def readable_again(files: Sequence[Path]) -> Iterator[list[Path]]:
    """The files; of what gives its content only once (`-`, `/dev/stdin`, `<(…)`) a copy, gone afterwards.

    `UnavailableError` where the copy cannot be made.
    """
    with TemporaryDirectory(prefix="goaway-") as folder:
        found = []
        for number, file in enumerate(dict.fromkeys(files)):
            if is_file(file):
                found.append(file)
                continue
            found.append(Path(folder) / f"copy-{number}")
            try:
                with found[-1].open("wb") as out:
                    out.writelines(chunks(file))
            except OSError as error:
                raise UnavailableError(
                    f"{file}: no room for a copy in {folder} ({error.strerror})",
                    try_next="TMPDIR=FOLDER, or save it to a file and name that",
                ) from error
        yield found

"""A folder that one process has to itself: held by a lock that ends with the process, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import UnavailableError, UsageError


@contextmanager
def sole_owner(folder: Path, *, taken: str, flag: str) -> Iterator[None]:
    """Make the folder where it is missing and hold it.

    `UsageError` with `taken` as its words where another process holds it, `UnavailableError` where it cannot
    be written; both name `flag`, which chooses another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot be written ({error.strerror})", try_next=f"{flag} DIR"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{taken} {folder}", try_next=f"goaway status, or {flag} DIR") from error
        yield

"""Where the rest of a rotated log went, and which files came after it."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from streams.ship.identity import head_at, is_compressed
from streams.ship.position import Place

_KEPT_DONE: Final = 32


def rotated(path: Path) -> Iterator[Path]:
    """Files that log rotation may have made of `path`, in no order.

    `mail.log.1`, `mail.log-20260131`, `mail.log.2.gz`, `mail-20260131.log` (logrotate's `extension`);
    not `mail.err` beside `mail`.
    """
    name, stem, suffix = (re.escape(part) for part in (path.name, path.stem, path.suffix))
    pattern = re.compile(rf"(?:{name}[.-]\d[\w.-]*|{stem}[.-]\d[\d.-]*{suffix}(?:\.\w+)?)")
    try:
        names = list(path.parent.iterdir())
    except OSError:
        return
    if path.is_symlink():
        yield from rotated(path.resolve())  # rotation happens where the file is
    for found in names:
        if found != path and pattern.fullmatch(found.name) and found.is_file():
            yield found


def find_rest(place: Place) -> Path | None:
    """The file that `place` is in, whatever it is called now; a copy or a compressed copy will do.

    None when it is gone, or when what is left of it is shorter than what was read.
    """
    path = Path(place.path)
    copies: list[tuple[bool, int, Path]] = []
    for candidate in (path, *rotated(path)):
        try:
            status = candidate.stat()
        except OSError:
            continue
        compressed = is_compressed(candidate)
        if not compressed and status.st_size < place.position:
            continue
        if head_at(candidate) != place.head:
            continue
        if (status.st_dev, status.st_ino) == (place.device, place.inode):
            return candidate
        copies.append((compressed, -status.st_mtime_ns, candidate))
    return min(copies)[2] if copies else None


def next_after(place: Place) -> Path | None:
    """The oldest rotated file that is younger than the one `place` is in; None when none lies between
    it and the file that has the followed path now."""
    path = Path(place.path)
    current = head_at(path)
    known = {place.fingerprint, *place.done} | ({current.fingerprint} if current else set())
    younger: list[tuple[int, Path]] = []
    for candidate in rotated(path):
        try:
            modified_ns = candidate.stat().st_mtime_ns
        except OSError:
            continue
        if modified_ns < place.modified_ns:
            continue
        head = head_at(candidate)
        if head is not None and head.fingerprint not in known:
            younger.append((modified_ns, candidate))
    return min(younger)[1] if younger else None


def rotated_before(path: Path) -> tuple[str, ...]:
    """Fingerprints of the rotated files that are there already, the latest last: not ours to read."""
    found = []
    for candidate in rotated(path):
        head = head_at(candidate)
        if head is not None:
            found.append((candidate.stat().st_mtime_ns, head.fingerprint))
    return tuple(fingerprint for _, fingerprint in sorted(found))[-_KEPT_DONE:]


def with_done(done: Collection[str], fingerprint: str) -> tuple[str, ...]:
    """`done` with one more, bounded."""
    return (*(f for f in done if f != fingerprint), fingerprint)[-_KEPT_DONE:]

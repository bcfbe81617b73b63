"""From one file of a followed path to the next: where reading of a file begins, goes on and ends."""

from pathlib import Path

from msgspec.structs import replace

from streams.ship.identity import source_of
from streams.ship.intake import Intake
from streams.ship.logfile import LogFile
from streams.ship.position import Place
from streams.ship.rotation import find_rest, next_after, rotated_before, with_done


def beginning(path: Path, file: LogFile, before: Place | None) -> Place:
    """The beginning of a file that is read as `path`; `before` is where the file before it ended, None where
    nothing was read yet: then rotated files that are there already are not ours."""
    same = before is not None and before.fingerprint == file.head.fingerprint
    generation = before.generation + 1 if before and same else 0
    return Place(
        path=str(path),
        source=source_of(str(path), file.head.fingerprint, generation),
        device=file.device,
        inode=file.inode,
        generation=generation,
        fingerprint=file.head.fingerprint,
        head_length=file.head.length,
        position=0,
        modified_ns=file.modified_ns,
        done=with_done(before.done, before.fingerprint) if before else rotated_before(path),
        parser=before.parser if before else {},
    )


def rest_of(place: Place, offset: int, *, besides: Path | None = None) -> LogFile | None:
    """The file that `place` is in, whatever it is called now, opened at `offset`; None where it is gone, was
    truncated, or is `besides`. Raises as `LogFile.open` does."""
    rest = find_rest(place)
    if rest is None or rest == besides:
        return None
    file = LogFile.open(rest, offset)
    return file if file is not None and file.head == place.head else None


def passed_over(place: Place, modified_ns: int) -> bool:
    """Whether a rotated file lies between the one of `place`, last written to then, and the one that has the
    path now."""
    return next_after(replace(place, modified_ns=modified_ns)) is not None


def moved(place: Place, intake: Intake, modified_ns: int) -> Place:
    """The same file, further on."""
    return replace(place, position=intake.position, parser=intake.parser.snapshot(), modified_ns=modified_ns)


def ended(place: Place) -> Place:
    """The same file, given up."""
    return replace(place, ended=True)

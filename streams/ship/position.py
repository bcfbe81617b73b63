"""How far each followed log was read and acknowledged: one small JSON file per path, replaced whole."""

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from streams.errors import InvalidValueError, UnavailableError
from streams.model.decision import derived_id
from streams.ship.identity import Head


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a followed log: everything before `position` was acknowledged by Kafka."""

    path: str
    """The path that is followed; the file itself may have been renamed since."""
    source: str
    device: int
    inode: int
    generation: int
    fingerprint: str
    head_length: int
    position: int
    """Byte offset of the first line that is not known to be shipped."""
    modified_ns: int
    """The file's modification time when this was noted: what was rotated later is younger."""
    ended: bool = False
    """The file was read to its end and given up; what follows it is next."""
    done: tuple[str, ...] = ()
    """Fingerprints of the files read before this one, the latest last."""
    parser: dict[str, Any] = {}
    """The parser's own snapshot at `position`."""

    @property
    def head(self) -> Head:
        """The beginning of the file."""
        return Head(self.fingerprint, self.head_length)


def place_file(state: Path, path: Path) -> Path:
    """Where the place of a followed path is kept."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[:80]
    return state / f"{name}.{derived_id(str(path))}.json"


def load_place(state: Path, path: Path) -> Place | None:
    """The saved place, None where there is none, or `InvalidValueError` where it cannot be read."""
    file = place_file(state, path)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Place)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidValueError(
            f"{file}: the saved position of {path} cannot be read ({error})",
            try_next=f"rm {file}  (ships {path} again from its beginning; doubles are recognised)",
        ) from error


def save_place(state: Path, place: Place) -> None:
    """Replace the place on disk; after a crash at any moment the old or the new one is there, whole."""
    file = place_file(state, Path(place.path))
    beside = file.with_name(f".{file.name}.new")
    try:
        state.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as out:
            out.write(msgspec.json.encode(place))
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
        folder = os.open(state, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UnavailableError(
            f"the position in {place.path} cannot be saved to {file} ({error.strerror})",
            try_next=f"df -h {state}",
        ) from error

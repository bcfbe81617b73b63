"""What a stage says of itself: a small JSON file, replaced whole, read by `goaway up` and `status`."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

Fact = str | int | float | bool | None


class StatusFile:
    """Writes one stage's facts; with no path it only keeps them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.last: dict[str, Fact] = {}
        """The facts written last: what the stage's metrics are read from."""

    def write(self, facts: Mapping[str, Fact]) -> None:
        """Replace the file; a reader sees the old facts or the new ones, never half."""
        self.last = {**facts, "pid": os.getpid(), "written": time.time()}
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(json.dumps(self.last))
        beside.replace(self._path)


def read_status(path: Path, *, fresh_s: float = 10.0) -> dict[str, Fact] | None:
    """The facts, or None where there are none or they are older than `fresh_s` seconds."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or time.time() - float(facts.get("written", 0)) > fresh_s:
        return None
    return facts

"""The sample log, moved in time: most of it is the past, its last minutes are written as they happen."""

import gzip
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

SAMPLE: Final = Path(__file__).parent.parent / "sample" / "mail.log.gz"

LIVE: Final = timedelta(seconds=495)
"""The end of the sample that is played live: it begins seconds before the scanner goes over its limit."""


class SampleFeed(threading.Thread):
    """Writes the sample to `log`: all but the last `live` at once, the rest each line at its time."""

    def __init__(self, folder: Path, *, live: timedelta = LIVE) -> None:
        super().__init__(name="sample", daemon=True)
        self.log: Final = folder / "mail.log"
        self._live = live
        self._stop = threading.Event()
        shutil.rmtree(folder, ignore_errors=True)  # the last run's sample had other times
        folder.mkdir(parents=True)
        self.log.touch()

    def run(self) -> None:
        """Write until the end, or until `stop`."""
        lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()
        stamps = [datetime.fromisoformat(line.partition(" ")[0]) for line in lines]
        shift = datetime.now(UTC) + self._live - stamps[-1]
        with self.log.open("a", encoding="utf-8", buffering=1) as log:
            for stamp, line in zip(stamps, lines, strict=True):
                at = stamp + shift
                wait_s = (at - datetime.now(UTC)).total_seconds()
                if wait_s > 0 and self._stop.wait(wait_s):
                    return
                log.write(f"{at.isoformat(timespec='microseconds')} {line.partition(' ')[2]}\n")

    def stop(self) -> None:
        """Write nothing any more."""
        self._stop.set()

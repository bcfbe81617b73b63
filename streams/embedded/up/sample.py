"""The sample log, moved in time so that it ends now: what it shows stands when it is shown."""

import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

SAMPLE: Final = Path(__file__).parent.parent / "sample" / "mail.log.gz"


def write_sample(target: Path, *, ends: datetime) -> Path:
    """Write the sample with its last line stamped `ends` (aware) and all distances kept."""
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()
    stamps = [datetime.fromisoformat(line.partition(" ")[0]) for line in lines]
    shift: timedelta = ends - stamps[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    moved = (
        f"{(stamp + shift).isoformat(timespec='microseconds')} {line.partition(' ')[2]}\n"
        for stamp, line in zip(stamps, lines, strict=True)
    )
    target.write_text("".join(moved), encoding="utf-8")
    return target

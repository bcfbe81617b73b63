"""`goaway doctor` on a data folder as `goaway up` leaves it, for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.parts import ROOT


def looked_at(folder: Path, *, clickhouse: str, password: str) -> dict[str, str]:
    """What was found, by what it is about: `up` runs, with this ClickHouse and nothing else that answers, and
    the environment has another one's password."""
    place = {
        "pid": os.getpid(),
        "kafka": "127.0.0.1:1",
        "listen": ["inet:127.0.0.1:2"],
        "clickhouse": clickhouse,
        "embedded": True,
    }
    (folder / "up.json").write_text(json.dumps(place))
    (folder / "clickhouse.password").write_text(f"{password}\n")
    asked = subprocess.run(
        [sys.executable, "-m", "streams.cli", "doctor", "--json", "--data", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "GOAWAY_CLICKHOUSE_PASSWORD": "of-another"},
        check=False,
    )
    return {row["about"]: row["what"] for row in json.loads(asked.stdout)}

"""What `goaway doctor` looks at when `goaway up` runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.parts import ROOT


def test_clickhouse_is_looked_for_where_up_says_it_is(tmp_path: Path) -> None:
    """With a password in the environment, too: that of the embedded one is in the data folder."""
    place = {
        "pid": os.getpid(),
        "kafka": "127.0.0.1:1",
        "listen": ["inet:127.0.0.1:2"],
        "clickhouse": "127.0.0.1:3",
        "embedded": True,
    }
    (tmp_path / "up.json").write_text(json.dumps(place))
    (tmp_path / "clickhouse.password").write_text("of-the-engine\n")
    asked = subprocess.run(
        [sys.executable, "-m", "streams.cli", "doctor", "--json", "--data", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "GOAWAY_CLICKHOUSE_PASSWORD": "of-another"},
        check=False,
    )
    found = {row["about"]: row["what"] for row in json.loads(asked.stdout)}
    assert "127.0.0.1:1 " in found["Kafka"]
    assert found["ClickHouse"].startswith("ClickHouse at 127.0.0.1:3 does not answer")
    assert found["shim"].startswith("inet:127.0.0.1:2")

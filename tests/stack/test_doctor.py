"""`goaway doctor` beside a real embedded ClickHouse, as `goaway up` leaves word of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.embedded.clickhouse import EmbeddedClickHouse
from tests.parts import ROOT

pytestmark = pytest.mark.needs("chdb")


def test_it_asks_the_embedded_clickhouse_with_its_own_password(tmp_path: Path) -> None:
    with EmbeddedClickHouse() as clickhouse:
        there = clickhouse.start(tmp_path / "engine")
        place = {
            "pid": os.getpid(),
            "kafka": "127.0.0.1:1",
            "listen": ["inet:127.0.0.1:2"],
            "clickhouse": f"{there.host}:{there.port}",
            "embedded": True,
        }
        (tmp_path / "up.json").write_text(json.dumps(place))
        (tmp_path / "clickhouse.password").write_text(there.password + "\n")
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
        found = {row["about"]: row for row in json.loads(asked.stdout)}
        assert found["ClickHouse"]["what"].startswith(f"{there.host}:{there.port}: "), found["ClickHouse"]
        assert found["ClickHouse"]["what"].endswith("migrations wait")

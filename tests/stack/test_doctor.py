"""`goaway doctor` beside a real embedded ClickHouse, as `goaway up` leaves word of it."""

from pathlib import Path

import pytest

from streams.embedded.clickhouse import EmbeddedClickHouse
from tests.unit.asked_doctor import looked_at

pytestmark = pytest.mark.needs("chdb")


def test_it_asks_the_embedded_clickhouse_with_its_own_password(tmp_path: Path) -> None:
    with EmbeddedClickHouse() as clickhouse:
        there = clickhouse.start(tmp_path / "engine")
        found = looked_at(tmp_path, clickhouse=f"{there.host}:{there.port}", password=there.password)
        assert found["ClickHouse"].startswith(f"{there.host}:{there.port}: "), found["ClickHouse"]
        assert found["ClickHouse"].endswith("migrations wait")

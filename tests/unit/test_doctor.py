"""What `goaway doctor` looks at when `goaway up` runs."""

from pathlib import Path

from tests.unit.asked_doctor import looked_at


def test_clickhouse_is_looked_for_where_up_says_it_is(tmp_path: Path) -> None:
    """With a password in the environment, too: that of the embedded one is in the data folder."""
    found = looked_at(tmp_path, clickhouse="127.0.0.1:3", password="of-the-engine")
    assert "127.0.0.1:1 " in found["Kafka"]
    assert found["ClickHouse"].startswith("ClickHouse at 127.0.0.1:3 does not answer")
    assert found["shim"].startswith("inet:127.0.0.1:2")

"""Where Kafka and ClickHouse are: as a running `goaway up` on a data folder says, else the settings."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.cli.options import settings
from streams.config import Settings, parse_host_port


def place_of(data: Path) -> dict[str, Any] | None:
    """What the `goaway up` on this folder has written of its addresses; None where there is none."""
    file = data / "up.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    return found if isinstance(found, dict) else None


def reach(data: Path) -> Settings:
    """Settings from the environment, with the addresses of a running `goaway up` in place of theirs."""
    found = settings()
    try:
        place = place_of(data)
        if place is None:
            return found
        os.kill(int(place["pid"]), 0)
    except PermissionError:
        return found  # somebody else's, or not readable
    except (OSError, ValueError, KeyError, TypeError):
        return found
    kafka = replace(found.kafka, bootstrap=str(place["kafka"]))
    clickhouse = found.clickhouse
    if address := place.get("clickhouse"):
        host, port = parse_host_port(str(address), name="up.json")
        clickhouse = replace(clickhouse, host=host, port=port)
        with suppress(OSError):
            if place.get("embedded"):
                password = (data / "clickhouse.password").read_text(encoding="ascii").strip()
                clickhouse = replace(clickhouse, user="default", password=password, database="goaway")
    return replace(found, kafka=kafka, clickhouse=clickhouse)

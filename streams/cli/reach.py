"""Where Kafka and ClickHouse are: as a running `goaway up` on a data folder says, else the settings."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.cli.options import settings
from streams.config import ClickHouseSettings, Settings, parse_host_port


def place_of(data: Path) -> dict[str, Any] | None:
    """What the `goaway up` on this folder has written of its addresses; None where there is none."""
    file = data / "up.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    return found if isinstance(found, dict) else None


def reach(data: Path) -> Settings:
    """Settings from the environment, with the addresses of a running `goaway up` in place of theirs.

    Where none runs on the folder, an address that nobody named says so when it does not answer.
    """
    found = settings()
    try:
        place = place_of(data)
        if place is None:
            return _looked_for(found, data)
        os.kill(int(place["pid"]), 0)
        kafka = replace(found.kafka, bootstrap=str(place["kafka"]))
    except PermissionError:
        return found  # somebody else's, or not readable
    except (OSError, ValueError, KeyError, TypeError):
        return _looked_for(found, data)
    return replace(found, kafka=kafka, clickhouse=_stored_at(found.clickhouse, place, data))


def _stored_at(clickhouse: ClickHouseSettings, place: dict[str, Any], data: Path) -> ClickHouseSettings:
    """The ClickHouse of this place; the settings where it has none (yet)."""
    if not (address := place.get("clickhouse")):
        return clickhouse
    host, port = parse_host_port(str(address), name="up.json")
    clickhouse = replace(clickhouse, host=host, port=port)
    with suppress(OSError):
        if place.get("embedded"):
            password = (data / "clickhouse.password").read_text(encoding="ascii").strip()
            clickhouse = replace(
                clickhouse, user="default", password=password, database="goaway", tls=False, ca=""
            )
    return clickhouse


def _looked_for(found: Settings, data: Path) -> Settings:
    folder = str(data.absolute())
    return replace(
        found,
        kafka=replace(found.kafka, looked_for="" if os.environ.get("GOAWAY_KAFKA") else folder),
        clickhouse=replace(
            found.clickhouse, looked_for="" if os.environ.get("GOAWAY_CLICKHOUSE") else folder
        ),
    )

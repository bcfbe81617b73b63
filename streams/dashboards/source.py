"""The data source: ClickHouse as Grafana reaches it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.config import ClickHouseSettings
from streams.dashboards.grafana import SOURCE_TYPE, SOURCE_UID
from streams.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Source:
    """What Grafana keeps of it: what it shows again, and what it never shows."""

    shown: dict[str, Any]
    secrets: dict[str, str]

    def __repr__(self) -> str:
        return f"Source({self.shown!r})"


def source_of(settings: ClickHouseSettings) -> Source:
    """The data source for these settings; `SettingsError` where the CA file cannot be read."""
    secrets = {"password": settings.password} if settings.password else {}
    if settings.tls and settings.ca:
        try:
            secrets["tlsCACert"] = Path(settings.ca).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"GOAWAY_CLICKHOUSE_CA: cannot read {settings.ca} ({type(error).__name__})",
                try_next=f"ls -l {settings.ca}",
            ) from error
    shown = {
        "uid": SOURCE_UID,
        "name": "Goaway ClickHouse",
        "type": SOURCE_TYPE,
        "access": "proxy",
        "jsonData": {
            "host": settings.host,
            "port": settings.port,
            "protocol": "native",
            "username": settings.user,
            "defaultDatabase": settings.database,
            "secure": settings.tls,
            "tlsSkipVerify": False,
            "tlsAuthWithCACert": "tlsCACert" in secrets,
        },
    }
    return Source(shown, secrets)

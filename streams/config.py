"""Settings: read once at start from the environment; secrets also from a file.

`SETTINGS` is the list of all there are; the documentation is tested against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.errors import SettingsError, UnavailableError


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. A secret may also be given as `<name>_FILE`, a file's path."""

    name: str
    default: str
    meaning: str
    secret: bool = False


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("GOAWAY_KAFKA", "127.0.0.1:9092", "Kafka bootstrap servers, HOST:PORT[,HOST:PORT…]"),
    Setting("GOAWAY_KAFKA_SECURITY", "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    Setting(
        "GOAWAY_KAFKA_MECHANISM", "SCRAM-SHA-256", "SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    ),
    Setting("GOAWAY_KAFKA_USER", "", "SASL user name"),
    Setting("GOAWAY_KAFKA_PASSWORD", "", "SASL password", secret=True),
    Setting("GOAWAY_KAFKA_CA", "", "file of CA certificates that Kafka's certificate is checked against"),
    Setting("GOAWAY_CLICKHOUSE", "127.0.0.1:9000", "ClickHouse native protocol, HOST:PORT"),
    Setting("GOAWAY_CLICKHOUSE_USER", "default", "ClickHouse user"),
    Setting("GOAWAY_CLICKHOUSE_PASSWORD", "", "ClickHouse password", secret=True),
    Setting("GOAWAY_CLICKHOUSE_DATABASE", "goaway", "ClickHouse database"),
    Setting("GOAWAY_CLICKHOUSE_TLS", "off", "on: speak TLS to ClickHouse"),
    Setting(
        "GOAWAY_CLICKHOUSE_CA", "", "file of CA certificates that ClickHouse's certificate is checked against"
    ),
    Setting(
        "GOAWAY_STORE_ADDRESSES",
        "whole",
        "how sender and recipient are stored in ClickHouse: whole, hash or domain",
    ),
    Setting("GOAWAY_STORE_KEY", "", "key of those hashes, at least 16 characters", secret=True),
    Setting(
        "GOAWAY_NOTIFY_URLS",
        "",
        "where notices go: URLs of apprise, separated by blanks or line ends",
        secret=True,
    ),
    Setting("GOAWAY_GRAFANA", "http://127.0.0.1:3000", "URL of the Grafana that dashboards are pushed to"),
    Setting("GOAWAY_GRAFANA_TOKEN", "", "a Grafana service account's token, or user:password", secret=True),
    Setting("GOAWAY_POLICY", "", "the policy file, where --policy does not name one"),
    Setting("GOAWAY_DATA", "", "data folder, where --data does not name one"),
)

_SHORTEST_KEY: Final = 16
_SECURITY: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka. The password never appears in a repr."""

    bootstrap: str = "127.0.0.1:9092"
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-256"
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    looked_for: str = field(default="", compare=False)
    """The folder on which no `goaway up` runs that would have named the address; empty where it was named."""


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """How to reach ClickHouse's native protocol. The password never appears in a repr."""

    host: str = "127.0.0.1"
    port: int = 9000
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = "goaway"
    tls: bool = False
    ca: str = ""
    looked_for: str = field(default="", compare=False)
    """As of `KafkaSettings`."""


@dataclass(frozen=True, slots=True)
class StoringSettings:
    """How sender and recipient are stored (`streams/audit/veil.py`). The key never appears in a repr."""

    addresses: str = "whole"
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class GrafanaSettings:
    """How to reach Grafana. The token never appears in a repr."""

    url: str = "http://127.0.0.1:3000"
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a stage may need to know of its surroundings."""

    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    grafana: GrafanaSettings = GrafanaSettings()
    policy: str = ""
    data: str = ""
    notify_urls: str = field(default="", repr=False)
    storing: StoringSettings = StoringSettings()


def not_answering(place: str, why: str, looked_for: str) -> UnavailableError:
    """The error for a service that does not answer; `looked_for` is that of its settings."""
    what = f"{place} does not answer ({why})"
    if not looked_for:
        return UnavailableError(what, try_next="goaway doctor")
    return UnavailableError(
        f"{what}, and no goaway up runs on {looked_for}",
        try_next="--data DIR, the folder of one that runs, or goaway doctor",
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables, or `SettingsError` that names the variable."""

    def get(name: str) -> str:
        setting = next(s for s in SETTINGS if s.name == name)
        if setting.secret and (path := environ.get(f"{name}_FILE")):
            try:
                return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"{name}_FILE: cannot read {path} ({type(error).__name__})", try_next=f"ls -l {path}"
                ) from error
        return environ.get(name, setting.default)

    security = get("GOAWAY_KAFKA_SECURITY").upper()
    if security not in _SECURITY:
        raise SettingsError(
            f"GOAWAY_KAFKA_SECURITY = {security[:32]!r} is unknown", try_next=" or ".join(_SECURITY)
        )
    host, port = parse_host_port(get("GOAWAY_CLICKHOUSE"), name="GOAWAY_CLICKHOUSE", default_port=9000)
    return Settings(
        kafka=KafkaSettings(
            bootstrap=get("GOAWAY_KAFKA"),
            security=security,
            mechanism=get("GOAWAY_KAFKA_MECHANISM"),
            user=get("GOAWAY_KAFKA_USER"),
            password=get("GOAWAY_KAFKA_PASSWORD"),
            ca=get("GOAWAY_KAFKA_CA"),
        ),
        clickhouse=ClickHouseSettings(
            host=host,
            port=port,
            user=get("GOAWAY_CLICKHOUSE_USER"),
            password=get("GOAWAY_CLICKHOUSE_PASSWORD"),
            database=get("GOAWAY_CLICKHOUSE_DATABASE"),
            tls=_switch("GOAWAY_CLICKHOUSE_TLS", get("GOAWAY_CLICKHOUSE_TLS")),
            ca=get("GOAWAY_CLICKHOUSE_CA"),
        ),
        grafana=GrafanaSettings(url=get("GOAWAY_GRAFANA"), token=get("GOAWAY_GRAFANA_TOKEN")),
        policy=get("GOAWAY_POLICY"),
        data=get("GOAWAY_DATA"),
        notify_urls=get("GOAWAY_NOTIFY_URLS"),
        storing=_storing(get("GOAWAY_STORE_ADDRESSES").lower(), get("GOAWAY_STORE_KEY")),
    )


def _storing(addresses: str, key: str) -> StoringSettings:
    if addresses not in ("whole", "hash", "domain"):
        raise SettingsError(
            f"GOAWAY_STORE_ADDRESSES = {addresses[:32]!r} is unknown", try_next="whole, hash or domain"
        )
    if addresses == "hash" and len(key) < _SHORTEST_KEY:
        raise SettingsError(
            f"GOAWAY_STORE_KEY has {len(key)} characters; hashes need {_SHORTEST_KEY} or more",
            try_next="openssl rand -hex 32, into the file that GOAWAY_STORE_KEY_FILE names",
        )
    return StoringSettings(addresses, key)


def parse_host_port(text: str, *, name: str, default_port: int | None = None) -> tuple[str, int]:
    """`HOST:PORT` (IPv6 in brackets), or `SettingsError` that names the setting or flag."""
    host, colon, port = text.rpartition(":")
    if not colon and default_port is not None:
        return text, default_port
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        raise SettingsError(f"{name}: {text[:99]!r} is not HOST:PORT", try_next="127.0.0.1:9092")
    return bare, int(port)


def _switch(name: str, text: str) -> bool:
    known = {
        "on": True,
        "1": True,
        "true": True,
        "yes": True,
        "off": False,
        "0": False,
        "false": False,
        "no": False,
    }
    if text.lower() not in known:
        raise SettingsError(f"{name} = {text[:32]!r} is neither on nor off", try_next=f"{name}=on")
    return known[text.lower()]

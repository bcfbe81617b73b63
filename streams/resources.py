"""Where the files shipped beside the code are: `schemas/` and `sql/`.

In a checkout they are top-level folders; inside the wheel they lie in the package as `_schemas` and `_sql`.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    inside_wheel = _PACKAGE / f"_{name}"
    return inside_wheel if inside_wheel.is_dir() else _PACKAGE.parent / name


def schemas_folder() -> Path:
    """The JSON Schemas, one file a record type: `event.v1.json`, `decision.v1.json`, …"""
    return _folder("schemas")


def sql_folder() -> Path:
    """The numbered migrations: `0001_events.sql`, …"""
    return _folder("sql")

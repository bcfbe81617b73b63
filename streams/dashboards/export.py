"""The same dashboards, data source and alert rules as files from which Grafana provisions itself.

The folder has the shape of `/etc/grafana/provisioning`. The files hold JSON, which is YAML as well. No secret
is in them: the data source's password is taken from Grafana's own environment.
"""

import json
from pathlib import Path
from typing import Any, Final

from streams.config import ClickHouseSettings
from streams.dashboards.alerts import ALERTS
from streams.dashboards.grafana import FOLDER, RULE_GROUP, Json, dashboard_json, rule_json
from streams.dashboards.screens import SCREENS
from streams.dashboards.source import source_of
from streams.errors import UsageError

PLACE: Final = "/etc/grafana/provisioning"
"""Where Grafana looks, and where it finds the dashboards from their provider's file."""
PASSWORD: Final = "$GOAWAY_CLICKHOUSE_PASSWORD"  # noqa: S105  # Grafana puts the variable's value in


def export(folder: Path, settings: ClickHouseSettings, *, place: str = PLACE) -> list[Path]:
    """Write the files, over older ones of the same names; returned are their paths."""
    written = []
    for name, content in files(settings, place=place).items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="ascii")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", try_next=f"ls -ld {folder}") from error
        written.append(path)
    return written


def files(settings: ClickHouseSettings, *, place: str = PLACE) -> dict[str, Json]:
    """Path below the provisioning folder → content."""
    uid, title = FOLDER
    source = source_of(settings)
    shown = {**source.shown, "editable": False, "secureJsonData": {"password": PASSWORD}}
    if ca := source.secrets.get("tlsCACert"):
        shown["secureJsonData"] = {"password": PASSWORD, "tlsCACert": ca}
    provider = {
        "name": "goaway",
        "type": "file",
        "folder": title,
        "folderUid": uid,
        "allowUiUpdates": False,
        "options": {"path": f"{place}/dashboards/goaway"},
    }
    rules = [
        {name: value for name, value in rule_json(alert).items() if name not in ("folderUID", "ruleGroup")}
        for alert in ALERTS
    ]
    group = {"orgId": 1, "name": RULE_GROUP, "folder": title, "interval": "1m", "rules": rules}
    return {
        "datasources/goaway.yaml": {"apiVersion": 1, "datasources": [shown]},
        "dashboards/goaway.yaml": {"apiVersion": 1, "providers": [provider]},
        "alerting/goaway.yaml": {"apiVersion": 1, "groups": [_literal(group)]},
        **{f"dashboards/goaway/{screen.uid}.json": dashboard_json(screen) for screen in SCREENS},
    }


def _literal(value: Any) -> Any:
    """The value with `$` doubled: a single one is a variable of the environment to Grafana in these files."""
    if isinstance(value, dict):
        return {name: _literal(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_literal(below) for below in value]
    return value.replace("$", "$$") if isinstance(value, str) else value

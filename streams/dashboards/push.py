"""Folder, data source, dashboards and alert rules into a Grafana, each only where it is not there already.

Things are known by their uid. One is *unchanged* where all that would be sent is there already; what Grafana
adds of its own (ids, versions, defaults) does not count. Otherwise ours is written over what is there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import requests
from grafana_api.grafana_api import GrafanaException
from grafana_api.grafana_face import GrafanaFace

from streams.dashboards.alerts import ALERTS
from streams.dashboards.grafana import FOLDER, Json, dashboard_json, rule_json
from streams.dashboards.screens import SCREENS
from streams.dashboards.source import Source
from streams.errors import SettingsError, UnavailableError

Outcome = Literal["created", "updated", "unchanged"]

_OURS_TO_KEEP: Final = {"X-Disable-Provenance": "true"}
"""Rules that were pushed can be changed in Grafana like any other."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one thing."""

    kind: str
    name: str
    outcome: Outcome


class Grafana:
    """A Grafana at a URL, spoken to with a service account's token or as `user:password`."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.query:
            raise SettingsError(
                "GOAWAY_GRAFANA is not the URL of a Grafana", try_next="GOAWAY_GRAFANA=http://127.0.0.1:3000"
            )
        if not token:
            raise SettingsError(
                "GOAWAY_GRAFANA_TOKEN is empty", try_next="a service account's token, with the role Admin"
            )
        user, colon, password = token.partition(":")
        path = parts.path.strip("/")
        self.place: Final = f"Grafana at {host}"
        self._face: Final = GrafanaFace(
            auth=(user, password) if colon else token,
            host=f"[{host}]" if ":" in host else host,
            port=port,
            protocol=parts.scheme,
            url_path_prefix=f"{path}/" if path else "",
            timeout=20.0,
        )

    def push(self, source: Source, *, renew_password: bool = False) -> Iterator[Pushed]:
        """Push everything, one thing after another; `UnavailableError` where Grafana refuses or is away."""
        yield self._folder()
        yield self._source(source, renew_password=renew_password)
        for screen in SCREENS:
            yield self._dashboard(dashboard_json(screen))
        for alert in ALERTS:
            yield self._rule(rule_json(alert))

    def _folder(self) -> Pushed:
        uid, title = FOLDER
        folder = self._face.folder
        found = self._found(lambda: folder.get_folder(uid))
        if found is None:
            self._ask(lambda: folder.create_folder(title, uid))
        elif found.get("title") != title:
            self._ask(lambda: folder.update_folder(uid, title, overwrite=True))
        return Pushed("folder", title, _outcome(found, {"title": title}))

    def _source(self, source: Source, *, renew_password: bool) -> Pushed:
        path = f"/datasources/uid/{quote(source.shown['uid'], safe='')}"
        api = self._face.api
        found = self._found(lambda: api.GET(path))
        outcome = _outcome(found, source.shown)
        if found is None:
            sent = {**source.shown, "secureJsonData": source.secrets}
            self._ask(lambda: self._face.datasource.create_datasource(sent))
        elif outcome == "updated" or renew_password:
            kept = {**(found.get("jsonData") or {}), **source.shown["jsonData"]}
            changed = {**source.shown, "jsonData": kept, "secureJsonData": source.secrets}
            self._ask(lambda: api.PUT(path, json=changed))
            outcome = "updated"
        return Pushed("data source", source.shown["name"], outcome)

    def _dashboard(self, wanted: Json) -> Pushed:
        boards = self._face.dashboard
        found = self._found(lambda: boards.get_dashboard(wanted["uid"]))
        there = None
        if found is not None:
            there = {**found["dashboard"], "folderUid": found.get("meta", {}).get("folderUid")}
        outcome = _outcome(there, {**wanted, "folderUid": FOLDER[0]})
        if outcome != "unchanged":
            sent = {
                "dashboard": wanted,
                "folderUid": FOLDER[0],
                "overwrite": True,
                "message": "goaway dashboards push",
            }
            self._ask(lambda: boards.update_dashboard(sent))
        return Pushed("dashboard", wanted["title"], outcome)

    def _rule(self, wanted: Json) -> Pushed:
        rules, api = "/v1/provisioning/alert-rules", self._face.api
        place = f"{rules}/{wanted['uid']}"
        found = self._found(lambda: api.GET(place))
        outcome = _outcome(found, wanted)
        if outcome == "created":
            self._ask(lambda: api.POST(rules, json=wanted, headers=_OURS_TO_KEEP))
        elif outcome == "updated":
            self._ask(lambda: api.PUT(place, json=wanted, headers=_OURS_TO_KEEP))
        return Pushed("alert rule", wanted["title"], outcome)

    def _found(self, asked: Callable[[], Any]) -> Json | None:
        """What is there; None where nothing is."""
        try:
            found = self._ask(asked)
        except _MissingError:
            return None
        if not isinstance(found, dict):
            raise UnavailableError(
                f"{self.place} answers what no Grafana does", try_next="GOAWAY_GRAFANA=URL"
            )
        return found

    def _ask(self, asked: Callable[[], Any]) -> Any:
        try:
            return asked()
        except GrafanaException as error:
            if error.status_code == 404:
                raise _MissingError(f"{self.place} has no such thing (404)") from error
            if error.status_code in (401, 403):
                raise UnavailableError(
                    f"{self.place} does not let us do that ({error.status_code})",
                    try_next="GOAWAY_GRAFANA_TOKEN of a service account with the role Admin",
                ) from error
            said = ascii(str(error.message))[1:-1][:200]
            raise UnavailableError(f"{self.place} refused: {said}") from error
        except (requests.RequestException, ValueError) as error:
            raise UnavailableError(
                f"{self.place} does not answer as a Grafana ({type(error).__name__})",
                try_next="curl -i $GOAWAY_GRAFANA/api/health",
            ) from error


class _MissingError(UnavailableError):
    """404."""


def _outcome(found: object, wanted: object) -> Outcome:
    if found is None:
        return "created"
    return "unchanged" if holds(found, wanted) else "updated"


def holds(found: object, wanted: object) -> bool:
    """Whether all that is wanted is there: of a mapping each key, of a list each place and no more.

    A dashboard's `schemaVersion` is raised by Grafana itself and does not count.
    """
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name == "schemaVersion" or (name in found and holds(found[name], below))
            for name, below in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return found == wanted

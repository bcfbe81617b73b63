"""Pushing into Grafana: twice is once, what was changed there comes back, and a secret is never said.

Not every machine has a Grafana, so a small server answers here as the HTTP API of Grafana is documented. It
keeps folders, data sources, dashboards and alert rules, adds what Grafana adds, and refuses what that
refuses.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from click.testing import CliRunner, Result

from streams.cli.main import goaway
from streams.config import ClickHouseSettings
from streams.dashboards.alerts import ALERTS
from streams.dashboards.grafana import FOLDER, SOURCE_UID
from streams.dashboards.push import Grafana, holds
from streams.dashboards.screens import SCREENS
from streams.dashboards.source import source_of
from streams.errors import GoawayError, SettingsError, UsageError

TOKEN: Final = "glsa_do-not-say-it"
PASSWORD: Final = "clickhouse-do-not-say-it"
THINGS: Final = 2 + len(SCREENS) + len(ALERTS)
SOURCE: Final = source_of(ClickHouseSettings(host="db.example", user="grafana", password=PASSWORD))


@dataclass
class Kept:
    """What the server has, and which writes it was asked for."""

    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    passwords: list[str] = field(default_factory=list)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    answers_html: bool = False


class RefusedError(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message


class Api(BaseHTTPRequestHandler):
    """The endpoints that a push uses."""

    kept: ClassVar[Kept]
    prefix: ClassVar[str] = "/api"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, said = 200, b""
        try:
            said = json.dumps(self._do(method, json.loads(sent) if sent else None)).encode()
        except RefusedError as error:
            code, said = error.code, json.dumps({"message": error.message}).encode()
        if self.kept.answers_html:
            said = b"<html>welcome to nginx</html>"
        self.send_response(code)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _do(self, method: str, sent: Any) -> Any:
        basic = base64.b64encode(b"admin:pass:word").decode()
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Basic {basic}"):
            raise RefusedError(401, "Invalid API key")
        if not self.path.startswith(f"{self.prefix}/"):
            raise RefusedError(404, "Not found")
        path = self.path[len(self.prefix) :]
        if method != "GET":
            self.kept.written.append(f"{method} {path}")
        match method, *path.strip("/").split("/"):
            case "GET", "folders", uid:
                return self._one(self.kept.folders, uid)
            case "POST", "folders":
                return self._add(self.kept.folders, sent["uid"], {"id": 1, "version": 1, **sent})
            case "PUT", "folders", uid:
                return self._one(self.kept.folders, uid) | {"title": sent["title"]}
            case "GET", "datasources", "uid", uid:
                return self._one(self.kept.sources, uid)
            case "POST", "datasources":
                return self._add(self.kept.sources, sent["uid"], self._source(sent))
            case "PUT", "datasources", "uid", uid:
                self._one(self.kept.sources, uid).update(self._source(sent))
                return {"message": "Datasource updated"}
            case "GET", "dashboards", "uid", uid:
                return self._one(self.kept.boards, uid)
            case "POST", "dashboards", "db":
                return self._board(sent)
            case "GET", "v1", "provisioning", "alert-rules", uid:
                return self._one(self.kept.rules, uid)
            case "POST", "v1", "provisioning", "alert-rules":
                return self._add(self.kept.rules, sent["uid"], self._rule(sent))
            case "PUT", "v1", "provisioning", "alert-rules", uid:
                self._one(self.kept.rules, uid).update(self._rule(sent))
                return self.kept.rules[uid]
        raise RefusedError(404, "Not found")

    @staticmethod
    def _one(things: dict[str, dict[str, Any]], uid: str) -> dict[str, Any]:
        if uid not in things:
            raise RefusedError(404, "not found")
        return things[uid]

    @staticmethod
    def _add(things: dict[str, dict[str, Any]], uid: str, thing: dict[str, Any]) -> dict[str, Any]:
        if uid in things:
            raise RefusedError(409, "a thing with the same uid exists")
        things[uid] = thing
        return thing

    def _source(self, sent: dict[str, Any]) -> dict[str, Any]:
        kept = {**sent, "id": 7, "orgId": 1, "readOnly": False, "version": 1}
        secrets = kept.pop("secureJsonData", {})
        self.kept.passwords.append(secrets.get("password", ""))
        return kept | {"secureJsonFields": dict.fromkeys(secrets, True)}

    def _board(self, sent: dict[str, Any]) -> dict[str, Any]:
        board, uid = sent["dashboard"], sent["dashboard"]["uid"]
        if sent["folderUid"] not in self.kept.folders:
            raise RefusedError(400, "folder not found")
        version = self.kept.boards.get(uid, {"dashboard": {"version": 0}})["dashboard"]["version"] + 1
        kept = {**board, "id": 11, "version": version, "schemaVersion": 41, "preload": False}
        self.kept.boards[uid] = {"dashboard": kept, "meta": {"folderUid": sent["folderUid"], "slug": uid}}
        return {"status": "success", "uid": uid, "version": version}

    def _rule(self, sent: dict[str, Any]) -> dict[str, Any]:
        if self.headers.get("X-Disable-Provenance") != "true":
            raise RefusedError(400, "the rule could not be changed in Grafana any more")
        parts = [
            {**it, "model": {**it["model"], "intervalMs": 1000, "maxDataPoints": 43200}}
            for it in sent["data"]
        ]
        return {
            **sent,
            "data": parts,
            "id": 3,
            "orgID": 1,
            "updated": "2026-11-24T13:00:00Z",
            "isPaused": False,
        }


@contextmanager
def served(prefix: str = "") -> Iterator[tuple[str, Kept]]:
    """A Grafana's URL and what it keeps."""
    kept = Kept()
    api = type("Served", (Api,), {"kept": kept, "prefix": f"{prefix}/api"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), api)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}", kept
    finally:
        server.shutdown()
        server.server_close()


def pushed(url: str, token: str = TOKEN, **options: bool) -> list[str]:
    """Outcome and kind of each thing."""
    return [f"{it.outcome} {it.kind}" for it in Grafana(url, token).push(SOURCE, **options)]


def test_the_first_push_creates_everything_and_the_second_writes_nothing() -> None:
    with served() as (url, kept):
        first = pushed(url)
        assert len(first) == THINGS
        assert {it.split()[0] for it in first} == {"created"}
        assert set(kept.boards) == {screen.uid for screen in SCREENS}
        assert set(kept.rules) == {alert.uid for alert in ALERTS}
        assert kept.passwords == [PASSWORD]
        kept.written.clear()
        assert {it.split()[0] for it in pushed(url)} == {"unchanged"}
        assert kept.written == []


def test_what_was_changed_in_grafana_is_put_back_and_only_that() -> None:
    with served() as (url, kept):
        pushed(url)
        kept.written.clear()
        kept.boards["goaway-live"]["dashboard"]["panels"].pop()
        kept.boards["goaway-month"]["meta"]["folderUid"] = "elsewhere"
        kept.rules["goaway-sink-lag"]["for"] = "10m"
        kept.sources[SOURCE_UID]["jsonData"] |= {"port": 1, "dialTimeout": "5"}
        again = pushed(url)
        assert sorted(it for it in again if not it.startswith("unchanged")) == [
            "updated alert rule", "updated dashboard", "updated dashboard", "updated data source",
        ]  # fmt: skip
        assert len(kept.written) == 4
        assert kept.boards["goaway-live"]["dashboard"]["version"] == 2
        assert kept.sources[SOURCE_UID]["jsonData"]["port"] == 9000
        assert kept.sources[SOURCE_UID]["jsonData"]["dialTimeout"] == "5", "somebody else's word"
        assert {it.split()[0] for it in pushed(url)} == {"unchanged"}


def test_a_renamed_folder_gets_its_name_back() -> None:
    with served() as (url, kept):
        pushed(url)
        kept.folders[FOLDER[0]]["title"] = "Other"
        kept.written.clear()
        assert pushed(url)[0] == "updated folder"
        assert kept.written == [f"PUT /folders/{FOLDER[0]}"]


def test_a_new_password_is_sent_when_told_so() -> None:
    with served() as (url, kept):
        pushed(url)
        assert "updated data source" in pushed(url, renew_password=True)
        assert kept.passwords == [PASSWORD, PASSWORD]


def test_user_and_password_and_a_path_in_front_work_too() -> None:
    with served("/grafana") as (url, _):
        assert len(pushed(url + "/", "admin:pass:word")) == THINGS


@pytest.mark.parametrize("token", ["glsa_wrong-secret", "admin:wrong-secret"])
def test_who_is_not_let_in_is_told_so_without_the_token(token: str) -> None:
    with served() as (url, _), pytest.raises(GoawayError) as raised:
        pushed(url, token)
    assert "401" in str(raised.value)
    assert "GOAWAY_GRAFANA_TOKEN" in str(raised.value)
    assert "wrong-secret" not in str(raised.value)


def test_what_is_no_grafana_and_what_is_away_are_told_apart() -> None:
    with served() as (url, kept):
        kept.answers_html = True
        with pytest.raises(GoawayError, match="does not answer as a Grafana"):
            pushed(url)
    with pytest.raises(GoawayError, match=r"ConnectionError"):
        pushed(url)


def test_a_refusal_is_passed_on_in_grafanas_words() -> None:
    with served() as (url, kept):
        pushed(url)
        kept.folders.clear()
        del kept.boards["goaway-live"]
        grafana = Grafana(url, TOKEN)
        with pytest.raises(GoawayError, match="folder not found"):
            grafana._dashboard({"uid": "goaway-live", "title": "x"})


@pytest.mark.parametrize(
    "url", ["", "grafana:3000", "ftp://x", "http://", "http://u:p@x", "http://x:port", "http://x?a"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="GOAWAY_GRAFANA"):
        Grafana(url, TOKEN)


def test_without_a_token_nothing_is_tried() -> None:
    with pytest.raises(SettingsError, match="GOAWAY_GRAFANA_TOKEN"):
        Grafana("http://127.0.0.1:1", "")


@pytest.mark.parametrize(
    ("found", "wanted", "is_there"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [1, {"b": 2, "c": 3}]}, {"a": [1, {"b": 2}]}, True),
        ([1, 2], [1], False),
        ({"schemaVersion": 41}, {"schemaVersion": 36}, True),
        (None, {}, False),
        ("1", 1, False),
    ],
)
def test_what_grafana_adds_does_not_count(found: object, wanted: object, is_there: bool) -> None:
    assert holds(found, wanted) is is_there


def _goaway(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(goaway, ["dashboards", *arguments], env=environment, catch_exceptions=False)


def test_the_command_says_what_became_of_each_thing_and_no_secret(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    with served() as (url, kept):
        environment = {
            "GOAWAY_GRAFANA": url,
            "GOAWAY_GRAFANA_TOKEN_FILE": str(token),
            "GOAWAY_CLICKHOUSE_PASSWORD": PASSWORD,
        }
        first = _goaway("push", "--clickhouse", "clickhouse:9000", **environment)
        second = _goaway("push", "--clickhouse", "clickhouse:9000", **environment)
        moved = _goaway("push", "--clickhouse", "[2001:db8::1]:9440", **environment)
        assert kept.sources[SOURCE_UID]["jsonData"]["host"] == "2001:db8::1"
    assert [len(it.output.splitlines()) for it in (first, second, moved)] == [THINGS] * 3
    assert re.search(r"^created +dashboard +Goaway: live$", first.output, re.MULTILINE)
    assert set(re.findall(r"^\w+", second.output, re.MULTILINE)) == {"unchanged"}
    assert re.search(r"^updated +data source +Goaway ClickHouse$", moved.output, re.MULTILINE)
    assert TOKEN not in first.output
    assert PASSWORD not in first.output


def test_the_export_command_lists_what_it_wrote(tmp_path: Path) -> None:
    done = _goaway("export", str(tmp_path / "out"), "--place", "/p", GOAWAY_CLICKHOUSE_PASSWORD=PASSWORD)
    listed = [Path(line) for line in done.output.splitlines()]
    assert sorted(listed) == sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "/p/dashboards/goaway" in (tmp_path / "out/dashboards/goaway.yaml").read_text()
    assert not any(PASSWORD in path.read_text() for path in listed)


@pytest.mark.parametrize(
    "where", ["", "bad", "http://x:9000", "x:", ":9000", "x:0", "x:99999", "a b:9000", "x/y:9000"]
)
def test_an_address_that_is_none_is_given_to_no_grafana(tmp_path: Path, where: str) -> None:
    for arguments in (("export", str(tmp_path / "out")), ("push",)):
        with pytest.raises(UsageError, match="is not HOST:PORT"):
            _goaway(*arguments, "--clickhouse", where, GOAWAY_GRAFANA_TOKEN="t")
    assert not (tmp_path / "out").exists()


def test_a_ca_goes_with_the_data_source(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    source = source_of(ClickHouseSettings(tls=True, ca=str(ca), password=PASSWORD))
    assert source.secrets["tlsCACert"].startswith("-----BEGIN")
    assert source.shown["jsonData"]["secure"] is True
    assert PASSWORD not in repr(source)
    with pytest.raises(SettingsError, match="GOAWAY_CLICKHOUSE_CA"):
        source_of(ClickHouseSettings(tls=True, ca=str(tmp_path / "none")))

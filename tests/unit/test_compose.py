"""docker-compose.yml, the Dockerfile and the systemd units: isolation, secrets, order of start."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import click
import pytest

from streams.cli.main import goaway
from streams.config import SETTINGS
from tests.parts import ROOT, compose_command

STAGES: Final = ("worker", "reputation", "notify", "sink", "shim", "ship")
JOBS: Final = ("topics-create", "db-migrate")
PARTS: Final = ("kafka", "clickhouse", "grafana")
UNITS: Final = tuple(sorted((ROOT / "deploy/systemd").glob("*.service")))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its anchors resolved, and its variables as they are written."""
    yaml = importlib.import_module("yaml")
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


def _compose(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = compose_command()
    assert command is not None
    return subprocess.run(
        [*command, "-f", str(cwd / "docker-compose.yml"), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.needs("compose")
def test_compose_accepts_the_file_with_the_example_settings(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    done = _compose("config", "--services", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {*STAGES, *JOBS, *PARTS}


@pytest.mark.needs("compose")
@pytest.mark.parametrize("secret", ["GOAWAY_CLICKHOUSE_PASSWORD", "GOAWAY_GRAFANA_PASSWORD"])
def test_compose_refuses_to_start_without_a_password(tmp_path: Path, secret: str) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(rf"^{secret}=.*$", f"{secret}=", example, flags=re.MULTILINE))
    done = _compose("config", "--quiet", cwd=tmp_path)
    assert done.returncode != 0
    assert "see .env.example" in done.stderr


@pytest.mark.needs("yaml")
def test_every_service_is_held_tight(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert "network_mode" not in service, name
        if name in (*STAGES, *JOBS):
            assert service["read_only"] is True, name
            assert service["user"] == "10001:10001", name


@pytest.mark.needs("yaml")
def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(str(port).startswith("127.0.0.1:") for port in published), published


@pytest.mark.needs("yaml")
def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any]) -> None:
    for name in (*STAGES, *PARTS):
        assert compose["services"][name]["healthcheck"]["test"][0] == "CMD", name
    for name in JOBS:
        assert compose["services"][name]["restart"] == "on-failure", name


@pytest.mark.needs("yaml")
def test_stages_wait_for_topics_and_tables(compose: dict[str, Any]) -> None:
    finished = {"condition": "service_completed_successfully"}
    for name in STAGES:
        assert compose["services"][name]["depends_on"]["topics-create"] == finished, name
    assert compose["services"]["sink"]["depends_on"]["db-migrate"] == finished


@pytest.mark.needs("yaml")
def test_the_hosts_files_are_mounted_read_only(compose: dict[str, Any]) -> None:
    named = set(compose["volumes"])
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            if volume.split(":")[0] not in named:
                assert volume.endswith(":ro"), f"{name}: {volume}"
    assert any(volume.endswith(":/logs:ro") for volume in compose["services"]["ship"]["volumes"])


@pytest.mark.needs("yaml")
def test_stages_are_given_only_settings_that_exist(compose: dict[str, Any]) -> None:
    known = {setting.name for setting in SETTINGS}
    for name in (*STAGES, *JOBS):
        assert set(compose["services"][name]["environment"]) <= known, name


@pytest.mark.needs("yaml")
def test_clickhouse_password_is_known_only_where_it_is_used(compose: dict[str, Any]) -> None:
    knowing = {
        name
        for name, service in compose["services"].items()
        if "GOAWAY_CLICKHOUSE_PASSWORD" in service["environment"]
    }
    assert knowing == {"sink", "db-migrate"}


def _parses(command: list[str]) -> None:
    context = click.Context(goaway, info_name="goaway")
    _, found, rest = goaway.resolve_command(context, command)
    assert found is not None
    if isinstance(found, click.Group) and not rest[0].startswith("-"):
        assert found.get_command(context, rest[0]) is not None, command
    else:
        found.make_context(command[0], rest)


@pytest.mark.needs("yaml")
@pytest.mark.parametrize("name", [*STAGES, *JOBS])
def test_the_containers_command_is_one_that_goaway_has(compose: dict[str, Any], name: str) -> None:
    written = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in compose["services"][name]["command"]]
    _parses(written)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_units_command_is_one_that_goaway_has(unit: Path) -> None:
    started = re.search(r"^ExecStart=/opt/goaway/bin/goaway (.+)$", unit.read_text(), flags=re.MULTILINE)
    assert started is not None
    command, _, options = started[1].partition(" $")
    assert options == f"{unit.stem.removeprefix('goaway-').upper()}_OPTIONS"
    _parses(command.split())
    _parses([*command.split(), "--metrics-listen", "127.0.0.1:9464"])


def test_no_secret_has_a_default_or_a_value_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    named = re.findall(r"^\s*\S*PASSWORD\S*: (.*)$", text, flags=re.MULTILINE)
    assert named
    assert all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", value) for value in named), named


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) - {"GOAWAY_VERSION"}
    example = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert used == example


def test_image_copies_what_the_context_lets_through_and_runs_as_nobody() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE))
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, flags=re.MULTILINE)
        for name in line.split()
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    assert re.findall(r"^USER (.+)$", dockerfile, flags=re.MULTILINE) == ["10001:10001"]


def test_there_is_a_unit_for_every_stage() -> None:
    assert {unit.stem for unit in UNITS} == {f"goaway-{stage}" for stage in STAGES}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_gives_its_process_nothing_that_it_does_not_need(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for promise in (
        "User=goaway",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "Restart=always",
    ):
        assert promise in lines
    assert not [line for line in lines if re.match(r"Environment=.*PASSWORD", line)]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_is_understood_by_systemd(unit: Path, tmp_path: Path) -> None:
    # the program and the user exist only once installed; everything else is checked as it stands
    text = unit.read_text().replace("/opt/goaway/bin/goaway ", "/bin/true ")
    text = re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])

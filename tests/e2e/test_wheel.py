"""The wheel as a user installs it: built, installed away from the checkout, and run from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from tests.parts import ROOT, uv_command

pytestmark = pytest.mark.needs("uv")

LINES: Final = """\
2026-11-24T12:00:00.000001+00:00 mx postfix/smtpd[101]: connect from unknown[192.0.2.7]
2026-11-24T12:00:01.000002+00:00 mx postfix/smtpd[101]: disconnect from unknown[192.0.2.7] ehlo=1 commands=1
2026-11-24T12:00:02.000003+00:00 mx postfix/smtpd[102]: connect from unknown[2001:db8::9]
"""

BURST: Final = "".join(
    f"2026-11-24T12:00:{second:02d}.000000+00:00 mx postfix/smtpd[{200 + second}]: "
    "connect from unknown[192.0.2.66]\n"
    for second in range(12)
)
"""Twelve sessions held open: with a limit of ten the eleventh is refused."""

POLICY: Final = "[limits]\nconcurrent_connections = 10\ncool_down_s = 60\n"


def _run(*command: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    # nothing of the checkout may help: neither its folder nor PYTHONPATH
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "GOAWAY_"))
    }
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=180,
        check=False,
    )


def _build(folder: Path) -> Path:
    uv = uv_command()
    assert uv is not None
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("streams", "schemas", "sql"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [uv, "build", "--wheel", "--quiet", "--python", sys.executable, "--out-dir", str(folder / "dist")]
    # hatchling is in uv's cache since `make setup`; only where it is not is the index asked
    if (done := _run(*build, "--offline", cwd=source)).returncode:
        done = _run(*build, cwd=source)
    assert done.returncode == 0, done.stderr
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel; the tests' environment lends the dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = uv_command()
    assert uv is not None
    wheel = _build(folder)
    done = _run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    assert done.returncode == 0, done.stderr
    python = folder / "venv/bin/python"
    target = ("--no-deps", "--python", python, wheel)
    done = _run(uv, "pip", "install", "--quiet", "--offline", *target, cwd=folder)
    assert done.returncode == 0, done.stderr
    # dependencies only: a plain path line, so the .pth of the checkout's editable install is not read
    site = next((folder / "venv/lib").glob("python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv/bin"


def test_version_is_the_one_of_the_package(installed: Path, tmp_path: Path) -> None:
    done = _run(installed / "goaway", "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0.1.0"


def test_code_schemas_and_migrations_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = (
        "import json, streams; from streams.resources import schemas_folder, sql_folder; print(json.dumps("
        "[str(streams.__file__), sorted(p.name for p in schemas_folder().iterdir()),"
        " sorted(p.name for p in sql_folder().iterdir())]))"
    )
    done = _run(installed / "python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code, schemas, migrations = json.loads(done.stdout)
    assert str(installed.parent) in code
    assert schemas == sorted(path.name for path in (ROOT / "schemas").iterdir())
    assert migrations == sorted(path.name for path in (ROOT / "sql").iterdir())
    assert "event.v1.json" in schemas
    assert migrations[0].startswith("0001_")


def test_types_are_shipped(installed: Path) -> None:
    assert list(installed.parent.glob("lib/python*/site-packages/streams/py.typed"))


def test_parse_reads_a_log_from_standard_input(installed: Path, tmp_path: Path) -> None:
    done = _run(installed / "goaway", "parse", "-", cwd=tmp_path, stdin=LINES)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    connects = [event["client"] for event in events if event["kind"] == "connect"]
    assert connects == ["192.0.2.7", "2001:db8::/64"]


def test_replay_refuses_the_burst(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    done = _run(installed / "goaway", "replay", "-", "--policy", "policy.toml", cwd=tmp_path, stdin=BURST)
    assert done.returncode == 0, done.stderr
    decisions = [json.loads(line) for line in done.stdout.splitlines()]
    first = decisions[0]
    assert (first["client"], first["rule"], first["code"]) == ("192.0.2.66", "concurrent_connections", 551)
    assert first["at"] == "2026-11-24T12:00:10.000000Z"

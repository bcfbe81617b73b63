"""`goaway tune --apply` on a real broker: shown, and applied where somebody says yes; else nothing is."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli.tune import tune
from streams.config import KafkaSettings
from streams.errors import PolicyError
from streams.model.event import Event
from streams.model.policy import Policy
from streams.policy_writer import change_policy, read_policy_log
from streams.wire.frames import encode_frame
from streams.wire.policy_entries import DEFAULT_ENTRIES, Entries, policy_of
from tests.parts import ROOT
from tests.stack.brokers import own_tansu
from tests.unit.tune_history import made, session, write

pytestmark = pytest.mark.needs("tansu")


@pytest.fixture(name="kafka")
def _kafka(tmp_path: Path) -> Iterator[KafkaSettings]:
    with own_tansu(tmp_path / "broker") as settings:
        yield settings


LOUD = "198.51.100.200"


def run(kafka: KafkaSettings, folder: Path, *arguments: str, more: Iterable[Event] = ()) -> Result:
    environ = {"GOAWAY_KAFKA": kafka.bootstrap, "GOAWAY_POLICY": None, "GOAWAY_DATA": str(folder / "none")}
    file = write(folder / "events.jsonl")
    if more:
        file.write_bytes(encode_frame(sorted([*made(), *more], key=lambda it: (it.at, it.id))))
    return CliRunner().invoke(tune, [str(file), "--apply", *arguments], env=environ)


def loud() -> list[Event]:
    """A client that alone asks for more than the limits of now: it delivers 200 messages in 50 seconds."""
    polite = "ehlo=1 quit=1 commands=9"
    return [it for n in range(200) for it in session(10_000 + n / 4, LOUD, n, mails=1, ended=polite)]


def in_force(kafka: KafkaSettings) -> Policy | None:
    log = read_policy_log(kafka)
    return policy_of(log.entries) if log.number else None


def test_without_a_yes_nothing_changes(kafka: KafkaSettings, tmp_path: Path) -> None:
    found = run(kafka, tmp_path)
    assert found.exit_code == 1
    assert "connections_per_minute 30 → 12" in " ".join(found.output.split())
    assert "nothing was changed" in found.output
    assert in_force(kafka) is None


def test_with_a_yes_it_is_in_force_and_again_there_is_nothing_to_do(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    def edit(entries: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
        same = {"name": "follows", "connections_per_minute": 30, "requests_per_minute": 77}
        return {**entries, "networks/198.51.100.0/24": same}

    change_policy(kafka, DEFAULT_ENTRIES, edit, who="test", what="test")
    found = run(kafka, tmp_path, "--yes", "--short-history", "--by", "anna", "--note", "ticket 4711")
    assert found.exit_code == 0, found.output
    assert found.output.count("connections_per_minute 30 → 12") == 2, (
        "in [limits] and in the network, once each"
    )
    assert "by anna" in found.output
    assert "goaway policy undo" in found.output
    policy = in_force(kafka)
    assert policy is not None
    assert (policy.limits.connections_per_minute, policy.limits.requests_per_minute) == (12, 20)
    own = {str(it.network): it.limits for it in policy.networks}["198.51.100.0/24"]
    assert (own.connections_per_minute, own.requests_per_minute) == (12, 77)
    again = run(kafka, tmp_path, "--yes")
    assert (again.exit_code, "nothing to change" in again.output) == (0, True)


def test_a_history_shorter_than_a_day_is_not_applied_by_yes_alone(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    found = run(kafka, tmp_path, "--yes")
    assert found.exit_code == 1
    assert "nothing was changed: the history is 8.0 hours long, less than a day; --short-history" in (
        " ".join(found.stderr.split())
    )
    assert in_force(kafka) is None


def test_a_limit_that_one_client_alone_raises_is_not_applied_by_yes_alone(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    found = run(kafka, tmp_path, "--yes", "--short-history", more=loud())
    assert found.exit_code == 1
    said = " ".join(found.stderr.split())
    assert f"connections_per_minute would be raised to 240 by {LOUD} alone" in said
    assert said.endswith("; --lone-client applies it without asking")
    assert in_force(kafka) is None
    both = run(kafka, tmp_path, "--yes", more=loud())
    assert "8.0 hours long, less than a day; connections_per_minute would" in " ".join(both.stderr.split())
    assert both.stderr.rstrip().endswith("; --short-history --lone-client applies it without asking")
    again = run(kafka, tmp_path, "--yes", "--short-history", "--lone-client", more=loud())
    assert again.exit_code == 0, again.output
    policy = in_force(kafka)
    assert policy is not None
    assert policy.limits.connections_per_minute == 240


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_a_person_is_asked_and_told_what_holds_a_yes_back(
    kafka: KafkaSettings, tmp_path: Path, answer: str, code: int
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(encode_frame(sorted([*made(), *loud()], key=lambda it: (it.at, it.id))))
    environ = {"GOAWAY_KAFKA": kafka.bootstrap, "GOAWAY_DATA": str(tmp_path / "none"), "GOAWAY_POLICY": ""}
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "tune", str(file), "--apply", "--yes"],
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    asked = " ".join(done.stderr.split())
    assert "But the history is 8.0 hours long, less than a day; connections_per_minute would be" in asked
    assert f"by {LOUD} alone. Apply this all the same?" in asked
    assert (in_force(kafka) is not None) == (answer == "y")


def test_a_policy_that_was_changed_since_it_was_weighed_is_let_alone(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    """While a person thinks about the question, another one lets a network off."""
    environ = {"GOAWAY_KAFKA": kafka.bootstrap, "GOAWAY_DATA": str(tmp_path / "none"), "GOAWAY_POLICY": ""}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "streams.cli", "tune", str(write(tmp_path / "events.jsonl")), "--apply"]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environ},
    ) as running:
        said = b""
        while b"Apply this" not in said and running.stderr is not None:
            some = os.read(running.stderr.fileno(), 4096)
            assert some, said
            said += some

        def edit(entries: Entries) -> Entries:
            return {**entries, "exempt/rate/192.0.2.20": {"note": "meanwhile"}}

        change_policy(kafka, DEFAULT_ENTRIES, edit, who="bea", what="test")
        os.write(ours, b"y\n")
        _, rest = running.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert running.returncode == PolicyError.exit_code, said + rest
    assert b"the policy was changed while this was weighed. Try: the same command again" in rest
    policy = in_force(kafka)
    assert policy is not None
    assert (len(policy.exemptions), policy.limits) == (1, Policy().limits)


def test_json_is_printed_whatever_becomes_of_it(kafka: KafkaSettings, tmp_path: Path) -> None:
    keys = {"change", "version", "by", "kafka", "differences", "remarks", "undo"}
    refused = run(kafka, tmp_path, "--json")
    made = run(kafka, tmp_path, "--json", "--yes", "--short-history")
    again = run(kafka, tmp_path, "--json", "--yes", "--short-history")
    assert [it.exit_code for it in (refused, made, again)] == [1, 0, 0]
    found = [json.loads(it.stdout) for it in (refused, made, again)]
    assert all(set(it) >= keys for it in found)
    assert [it["change"] is None for it in found] == [True, False, True]
    assert found[0]["differences"] == found[1]["differences"] != []
    assert found[2]["differences"] == []
    assert found[2]["version"] == found[1]["version"] != found[0]["version"]


def test_json_of_a_change_has_what_was_found(kafka: KafkaSettings, tmp_path: Path) -> None:
    for flags, exit_code in (((), 1), (("--yes", "--short-history"), 0), (("--yes",), 0)):
        found = run(kafka, tmp_path, "--json", *flags)
        assert found.exit_code == exit_code
        said = json.loads(found.stdout)
        assert said["recommended"]["connections_per_minute"] == 12
        assert set(said) >= {"settings", "legitimacy", "cautions", "busiest_clients", "entries", "lines"}

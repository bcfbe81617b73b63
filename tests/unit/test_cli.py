"""The commands as a person and a script meet them: output, errors, exit codes."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from streams.cli.main import COMMANDS

SAMPLE = Path(__file__).parents[2] / "streams" / "embedded" / "sample" / "mail.log.gz"


def goaway(*arguments: str, stdin: bytes = b"", timeout_s: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    shown = goaway(command, "--help")
    assert shown.returncode == 0
    assert b"Usage: goaway " + command.encode() in shown.stdout.replace(b"python -m streams.cli", b"goaway")


def test_parse_prints_events_and_counts() -> None:
    done = goaway("parse", "-", "--json", stdin=gzip.decompress(SAMPLE.read_bytes()) + b"garbage\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    counts = json.loads(done.stderr)
    assert done.returncode == 0
    assert counts["events"] == len(events)
    assert counts["unreadable"] == 1
    assert counts["read"] == len(gzip.decompress(SAMPLE.read_bytes()).splitlines()) + 1
    assert {"at", "kind", "client", "address", "session", "host", "id"} <= events[0].keys()


def test_replay_is_the_same_to_the_byte_and_says_what_it_did() -> None:
    first, second = goaway("replay", str(SAMPLE)), goaway("replay", str(SAMPLE))
    assert first.stdout == second.stdout
    decisions = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(decisions) == 4
    assert all(one["until"].endswith("Z") and len(one["at"]) == 27 for one in decisions)
    said = b"decisions 4 (concurrent_connections 1, missing_helo 1, requests_per_minute 2) about 4 clients"
    assert said in first.stderr


def test_replay_follows_the_policy_it_is_given(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[exemptions]]\nmodule = "rate"\naddress = "203.0.113.0/24"\n'
        '[[blocks]]\naddress = "192.0.2.10"\nnote = "probe"\n'
    )
    done = goaway("replay", "-", "--policy", str(policy), stdin=gzip.decompress(SAMPLE.read_bytes()))
    found = [(one["client"], one["rule"], one["reason"]) for one in map(json.loads, done.stdout.splitlines())]
    assert found == [  # an exemption is from one module: it does not cover the protocol
        ("192.0.2.10", "blocks", "blocked by administrator: probe"),
        ("203.0.113.7", "missing_helo", "SMTP protocol violation: missing HELO"),
        ("198.51.100.23", "requests_per_minute", "exceeded connection rate limit"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["wroker"], 2, "Try: goaway worker"),
        (["compare"], 2, "Try: goaway --help"),
        (["replay", "--compare", "a.toml"], 2, "Try: goaway replay -h"),
        (["policy", "allow", "--note"], 2, "Try: goaway policy allow -h"),
        (["worker", "--polcy", "x"], 2, "--policy"),
        (["replay", "/nonexistent.log"], 4, "/nonexistent.log: cannot be read"),
        (["replay", str(SAMPLE), "--policy", "/nonexistent.toml"], 3, "/nonexistent.toml"),
        (["parse", "--timezone", "Mars/Olympus", "-"], 2, "--timezone"),
        (["ship", "-"], 2, "goaway ship --once -"),
        (["up", "--workers", "9"], 2, "--partitions 9"),
        (["shim", "--socket-mode", "999"], 2, "--socket-mode"),
    ],
)
def test_errors_name_the_place_and_the_next_command(arguments: list[str], code: int, said: str) -> None:
    done = goaway(*arguments)
    assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_the_password_is_not_in_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOAWAY_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("GOAWAY_KAFKA_SECURITY", "SASL_PLAINTEXT")
    monkeypatch.setenv("GOAWAY_KAFKA_USER", "goaway")
    monkeypatch.setenv("GOAWAY_KAFKA_PASSWORD", "s3cret-never-shown")
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", "127.0.0.1:1")
    monkeypatch.setenv("GOAWAY_CLICKHOUSE_PASSWORD", "s3cret-never-shown")
    for arguments in (["status"], ["topics", "show"], ["db", "status"], ["doctor"]):
        done = goaway(*arguments)
        assert done.returncode in (1, 4), arguments
        assert b"s3cret" not in done.stdout + done.stderr


def test_policy_check_and_show_agree(tmp_path: Path) -> None:
    shown = goaway("policy", "show")
    (tmp_path / "policy.toml").write_bytes(shown.stdout)
    checked = goaway("policy", "check", str(tmp_path / "policy.toml"))
    as_json = json.loads(goaway("policy", "show", str(tmp_path / "policy.toml"), "--json").stdout)
    assert checked.returncode == 0
    assert as_json["version"].encode() in shown.stdout
    assert as_json["version"].encode() in checked.stdout
    assert as_json["limits"]["concurrent_connections"] == 10


def test_policy_check_says_what_has_no_effect(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[[exemptions]]\nmodule = "rate"\naddress = "192.0.2.7"\nexpires = 2020-01-01T00:00:00Z\n'
        '[[blocks]]\naddress = "192.0.2.0/24"\n'
        '[[networks]]\ncidr = "10.0.0.0/8"\nname = "a"\n[[networks]]\ncidr = "10.0.0.0/8"\nname = "b"\n'
    )
    said = goaway("policy", "check", str(file)).stdout.decode()
    assert "stands twice" in said
    assert "expired 2020-01-01" in said
    assert "lies inside [[blocks]] 192.0.2.0/24" in said


def test_a_reader_that_goes_away_is_met_in_silence(tmp_path: Path) -> None:
    script = f"{sys.executable} -m streams.cli parse {SAMPLE} 2>{tmp_path}/said | head -1 >{tmp_path}/first"
    subprocess.run(["/bin/sh", "-c", script], check=True, cwd=Path(__file__).parents[2])
    assert b'"kind":"connect"' in (tmp_path / "first").read_bytes()
    assert b"Error" not in (tmp_path / "said").read_bytes()

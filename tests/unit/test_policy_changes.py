"""Changes of the policy on a real broker: what is grave is made only where somebody says so."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli.main import goaway
from streams.config import KafkaSettings
from streams.embedded.up.policy_keeper import KEPT, PolicyKeeper
from streams.errors import PolicyError
from streams.kafka import client_config
from streams.model.instant import Instant
from streams.policy_writer import change_policy, read_policy_log, undo_change
from streams.topics import POLICY
from streams.wire.policy_entries import DEFAULT_ENTRIES, Entries, policy_of
from streams.wire.policy_log import (
    CHANGE_HEADER,
    COMMIT_KEY,
    Change,
    encode_change,
    encode_entry,
    encode_number,
)
from tests.parts import ROOT
from tests.stack.brokers import own_tansu

pytestmark = pytest.mark.needs("tansu")

Run = Callable[..., Result]


@pytest.fixture(name="kafka")
def _kafka(tmp_path: Path) -> Iterator[KafkaSettings]:
    with own_tansu(tmp_path / "broker") as settings:
        yield settings


def environ(kafka: KafkaSettings) -> dict[str, str]:
    return {"GOAWAY_KAFKA": kafka.bootstrap, "GOAWAY_DATA": "/nonexistent"}


@pytest.fixture(name="run")
def _run(kafka: KafkaSettings) -> Run:
    def run(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(
            goaway, arguments, input=stdin, env={**environ(kafka), "GOAWAY_POLICY": None}
        )

    return run


def said(result: Result) -> str:
    """What a person would read of it, an error's text included."""
    return " ".join(f"{result.output} {result.exception or ''}".split())


def in_force(kafka: KafkaSettings) -> Entries:
    return dict(read_policy_log(kafka).entries)


def put(kafka: KafkaSettings, entries: Entries) -> int:
    made = change_policy(kafka, DEFAULT_ENTRIES, lambda before: {**before, **entries}, who="test", what="put")
    assert made is not None
    return made.number


TWENTY = {f"exempt/rate/10.0.0.{n}": {"note": f"n{n}"} for n in range(20)}


def test_another_clients_table_needs_a_word_that_the_stages_are_restarted(
    kafka: KafkaSettings, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[clients]\nipv4_prefix = 24\n")
    change = ("policy", "set", "clients.ipv4_prefix", "24")
    for arguments in (change, ("policy", "apply", str(file), "--yes")):
        refused = run(*arguments)
        assert refused.exit_code != 0
        assert "[clients] would change (ipv4_prefix 32 → 24)" in said(refused)
        assert "--will-restart-stages, then restart ship, worker and shim" in said(refused)
        assert in_force(kafka) == {}
    tried = run("policy", "apply", str(file), "--dry-run")
    assert tried.exit_code == 0
    assert "note: restart ship, worker and shim" in said(tried)
    made = run(*change, "--will-restart-stages")
    assert made.exit_code == 0, said(made)
    assert "note: restart ship, worker and shim (or goaway up) now" in said(made)
    log = read_policy_log(kafka)
    assert policy_of(log.entries).clients.ipv4 == 24
    assert run("policy", "set", "limits.requests_per_minute", "40").exit_code == 0
    for back in (("undo", str(log.number)), ("remove", "clients")):
        assert "[clients] would change (ipv4_prefix 24 → 32)" in said(run("policy", *back))
    assert run("policy", "undo", str(log.number), "--will-restart-stages").exit_code == 0
    assert policy_of(in_force(kafka)).clients.ipv4 == 32


def test_a_file_that_takes_out_most_needs_a_yes(kafka: KafkaSettings, run: Run, tmp_path: Path) -> None:
    put(kafka, TWENTY)
    before = in_force(kafka)
    file = tmp_path / "policy.toml"
    file.write_text("[limits]\nrequests_per_minute = 40\n")
    for arguments in ((str(file),), (str(file), "--json")):
        refused = run("policy", "apply", *arguments)
        assert refused.exit_code != 0
        assert "20 of the 21 entries in force would be taken out" in said(refused)
        assert "the same with --yes" in str(getattr(refused.exception, "try_next", ""))
    assert in_force(kafka) == before
    assert run("policy", "apply", str(file), "--dry-run").exit_code == 0
    done = run("policy", "apply", str(file), "--yes")
    assert done.exit_code == 0, said(done)
    assert in_force(kafka).keys() == {"limits", "networks/192.168.1.0/24"}


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_at_a_terminal_it_is_asked(kafka: KafkaSettings, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "deny", "0.0.0.0/0"],
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environ(kafka)},
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "0.0.0.0/0 is every IPv4 address: everybody would be refused, exempt or not." in done.stdout
    assert ("blocks/0.0.0.0/0" in in_force(kafka)) == (answer == "y")
    if answer == "y":
        assert "[[blocks]] 0.0.0.0/0 refuses everybody who comes over IPv4, exempt or not" in done.stdout


def test_what_a_topic_began_with_is_not_undone(kafka: KafkaSettings, run: Run) -> None:
    number = put(kafka, TWENTY)
    first = number - 1
    with pytest.raises(
        PolicyError, match=r"change 1 \(the policy of before\) is what the policy on Kafka began"
    ):
        undo_change(kafka, first, who="test")
    refused = run("policy", "undo", str(first))
    assert "goaway policy remove KEY" in str(getattr(refused.exception, "try_next", ""))
    assert run("policy", "undo", str(number)).exit_code == 0
    assert in_force(kafka) == DEFAULT_ENTRIES


def test_what_followed_a_change_that_is_compacted_away_is_not_undone(kafka: KafkaSettings) -> None:
    left = Change(number=8, after=7, version="", who="test", at=Instant(1), what="left", entries=1)
    producer = Producer(client_config(kafka))
    header = [(CHANGE_HEADER, encode_number(left.number))]
    for key, value in (("blocks/192.0.2.7", encode_entry({"note": "x"})), (COMMIT_KEY, encode_change(left))):
        producer.produce(POLICY, value, key, partition=0, headers=header)
    assert producer.flush(30) == 0
    # of the block it is not known whether it was there before, with another note
    with pytest.raises(PolicyError, match="does not hold change 8"):
        undo_change(kafka, 8, who="test")
    number = put(kafka, TWENTY)
    undo_change(kafka, number, who="test")
    assert in_force(kafka) == {"blocks/192.0.2.7": {"note": "x"}}


def test_a_first_apply_can_be_taken_back(kafka: KafkaSettings, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[limits]\nrequests_per_minute = 40\n")
    done = run("policy", "apply", str(file), "--json")
    undo = str(json.loads(done.output)["undo"])
    assert run(*undo.split()[1:]).exit_code == 0
    assert in_force(kafka) == DEFAULT_ENTRIES


def test_a_policy_that_begins_as_the_file_says_offers_no_undo(
    kafka: KafkaSettings, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[limits]\nrequests_per_minute = 40\n")
    done = run("policy", "apply", str(file), "--policy", str(file))
    assert done.exit_code == 0, said(done)
    assert "To take it back" not in said(done)
    assert in_force(kafka)["limits"] == {"requests_per_minute": 40}


def test_up_says_whether_it_brings_a_file_or_what_was_kept(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[limits]\nrequests_per_minute = 40\n")

    def started(file: Path | None, kept: str = "") -> str:
        if kept:
            (tmp_path / KEPT).write_text(kept)
        PolicyKeeper(file, tmp_path, by="test", say=lambda *_: None).apply(kafka)
        change = read_policy_log(kafka).change
        assert change is not None
        return change.what

    assert started(file) == f"goaway up with {file}"
    wiped = change_policy(kafka, {}, lambda _: {}, who="test", what="as a broker in memory comes back")
    assert wiped is not None
    kept = "[limits]\nrequests_per_minute = 40\n[[blocks]]\naddress = '192.0.2.7'\n"
    assert started(file, kept) == f"kept {KEPT}"
    assert "blocks/192.0.2.7" in in_force(kafka)
    assert change_policy(kafka, {}, lambda _: {}, who="test", what="again") is not None
    file.write_text("[limits]\nrequests_per_minute = 50\n")
    assert started(file) == f"kept {KEPT}, with what changed in {file}"


def test_a_kept_policy_that_cannot_be_read_is_put_aside(kafka: KafkaSettings, tmp_path: Path) -> None:
    lines: list[str] = []
    text = '[[blocks]]\naddress = "192.0.2.7"\nnote = "a\\u001bb"\n'
    (tmp_path / KEPT).write_text(text)
    PolicyKeeper(None, tmp_path, by="test", say=lambda _, line: lines.append(line)).apply(kafka)
    assert (tmp_path / f"{KEPT}.unreadable").read_text() == text
    assert "has a line break or a control character" in lines[0]
    assert f"put aside as {KEPT}.unreadable" in lines[0]


def test_keys_that_go_together_are_set_together(kafka: KafkaSettings, run: Run) -> None:
    alone = run("policy", "set", "notify.quiet_from", "22:00")
    assert "goaway policy set notify.quiet_from 22:00 notify.quiet_to" in str(
        getattr(alone.exception, "try_next", "")
    )
    assert run("policy", "set", "limits.requests_per_minute", "30").exit_code == 0
    before = read_policy_log(kafka).number
    both = run("policy", "set", "notify.quiet_from", "22:00", "notify.quiet_to", "06:00")
    assert both.exit_code == 0, said(both)
    notify = policy_of(in_force(kafka)).notify
    assert (notify.quiet_from, notify.quiet_to) == ("22:00", "06:00")
    assert read_policy_log(kafka).number == before + 1


def test_notes_are_folded_and_cut_off_and_json_has_all(kafka: KafkaSettings, run: Run) -> None:
    put(kafka, {f"exempt/rate/10.1.{n >> 8}.{n & 255}": {} for n in range(3000)})
    denied = run("deny", "10.1.0.0/16")
    assert denied.output.count("note: ") == 10
    assert "more notes; --json has them all" in denied.output
    assert denied.output.rstrip().splitlines()[-1].startswith("To take it back: goaway policy undo")
    allowed = run("allow", "10.1.0.7")
    notes = [line for line in allowed.output.splitlines() if line.startswith("note: ")]
    assert len([line for line in notes if "lies inside [[blocks]]" in line]) == 1
    assert len(json.loads(run("allow", "10.1.0.8", "--json").output)["remarks"]) >= 3


def test_an_import_is_recorded_as_what_it_did(kafka: KafkaSettings, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("as,address\ndeny,192.0.2.1\nallow,192.0.2.2\n,192.0.2.3\n")
    done = run("policy", "import", str(file), "--note", "list of June")
    assert done.exit_code == 0, said(done)
    change = read_policy_log(kafka).change
    assert change is not None
    assert change.what == f"import {file}: 1 as allow, 1 as deny, 1 as exempt:rate"
    assert f"rows of {file}: 1 as allow, 1 as deny, 1 as exempt:rate" in said(done)
    assert in_force(kafka)["blocks/192.0.2.1"]["note"] == "list of June"


def test_what_is_expired_is_left_out_of_the_csv_that_import_takes(kafka: KafkaSettings, run: Run) -> None:
    over, later = {"expires": "2020-01-01T00:00:00.000000Z"}, {"expires": "2199-01-01T00:00:00.000000Z"}
    put(kafka, {"blocks/192.0.2.1": over, "exempt/rate/192.0.2.2": later})
    exported = run("policy", "export", "--csv")
    assert "192.0.2.1" not in exported.stdout
    assert "192.0.2.2" in exported.stdout
    assert "1 expired entries are left out" in exported.stderr
    assert run("policy", "import", "-", stdin=exported.stdout).exit_code == 0

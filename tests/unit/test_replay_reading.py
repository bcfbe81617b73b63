"""How histories are read that are damaged, stamped by a wrong clock, or come through a pipe."""

import bz2
import gzip
import json
import lzma
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.agents import ledger
from streams.cli.capacity import capacity
from streams.cli.main import FAULT, goaway, main
from streams.cli.replay import replay
from streams.cli.replay_source import Asked
from streams.cli.tune import tune
from streams.cli.tune_history import readable_again
from streams.errors import PolicyError, UnavailableError, UsageError
from streams.model.client import Address, Client, ClientPrefixes
from streams.model.event import FUTURE_US, Event
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.replay.counts import ReadCounts
from streams.replay.expected import FUTURE, Expected
from streams.replay.files import chunks, is_file, size_of
from streams.replay.parallel import replay_lines
from streams.replay.sources import history, only_json
from streams.wire.frames import encode, encode_frame
from tests.unit.test_replay import REFERENCE, SAMPLE, events_of_log, of_files

PACKED: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]


@contextmanager
def pipe_of(folder: Path, content: bytes) -> Iterator[Path]:
    """A FIFO that gives this content once."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(content,), daemon=True)
    writer.start()
    yield fifo
    writer.join(5)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(events_of_log(SAMPLE))


def stranger(at: int) -> Event:
    """An event that changes no decision of the sample."""
    who = Address("198.51.100.250")
    return Event(
        id="stranger", at=Instant(at), kind="helo", client=Client(who), address=who, session="x/1", host="x"
    )


@pytest.mark.parametrize("pack", PACKED)
@pytest.mark.parametrize("content", [b"", b"x", b"some lines\n" * 40_000])
def test_a_pipe_is_unpacked_as_a_file_is(
    tmp_path: Path, pack: Callable[[bytes], bytes], content: bytes
) -> None:
    (tmp_path / "file").write_bytes(pack(content))
    assert b"".join(chunks(tmp_path / "file")) == content
    with pipe_of(tmp_path, pack(content)) as fifo:
        assert b"".join(chunks(fifo)) == content


@pytest.mark.parametrize("pack", PACKED[1:])
def test_damaged_archives_are_errors_that_name_them(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    content = bytearray(pack(gzip.decompress(SAMPLE.read_bytes())))
    content[3000:3600] = b"\xff" * 600
    (tmp_path / "mail.log").write_bytes(content)
    with pytest.raises(UnavailableError, match=r"mail\.log: cannot be read"):
        list(chunks(tmp_path / "mail.log"))


def test_a_pipe_is_copied_for_who_reads_it_twice(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"file")
    with pipe_of(tmp_path, gzip.compress(b"content")) as fifo:
        assert [is_file(it) for it in (file, fifo, Path("-"), tmp_path / "missing")] == [
            True,
            False,
            False,
            True,
        ]
        assert size_of([file]) == 4
        assert size_of([file, fifo]) is None
        with readable_again([file, fifo, file]) as paths:
            assert [b"".join(chunks(it)) for it in (*paths, *paths)] == [b"file", b"content"] * 2
            copy = paths[1]
    assert paths[0] == file
    assert not copy.exists()


def test_tune_weighs_what_comes_through_a_pipe(tmp_path: Path) -> None:
    arguments = ("--json", "--timezone", "UTC", "--connections-per-minute", "10,60")
    from_file = run(tune, str(SAMPLE), *arguments)
    with pipe_of(tmp_path, SAMPLE.read_bytes()) as fifo:
        assert run(tune, str(fifo), *arguments).stdout == from_file.stdout
    assert json.loads(from_file.stdout)["clients"]


def asked_of(*files: Path) -> Asked:
    return Asked(files, "", "", False, UTC, Path("none"))


def test_each_pass_has_as_many_events_as_the_first(tmp_path: Path, events: list[Event]) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(encode_frame(events[:-1]) + b"rubbish\n")
    asked = asked_of(log)
    first = list(asked.again(Policy()))
    counts = asked.counts
    with log.open("ab") as out:
        out.write(encode_frame(events[-1:]))
    assert list(asked.again(Policy())) == first
    assert asked.counts == counts, "of the first pass"
    log.write_bytes(encode_frame(events[:-2]))
    with pytest.raises(
        UnavailableError, match=f"had {len(first):,} events at first and {len(first) - 1:,} when"
    ):
        list(asked.again(Policy()))


def test_wrong_clocks_are_the_workers() -> None:
    assert vars(ledger)["FUTURE_US"] == FUTURE_US


@pytest.mark.parametrize("place", [0, 1, 500])
def test_what_is_stamped_after_now_is_set_aside_and_counted(
    place: int, events: list[Event], tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    lines = encode_frame(events).splitlines(keepends=True)
    wrong = encode(stranger(REFERENCE + FUTURE_US + 1)) + b"\n"
    file.write_bytes(b"".join([*lines[:place], wrong, *lines[place:]]))
    alone, together = ReadCounts(), ReadCounts()
    assert of_files(file, counts=alone) == of_files(SAMPLE)
    assert alone.unreadable == {FUTURE.reason: 1}
    assert (alone.read, alone.events) == (len(lines) + 1, len(lines))
    given, expected = only_json(file), Expected(REFERENCE + FUTURE_US)
    assert given is not None
    shared = replay_lines(Policy(), given, together, jobs=2, expected=expected)
    assert [encode(it) for few in shared for it in few] == of_files(SAMPLE)
    assert together == alone


def test_a_log_line_stamped_after_now_is_set_aside_too(tmp_path: Path) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    wrong = lines[3].replace(lines[3].split()[0], b"2027-01-01T01:00:01.000000+00:00")
    (tmp_path / "mail.log").write_bytes(b"".join([lines[0], wrong, *lines[1:]]))
    counts = ReadCounts()
    assert of_files(tmp_path / "mail.log", counts=counts) == of_files(SAMPLE)
    assert counts.unreadable == {FUTURE.reason: 1}


@pytest.mark.parametrize("size", [200, 5000, 1 << 17])
@pytest.mark.parametrize("place", [0, 1, 400])
def test_a_stamp_that_jumps_ahead_makes_nothing_else_late(
    place: int, size: int, events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hours, in JSON as in a log."""
    monkeypatch.setattr("streams.replay.files.CHUNK", size)
    file, ahead = tmp_path / "events.jsonl", stranger(events[place].at + 3 * FUTURE_US)
    file.write_bytes(encode_frame([*events[:place], ahead, *events[place:]]))
    expected = of_files(SAMPLE)
    assert len(expected) > 3
    assert of_files(file) == expected
    given = only_json(file)
    assert given is not None
    shared = replay_lines(Policy(), given, ReadCounts(), jobs=2)
    assert [encode(it) for few in shared for it in few] == expected
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    stamp = lines[place].split()[0]
    jumped = b"2026-12-30T23:00:00.000000+00:00" + lines[place][len(stamp) :]
    (tmp_path / "mail.log").write_bytes(b"".join([*lines[:place], jumped, *lines[place:]]))
    assert of_files(tmp_path / "mail.log") == expected


def test_a_first_line_from_a_wrong_clock_puts_no_file_behind_the_others(
    events: list[Event], tmp_path: Path
) -> None:
    half = len(events) // 2
    (tmp_path / "a.jsonl").write_bytes(encode_frame([stranger(events[-1].at + FUTURE_US), *events[:half]]))
    (tmp_path / "b.jsonl").write_bytes(encode_frame(events[half:]))
    assert of_files(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == of_files(SAMPLE)


@pytest.mark.parametrize(
    "damaged", [b"{damaged\n", b"\x00\x00\n", b"Mar 14 04:05:33 mx postfix/smtpd[1]: x\n"]
)
def test_a_damaged_first_line_loses_nothing_else(damaged: bytes, events: list[Event], tmp_path: Path) -> None:
    file, counts = tmp_path / "events.jsonl", ReadCounts()
    file.write_bytes(damaged + encode_frame(events))
    assert of_files(file, counts=counts) == of_files(SAMPLE)
    assert (counts.events, sum(counts.unreadable.values())) == (len(events), 1)
    assert only_json(file) is not None
    log = tmp_path / "mail.log"
    log.write_bytes(encode(events[0]) + b"\n" + gzip.decompress(SAMPLE.read_bytes()))
    assert of_files(log) == of_files(SAMPLE)
    assert only_json(log) is None


def test_events_of_other_clients_than_the_policys_are_refused(events: list[Event], tmp_path: Path) -> None:
    """Also where only lines one by one can be read, and by several processes; markers are no client's."""
    prefixes, file = ClientPrefixes(ipv4=24), tmp_path / "events.jsonl"
    marker = replace(stranger(events[0].at), kind="policy", client=Client("policy"), address=Address("::"))
    right = [replace(it, client=prefixes.client_of(it.address)) for it in events]

    def read(content: bytes) -> int:
        file.write_bytes(content)
        counts = ReadCounts()
        found = history([file], zone=UTC, reference=REFERENCE, prefixes=prefixes, counts=counts)
        return sum(len(it.items) for it in found)

    assert read(encode_frame([marker, *right])) == len(events) + 1
    for broken in (b"", b"broken\n"):
        content = encode_frame(right) + broken + encode_frame(events[:3])
        with pytest.raises(PolicyError, match=r"\[clients\]: .* under the policy.* Try: ") as found:
            read(content)
        assert found.value.exit_code == 3
        given, expected = only_json(file), Expected(prefixes=prefixes)
        assert given is not None
        with pytest.raises(PolicyError, match=r"\[clients\]"):
            list(replay_lines(Policy(clients=prefixes), given, ReadCounts(), jobs=2, expected=expected))


def run(command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), env={"GOAWAY_POLICY": None})  # type: ignore[arg-type]


@pytest.mark.parametrize("rubbish", [0, 1, 100])
def test_lines_that_could_not_be_read_are_said(rubbish: int, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(gzip.decompress(SAMPLE.read_bytes()) + b"rubbish\n" * rubbish)
    rates = [part for name in ("parse", "engine", "worker") for part in ("--rate", f"{name}=1000")]
    for command, arguments in (
        (tune, ("--connections-per-minute", "10,60")),
        (replay, ("--compare", "defaults", "defaults")),
        (capacity, tuple(rates)),
    ):
        found = run(command, str(log), "--json", *arguments)
        assert json.loads(found.stdout)["lines"]["unreadable"] == rubbish, found.output
        assert f"unreadable {rubbish}" in found.stderr
        assert ("could not be read" in found.stderr) == (rubbish == 100)
    assert ("could not be read" in run(replay, str(log)).stderr) == (rubbish == 100)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speed", "bogus"], "--speed is for --to-kafka"),
        (["--yes"], "--yes is for --to-kafka"),
        (["--to-kafka", "--json"], "--json is not for --to-kafka"),
        (["--compare", "defaults", "defaults", "--warnings"], "--warnings is for decisions"),
        (["--to-kafka", "--warnings"], "--warnings is for decisions"),
        (["--compare", "defaults", "--data", "x"], "--compare takes two policies, and --data is a flag"),
        (["--jobs", "2"], "logs, or several files, are read by one process"),
    ],
)
def test_flags_that_would_say_nothing_are_refused(arguments: list[str], said: str) -> None:
    found = run(replay, str(SAMPLE), *arguments)
    assert isinstance(found.exception, UsageError), found.output
    assert said in str(found.exception)


def test_jobs_are_for_one_policy_and_not_for_kafka() -> None:
    period = ["--from", "2026-11-01", "--to", "2026-11-02"]
    found = run(replay, *period, "--kafka", "--jobs", "2")
    assert "a range of Kafka takes one process" in str(found.exception)


def test_names_and_errors_reach_no_terminal_raw(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["goaway", "replay", "/nowhere/\x1b[31mx"])
    with pytest.raises(SystemExit) as found:
        main()
    assert found.value.code == 4
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"/nowhere/\x1b[31mx: cannot be read" in said


def test_a_fault_of_our_own_is_no_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(**_: object) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(goaway, "main", fault)
    with pytest.raises(SystemExit) as found:
        main()
    assert found.value.code == FAULT == 70
    assert "nobody expected this" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_shows_a_decision_in_words(as_json: bool) -> None:
    ours, theirs = pty.openpty()
    flags = ["--json"] if as_json else []
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "replay", str(SAMPLE), *flags],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert len(said.splitlines()) == 4
    assert ("REFUSED 203.0.113.66: 551 5.7.1 Go away: exceeded" in said) != as_json
    assert ('"client":"203.0.113.66"' in said) == as_json

"""Replay: the order of lines within a second does not matter, the output is the same to the byte."""

import gzip
import random
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from streams.engine.step import Outcome
from streams.errors import UnavailableError
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.model.instant import parse_instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.order import LATENESS_US, TimeOrder
from streams.replay.run import replay
from streams.replay.sources import ReadCounts, chunks, events_in_time
from streams.wire.frames import encode, encode_frame
from tests.properties.reference import Reference

SAMPLE = Path(__file__).parents[2] / "streams" / "embedded" / "sample" / "mail.log.gz"
REFERENCE = parse_instant("2027-01-01T00:00:00Z")


def events_of(file: Path, counts: ReadCounts | None = None) -> Iterator[Event]:
    return events_in_time(
        file,
        zone=UTC,
        reference=REFERENCE,
        prefixes=ClientPrefixes(),
        counts=counts or ReadCounts(),
    )


def decided(file: Path) -> list[Outcome]:
    return list(replay(PolicyIndex(Policy()), events_of(file)))


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)


def test_the_sample_is_decided_as_its_readme_says() -> None:
    found = {(one.client, one.rule) for one in decided(SAMPLE) if hasattr(one, "until")}
    assert found == {
        ("203.0.113.66", "requests_per_minute"),
        ("203.0.113.200", "concurrent_connections"),
        ("198.51.100.23", "requests_per_minute"),
        ("203.0.113.7", "missing_helo"),
    }


def test_the_sample_is_decided_as_the_reference_decides_it() -> None:
    reference = Reference(Policy())
    assert decided(SAMPLE) == [outcome for event in events_of(SAMPLE) for outcome in reference.step(event)]


@pytest.mark.parametrize("seed", range(5))
def test_lines_shuffled_within_their_second_decide_the_same(
    seed: int, lines: list[bytes], tmp_path: Path
) -> None:
    chance, shuffled = random.Random(seed), list[bytes]()
    second: list[bytes] = []
    for line in [*lines, b""]:
        if second and line[:19] != second[0][:19]:
            chance.shuffle(second)
            shuffled += second
            second = []
        second.append(line)
    assert sorted(shuffled) == sorted(lines)
    assert shuffled != lines
    (tmp_path / "mail.log").write_bytes(b"".join(shuffled))
    again = decided(tmp_path / "mail.log")
    assert [encode(one) for one in again] == [encode(one) for one in decided(SAMPLE)]


def test_events_as_json_lines_decide_the_same_as_the_log(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(encode_frame(events_of(SAMPLE)))
    assert decided(tmp_path / "events.jsonl") == decided(SAMPLE)


def test_every_line_is_counted_once(lines: list[bytes], tmp_path: Path) -> None:
    extra = [b"garbage\n", b"\xff\xfe\x00 not a line\n", b"x" * 10_000_000 + b"\n", b"\n"]
    (tmp_path / "mail.log").write_bytes(b"".join(extra + lines))
    counts = ReadCounts()
    events = sum(1 for _ in events_of(tmp_path / "mail.log", counts))
    assert counts.read == len(lines) + 4
    assert sum(counts.unreadable.values()) == 3
    assert counts.events == events > 900


def test_json_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    first = encode_frame([next(iter(events_of(SAMPLE)))])
    (tmp_path / "events.jsonl").write_bytes(first + b"{}\n\nnonsense\n")
    counts = ReadCounts()
    assert len(list(events_of(tmp_path / "events.jsonl", counts))) == 1
    assert (counts.read, sum(counts.unreadable.values()), counts.ignored) == (4, 2, {"empty": 1})


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert list(events_of(tmp_path / "empty")) == []


def test_a_broken_gzip_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = tmp_path / "mail.log.gz"
    broken.write_bytes(SAMPLE.read_bytes()[:5000])
    with pytest.raises(UnavailableError, match=r"mail\.log\.gz: cannot be read"):
        list(chunks(broken))


def test_time_order_puts_right_what_is_late_by_less_than_its_buffer() -> None:
    chance = random.Random(1)
    times = sorted(chance.randrange(600_000_000) for _ in range(20_000))
    order: TimeOrder[int] = TimeOrder()
    seen: list[int] = []
    for at in sorted(times, key=lambda at: at + chance.randrange(LATENESS_US)):
        order.add(at, b"", at)
        seen += order.ready()
    assert len(seen) > 10_000, "the buffer is bounded: most must be out before the end"
    assert [*seen, *order.rest()] == times


def test_equal_coarse_stamps_keep_their_order_and_fine_ones_do_not_depend_on_it() -> None:
    order: TimeOrder[str] = TimeOrder()
    for at, content in ((1_000_000, b"b"), (1_000_000, b"a"), (1_000_001, b"d"), (1_000_001, b"c")):
        order.add(at, content, content.decode())
    assert list(order.rest()) == ["b", "a", "c", "d"]

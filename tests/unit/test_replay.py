"""Replay: the order of lines within a second does not matter, the output is the same to the byte."""

import gzip
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import astuple, replace

from streams.engine.step import Outcome
from streams.errors import UnavailableError
from streams.model.client import Address, ClientPrefixes
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.child import Child
from streams.replay.exchange import Exchange
from streams.replay.json_lines import block_of_lines, blocks
from streams.replay.order import (
    LATENESS_US,
    Batch,
    BlockOrder,
    Source,
    TimeOrder,
    block_of,
    event_order,
    merged,
)
from streams.replay.parallel import replay_lines
from streams.replay.pump import Shift
from streams.replay.run import decide, replay
from streams.replay.sources import ReadCounts, chunks, events_in_time, history, only_json
from streams.wire.frames import decode_event, encode, encode_frame
from streams.wire.instants import microseconds
from tests.properties.reference import Reference

SAMPLE = Path(__file__).parents[2] / "streams" / "embedded" / "sample" / "mail.log.gz"
REFERENCE = parse_instant("2027-01-01T00:00:00Z")


def events_of_log(file: Path, counts: ReadCounts | None = None) -> Iterator[Event]:
    return events_in_time(
        file,
        zone=UTC,
        reference=REFERENCE,
        prefixes=ClientPrefixes(),
        counts=counts or ReadCounts(),
    )


def decided(file: Path) -> list[Outcome]:
    return list(replay(PolicyIndex(Policy()), events_of_log(file)))


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
    assert decided(SAMPLE) == [
        outcome for event in events_of_log(SAMPLE) for outcome in reference.step(event)
    ]


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
    (tmp_path / "events.jsonl").write_bytes(encode_frame(events_of_log(SAMPLE)))
    assert decided(tmp_path / "events.jsonl") == decided(SAMPLE)


def test_every_line_is_counted_once(lines: list[bytes], tmp_path: Path) -> None:
    extra = [b"garbage\n", b"\xff\xfe\x00 not a line\n", b"x" * 10_000_000 + b"\n", b"\n"]
    (tmp_path / "mail.log").write_bytes(b"".join(extra + lines))
    counts = ReadCounts()
    events = sum(1 for _ in events_of_log(tmp_path / "mail.log", counts))
    assert counts.read == len(lines) + 4
    assert sum(counts.unreadable.values()) == 3
    assert counts.events == events > 900


def test_json_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    first = encode_frame([next(iter(events_of_log(SAMPLE)))])
    (tmp_path / "events.jsonl").write_bytes(first + b"{}\n\nnonsense\n")
    counts = ReadCounts()
    assert len(list(events_of_log(tmp_path / "events.jsonl", counts))) == 1
    assert (counts.read, sum(counts.unreadable.values()), counts.ignored) == (4, 2, {"empty": 1})


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert list(events_of_log(tmp_path / "empty")) == []


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


def of_files(*files: Path, counts: ReadCounts | None = None) -> list[bytes]:
    batches = history(
        files, zone=UTC, reference=REFERENCE, prefixes=ClientPrefixes(), counts=counts or ReadCounts()
    )
    return [
        encode(it) for _, found in decide(PolicyIndex(Policy()), batches) for _, few in found for it in few
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_log_in_pieces_decides_as_the_whole_in_whatever_order_they_are_named(
    seed: int, lines: list[bytes], tmp_path: Path
) -> None:
    """Cut in time, as rotation does, and one piece cut by its lines, as two hosts' logs lie in each other."""
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(1, len(lines)), 3))
    pieces = [lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    tossed = [chance.random() < 0.5 for _ in pieces[1]]
    pieces.append([line for line, mine in zip(pieces[1], tossed, strict=True) if mine])
    pieces[1] = [line for line, mine in zip(pieces[1], tossed, strict=True) if not mine]
    files = []
    for number, piece in enumerate(pieces):
        file = tmp_path / f"{chance.random()}.log"
        content = b"".join(piece)
        file.write_bytes(gzip.compress(content) if number % 2 else content)
        files.append(file)
    chance.shuffle(files)
    counts = ReadCounts()
    assert of_files(*files, files[0], counts=counts) == of_files(SAMPLE)
    assert counts.read == len(lines)


def test_json_events_in_files_are_one_history(tmp_path: Path) -> None:
    events = list(events_of_log(SAMPLE))
    middle = events[len(events) // 2].at
    (tmp_path / "late.jsonl").write_bytes(encode_frame(it for it in events if it.at >= middle))
    (tmp_path / "early.jsonl").write_bytes(encode_frame(it for it in events if it.at < middle))
    assert of_files(tmp_path / "late.jsonl", tmp_path / "early.jsonl") == of_files(SAMPLE)


def history_of(seed: int, count: int = 6000) -> list[Event]:
    """Coarse and fine stamps, equal ones, late ones (a minute, hours), IPv6."""
    chance, at = random.Random(seed), 1_700_000_000_000_000
    made = []
    for number in range(count):
        at += chance.choice((0, 0, 1, 1000, 400_000, 2_000_000))
        who = chance.randrange(30)
        address = f"192.0.2.{who}" if who % 3 else f"2001:db8::{who or 1:x}"
        late = chance.choice((0, 0, 0, 0, 0, 0, 3_000_000, 60_000_000, 9_000_000_000))
        stamp = at - late
        made.append(
            Event(
                id=f"{chance.randrange(1 << 40):x}-{number}",
                at=Instant(stamp - stamp % 1_000_000 if chance.random() < 0.3 else stamp),
                kind=chance.choice(("connect", "mail", "disconnect", "violation")),
                client=ClientPrefixes().client_of(Address(address)),
                address=Address(address),
                session=f"mx/{number % 97}",
                host="mx",
                violation="missing HELO",
            )
        )
    return made


@pytest.mark.parametrize(("seed", "jobs", "size"), [(1, 2, 20_000), (2, 3, 20_000), (3, 2, 3_000)])
def test_several_processes_print_the_same_bytes_as_one(
    seed: int, jobs: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.replay.files.CHUNK", size)
    lines = encode_frame(history_of(seed)).splitlines(keepends=True)
    lines[500:500] = [b"nonsense\n", b"\n", b'{"id":"1"}\n', lines[3][:40] + b"\n"]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(lines))
    alone, together = ReadCounts(), ReadCounts()
    expected = of_files(file, counts=alone)
    given = only_json(file)
    assert given is not None
    found = [encode(it) for few in replay_lines(Policy(), given, together, jobs=jobs) for it in few]
    assert len(expected) > 80
    assert found == expected
    assert together == alone


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_is_killed_ends_the_replay_with_an_error(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[Child]()
    begin = Child.__init__

    def noted(child: Child, *given: Any, **more: Any) -> None:
        begin(child, *given, **more)
        started.append(child)

    monkeypatch.setattr(Child, "__init__", noted)

    def chunks() -> Iterator[bytes]:
        yield from pieces(encode_frame(history_of(3)), 5_000)
        started[number]._process.kill()
        yield from pieces(encode_frame(history_of(4)), 1_000)

    with pytest.raises(UnavailableError, match=r"ended before its time.*--jobs 1"):
        list(replay_lines(Policy(), chunks(), ReadCounts(), jobs=2))
    assert [child._process.returncode is not None for child in started] == [True, True]


def test_what_is_laid_down_is_whole_and_a_place_is_used_again() -> None:
    exchange, (ours, theirs) = Exchange(2), Pipe()
    try:
        for block, whole in ((0, bytes(range(256)) * 4000), (exchange.ahead, b"short")):
            first = exchange.lay(block, 0, whole)
            second = exchange.lay(block, first.size, b"behind it")
            assert (exchange.content(first), exchange.content(second)) == (whole, b"behind it")
            exchange.tell(1, second)
            assert list(exchange.heard(1, wait=True, reader=theirs.fileno())) == [second]
        assert list(exchange.heard(0, wait=False, reader=theirs.fileno())) == []
        ours.close()
        for wait in (True, False):
            with pytest.raises(EOFError):
                list(exchange.heard(0, wait=wait, reader=theirs.fileno()))
    finally:
        exchange.close()
        theirs.close()


_KILLED = """
import signal, time
from streams.model.policy import Policy
from streams.replay import parallel
from streams.replay.counts import ReadCounts

def chunks():
    yield b"{}\\n" * 1000
    time.sleep(1)  # they are at work, or wait
    print(begun, "begun", flush=True)
    signal.pause()

begun = 0
begin = parallel.Child.__init__
def noted(*given, **more):
    global begun
    begin(*given, **more)
    begun += 1
parallel.Child.__init__ = noted
list(parallel.replay_lines(Policy(), chunks(), ReadCounts(), jobs=2))
"""


def test_a_replay_that_is_killed_leaves_no_process_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdout=subprocess.PIPE) as replaying:
        assert replaying.stdout is not None
        assert replaying.stdout.readline() == b"2 begun\n"
        replaying.kill()
        replaying.communicate(timeout=30)  # they have its standard output, too: it ends with the last of them


def test_blocks_are_whole_lines_wherever_chunks_end() -> None:
    content = encode_frame(history_of(3, 50))
    for size in (1, 7, 100, 5000, 1 << 20):
        cut = [content[n : n + size] for n in range(0, len(content), size)]
        assert b"".join(blocks(cut)) == content
        assert all(block.endswith(b"\n") for block in blocks(cut))


def test_of_two_hosts_that_are_apart_the_one_behind_counts_however_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour ahead makes nothing late, and a plain file, an archive and a pipe are one history."""
    ahead = 1_800_000_000
    made = [
        replace(event, at=Instant(event.at + (number % 2) * ahead), id=f"{number:09}")
        for number, event in enumerate(sorted(history_of(6, 4000), key=event_order))
    ]
    content = encode_frame(made)
    plain, packed = tmp_path / "events.jsonl", tmp_path / "events.jsonl.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    in_time = [it.id for it in sorted(made, key=event_order)]
    assert ids_of(plain) == ids_of(packed) == in_time
    monkeypatch.setattr("streams.replay.sources.chunks", lambda *_: iter(pieces(content, 1000)))
    assert ids_of(plain) == in_time


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def ids_of(file: Path) -> list[str]:
    """In the order in which they are judged."""
    batches = history(
        [file], zone=UTC, reference=Instant(1 << 51), prefixes=ClientPrefixes(), counts=ReadCounts()
    )
    return [event.id for batch in batches for event in batch.items]


def test_events_read_fast_are_those_read_slowly() -> None:
    made = history_of(4, 300)
    block = block_of_lines(encode_frame(made), ReadCounts())
    assert [astuple(it) for it in block.events()] == [astuple(it) for it in sorted(made, key=event_order)]
    assert list(block.times) == sorted(it.at for it in made)


@pytest.mark.parametrize(
    "text",
    [
        "2023-03-13T23:00:31.185246Z",
        "2023-03-13T23:00:31Z",
        "2023-03-13T23:00:31.1Z",
        "2023-03-14T00:00:31.185246+01:00",
        "2023-03-13T23:00:31.1852467Z",
    ],
)
def test_an_instant_is_read_as_one_alone(text: str) -> None:
    assert microseconds([text, "2023-03-13T23:00:30.000001Z"])[0] == parse_instant(text)


@pytest.mark.parametrize("text", ["2023-03-13T23:00:31.18_246Z", "2023-03-13T23:00:31.+85246Z", "x" * 27, ""])
def test_what_is_no_instant_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        microseconds([text])


def test_events_with_an_address_that_is_none_are_unreadable() -> None:
    line = (
        encode(history_of(5, 1)[0])
        .replace(b"2001:db8::1", b"2001:0db8::1")
        .replace(b"192.0.2.", b"192.0.02.")
    )
    counts = ReadCounts()
    assert block_of_lines(line + b"\n", counts).events() == []
    assert sum(counts.unreadable.values()) == 1


def test_block_order_is_time_order() -> None:
    made = sorted(history_of(6, 4000), key=lambda it: it.at)
    order, chance, seen = BlockOrder(), random.Random(6), list[Event]()
    given = sorted(made, key=lambda it: it.at + chance.randrange(LATENESS_US))
    for n in range(0, len(given), 100):
        block = given[n : n + 100]
        for batch in order.add(block_of(block)):
            seen += batch.items
    assert len(seen) > 3000
    for batch in order.rest():
        seen += batch.items
    assert [it.at for it in seen] == [it.at for it in made]


@pytest.mark.parametrize("step_us", [1000, 1_000_000])
def test_a_history_that_runs_backwards_is_not_held_whole(step_us: int) -> None:
    order, lines = BlockOrder(), TimeOrder[int]()
    given = blocks_out = lines_out = 0
    one, most = history_of(9, 1)[0], 2 * (1 << 15)
    for start in range(0, 100_000, 500):
        block = [replace(one, at=Instant(one.at - n * step_us)) for n in range(start, start + 500)]
        given += len(block)
        for event in block:
            lines.add(event.at, b"", event.at)
            lines_out += sum(1 for _ in lines.ready())
        blocks_out += sum(len(batch.items) for batch in order.add(block_of(block)))
        assert given - blocks_out < most + 5_000_000 // step_us
        assert given - lines_out < 2 * most + 10_000_000 // step_us
    assert blocks_out + sum(len(batch.items) for batch in order.rest()) == given


def test_merged_sources_are_in_order_and_read_only_when_their_time_comes() -> None:
    made = sorted(history_of(7, 900), key=event_order)
    asked: list[int] = []

    def source(number: int, part: list[Event]) -> Iterator[Batch[Event]]:
        asked.append(number)
        for n in range(0, len(part), 50):
            yield Batch(part[n : n + 50], part[min(n + 49, len(part) - 1)].at)

    parts = [made[:300], made[300:600:2], made[301:600:2], made[600:]]
    sources = [Source(part[0].at, source(n, part)) for n, part in enumerate(parts)]
    first, *rest = merged(sources, event_order)
    assert asked == [0, 1, 2, 3]
    together = [it for batch in (first, *rest) for it in batch.items]
    assert [event_order(it) for it in together] == [event_order(it) for it in made]


def test_a_pumped_event_is_another_at_its_new_time() -> None:
    event = decode_event(encode(history_of(8, 1)[0]))
    moved = Shift(event.at - 10_000_000, 5_000_000, speed=10.0, run="r").of(event)
    assert (moved.at, moved.source, moved.position) == (6_000_000, "", 0)
    assert moved.id != event.id
    assert (moved.client, moved.kind, moved.session) == (event.client, event.kind, event.session)

"""A followed path through what log rotation does to it, on real files."""

import logging
import os
from collections import Counter
from pathlib import Path

import pytest

from streams.ship.position import load_place
from streams.wire.frames import decode_frame
from streams.wire.partition import partition_of
from tests.unit.ship_logs import PARTITIONS, Reading, WrittenLog, expected, positions_grow


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    folder = tmp_path / "log"
    folder.mkdir()
    return WrittenLog(folder / "mail.log")


@pytest.fixture
def reading(log: WrittenLog, tmp_path: Path) -> Reading:
    return Reading(log.path, tmp_path / "state")


def exactly_once(reading: Reading, log: WrittenLog) -> None:
    assert Counter(event.id for event in reading.events()) == Counter(expected(log.lines))


def test_growth(log: WrittenLog, reading: Reading) -> None:
    for count, cut in ((3, 0), (1, 20), (400, 1), (1, 0)):
        log.write(count, cut=cut)
        reading.to_the_end()
    exactly_once(reading, log)


def test_a_line_is_read_only_when_whole(log: WrittenLog, reading: Reading) -> None:
    log.write(2, cut=5)
    reading.to_the_end()
    assert reading.counts.read == 1
    log.complete()
    reading.to_the_end()
    assert reading.counts.read == 2


def test_missing_at_start_is_said_once_and_waited_for(
    log: WrittenLog, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    reading.to_the_end()
    assert [r.getMessage() for r in caplog.records] == [f"{log.path} is not there; waiting for it"]
    log.write(5)
    reading.to_the_end()
    exactly_once(reading, log)


@pytest.mark.parametrize("create", [False, True])
def test_rename_rotation_reads_the_old_file_to_its_end(
    log: WrittenLog, reading: Reading, create: bool
) -> None:
    log.write(10)
    reading.to_the_end()
    log.write(5)
    log.rotate(create=create)
    reading.to_the_end()
    # the writer has not noticed yet
    with log.path.with_name("mail.log.1").open("ab") as old:
        from tests.unit.ship_logs import log_line

        line = log_line(len(log.lines))
        log.lines.append(line)
        old.write(line)
    reading.to_the_end()
    log.write(7)
    reading.to_the_end()
    exactly_once(reading, log)
    sources = {event.source for event in reading.events()}
    assert len(sources) == 2


def test_rotations_while_down(log: WrittenLog, reading: Reading) -> None:
    log.write(10)
    reading.to_the_end()
    reading.save()
    for _ in range(3):
        log.write(10)
        log.rotate()
    log.write(10)
    reading.kill()
    reading.to_the_end()
    exactly_once(reading, log)


def test_rotated_and_compressed_while_down(log: WrittenLog, reading: Reading) -> None:
    log.write(10)
    reading.to_the_end()
    reading.save()
    log.write(10)
    log.rotate()
    log.compress()
    log.write(10)
    log.rotate()
    log.write(3)
    reading.kill()
    reading.to_the_end()
    exactly_once(reading, log)


def test_files_rotated_before_the_first_start_are_not_ours(log: WrittenLog, tmp_path: Path) -> None:
    log.write(10)
    log.rotate()
    before = len(log.lines)
    log.write(10)
    os.utime(log.path.with_name("mail.log.1"))  # touched by a backup: the younger of the two now
    reading = Reading(log.path, tmp_path / "state")
    reading.to_the_end()
    log.rotate()
    log.write(10)
    reading.to_the_end()
    assert reading.ids() == set(expected(log.lines[before:]))


def test_the_rest_that_cannot_be_found_is_said_loudly(
    log: WrittenLog, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    log.write(10)
    reading.to_the_end()
    place = reading.save()
    assert place is not None
    log.rotate()
    log.path.with_name("mail.log.1").unlink()
    log.write(10)
    reading.kill()
    reading.to_the_end()
    exactly_once(reading, log)
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"read up to byte {place.position} is gone" in errors[0]


@pytest.mark.parametrize("down", [False, True])
def test_copytruncate_reads_the_rest_from_the_copy(log: WrittenLog, reading: Reading, down: bool) -> None:
    log.write(10)
    reading.to_the_end()
    reading.save()
    log.write(10)
    log.copy_and_truncate()
    if down:
        reading.kill()
    reading.to_the_end()
    log.write(30)  # longer than before: only the beginning tells
    reading.to_the_end()
    exactly_once(reading, log)


def test_copytruncate_grown_beyond_the_old_size_before_it_was_seen(log: WrittenLog, reading: Reading) -> None:
    log.write(10)
    reading.to_the_end()
    log.write(5)
    log.copy_and_truncate()
    log.write(40)
    reading.to_the_end()
    exactly_once(reading, log)


def test_truncated_without_a_copy_starts_over_and_says_so(
    log: WrittenLog, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    log.write(10)
    reading.to_the_end()
    os.truncate(log.path, 0)
    log.write(10)
    reading.to_the_end()
    exactly_once(reading, log)
    assert sum("was truncated" in r.getMessage() for r in caplog.records) == 1


def test_the_same_content_again_is_a_new_generation(log: WrittenLog, reading: Reading) -> None:
    log.write(10)
    reading.to_the_end()
    content = log.path.read_bytes()
    os.truncate(log.path, 0)
    reading.to_the_end()
    log.path.write_bytes(content)
    reading.to_the_end()
    connects = [(e.source, e.position) for e in reading.events() if e.kind == "connect"]
    assert len({source for source, _ in connects}) == 2
    assert len(connects) == len(set(connects)) == 2 * 8


def test_doubles_after_a_kill_share_source_position_and_id(log: WrittenLog, reading: Reading) -> None:
    log.write(50)
    reading.to_the_end()  # its place was saved at the first chunk, before the next lines
    log.write(50)
    reading.to_the_end()
    reading.kill()
    reading.to_the_end()
    first = [(e.source, e.position, e.id) for f in reading.frames[0] for e in decode_frame(f.value)]
    again = [(e.source, e.position, e.id) for f in reading.frames[1] for e in decode_frame(f.value)]
    assert again
    assert set(again) <= set(first)
    assert {i for _, _, i in first} == set(expected(log.lines))


def test_frames_hold_one_partition_and_positions_grow(log: WrittenLog, reading: Reading) -> None:
    log.write(3000)
    reading.to_the_end()
    for frame in reading.frames[0]:
        events = decode_frame(frame.value)
        assert len(events) == frame.events
        assert {partition_of(e.client, PARTITIONS) for e in events} == {frame.partition}
        assert {e.source for e in events} == {frame.source}
        clients = {e.client for e in events}
        assert frame.client == (next(iter(clients)) if len(clients) == 1 else None)
    positions_grow(reading.frames[0])


def test_unreadable_and_future_lines_become_dead_letters(log: WrittenLog, reading: Reading) -> None:
    log.write(1)
    with log.path.open("ab") as out:
        out.write(b"\xff\xfe rubbish\n" + b"x" * 10_000_000 + b"\n")
        out.write(b"2199-01-01T00:00:00+00:00 mx postfix/smtpd[1]: connect from unknown[192.0.2.1]\n")
    log.write(1)
    reading.to_the_end()
    exactly_once(reading, log)
    assert reading.counts.unreadable == 3
    assert [letter.reason for letter in reading.letters][1:] == [
        "longer than 65536 bytes",
        "stamped more than 3600 s ahead of the clock here",
    ]
    assert all(letter.source == str(log.path) for letter in reading.letters)
    assert all(len(letter.text) <= 4096 for letter in reading.letters)
    content = log.path.read_bytes()
    assert [content[letter.position : letter.position + 2] for letter in reading.letters] == [
        b"\xff\xfe",
        b"xx",
        b"21",
    ]


def test_a_saved_place_survives_and_says_where(log: WrittenLog, reading: Reading) -> None:
    log.write(10, cut=3)
    reading.to_the_end()
    place = reading.save()
    assert place == load_place(reading.state, log.path)
    assert place is not None
    assert place.position == sum(len(line) for line in log.lines[:-1])

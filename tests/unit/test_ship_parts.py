"""The shipper's parts by themselves: names, heads, saved places, frames, refusals to start."""

import fcntl
import threading
from datetime import UTC
from pathlib import Path

import pytest

from streams.config import Settings
from streams.errors import InvalidValueError, UnavailableError, UsageError
from streams.model.client import Address, Client, ClientPrefixes
from streams.model.event import Event
from streams.model.instant import Instant
from streams.ship.framing import FRAME_BYTES, FRAME_EVENTS, Frame, FrameBuilder
from streams.ship.identity import HEAD_BYTES, head_of, source_of
from streams.ship.position import Place, load_place, place_file, save_place
from streams.ship.rotation import rotated
from streams.ship.run import follow, ship_once
from streams.status import StatusFile
from streams.wire.frames import decode_frame

PLACE = Place(
    path="/var/log/mail.log",
    source="s",
    device=1,
    inode=2,
    generation=0,
    fingerprint="f",
    head_length=9,
    position=42,
    modified_ns=7,
    done=("a", "b"),
    parser={"calendar": {"latest": ""}},
)


@pytest.mark.parametrize(
    ("followed", "name", "is_rotated"),
    [
        ("mail.log", "mail.log.1", True),
        ("mail.log", "mail.log.2.gz", True),
        ("mail.log", "mail.log-20260131", True),
        ("mail.log", "mail.log-20260131.gz", True),
        ("mail.log", "mail-20260131.log", True),
        ("mail.log", "mail-20260131.log.gz", True),
        ("maillog", "maillog.20260131-101010.gz", True),
        ("mail.log", "mail.log", False),
        ("mail.log", "mail.log.bak", False),
        ("mail.log", "mail.log.new", False),
        ("mail", "mail.err", False),
        ("mail", "mail.log", False),
        ("mail.log", "xmail.log.1", False),
    ],
)
def test_names_of_rotated_files(tmp_path: Path, followed: str, name: str, is_rotated: bool) -> None:
    (tmp_path / name).write_bytes(b"x\n")
    assert (list(rotated(tmp_path / followed)) == [tmp_path / name]) is is_rotated


def test_rotated_files_of_a_link_are_beside_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "mail.log").write_bytes(b"x\n")
    (tmp_path / "real" / "mail.log.1").write_bytes(b"y\n")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "mail.log")
    assert list(rotated(tmp_path / "link")) == [tmp_path / "real" / "mail.log.1"]


def test_a_head_is_the_first_line_however_the_file_grows() -> None:
    assert head_of(b"") is None
    assert head_of(b"half a line") is None
    assert head_of(b"one\n") == head_of(b"one\ntwo\n")
    assert head_of(b"one\n") != head_of(b"one!\n")
    assert head_of(b"x" * HEAD_BYTES) == head_of(b"x" * 2 * HEAD_BYTES)


def test_sources_differ_by_path_content_and_generation() -> None:
    assert (
        len({source_of("/a", "f"), source_of("/b", "f"), source_of("/a", "g"), source_of("/a", "f", 1)}) == 4
    )


def test_a_place_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_place(tmp_path, Path(PLACE.path)) is None
    save_place(tmp_path / "state", PLACE)
    assert load_place(tmp_path / "state", Path(PLACE.path)) == PLACE
    assert [f.name for f in (tmp_path / "state").iterdir()] == [place_file(tmp_path, Path(PLACE.path)).name]


@pytest.mark.parametrize("content", [b"", b"{", b'{"path": 1}'])
def test_a_damaged_place_names_the_file_and_the_command(tmp_path: Path, content: bytes) -> None:
    file = place_file(tmp_path, Path(PLACE.path))
    file.write_bytes(content)
    with pytest.raises(InvalidValueError, match=f"{file.name}.*rm "):
        load_place(tmp_path, Path(PLACE.path))


def test_a_place_that_cannot_be_saved_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file, not a folder")
    with pytest.raises(UnavailableError, match=r"position in /var/log/mail\.log cannot be saved"):
        save_place(tmp_path / "state", PLACE)


def event(number: int, client: str = "192.0.2.7", detail: str = "") -> Event:
    return Event(
        id=f"{number:016x}",
        at=Instant(number),
        kind="connect",
        client=Client(client),
        address=Address(client),
        session="mx/1",
        host="mx",
        detail=detail,
        source="s",
        position=number,
    )


class Frames:
    def __init__(self, partitions: int = 1, linger_s: float = 1.0) -> None:
        self.sent: list[Frame] = []
        self.builder = FrameBuilder("s", partitions, self.sent.append, linger_s=linger_s)


def test_a_full_frame_is_sent_at_once() -> None:
    frames = Frames()
    for number in range(FRAME_EVENTS + 1):
        frames.builder.add([event(number)], 0.0)
    assert [frame.events for frame in frames.sent] == [FRAME_EVENTS]
    frames.builder.flush()
    frames.builder.flush()
    assert [frame.events for frame in frames.sent] == [FRAME_EVENTS, 1]


def test_a_big_frame_is_sent_at_once() -> None:
    frames = Frames()
    number = 0
    while not frames.sent:
        frames.builder.add([event(number, detail="x" * 5000)], 0.0)
        number += 1
    assert FRAME_BYTES <= len(frames.sent[0].value) < FRAME_BYTES + 6000


def test_a_frame_waits_for_its_linger_only() -> None:
    frames = Frames(linger_s=0.005)
    frames.builder.add([event(1)], 10.0)
    frames.builder.flush_waiting(10.004)
    assert frames.sent == []
    frames.builder.flush_waiting(10.0051)
    assert len(frames.sent) == 1


def test_events_of_one_line_are_not_split_within_a_partition() -> None:
    frames = Frames()
    for number in range(FRAME_EVENTS - 1):
        frames.builder.add([event(number)], 0.0)
    line = [event(FRAME_EVENTS), event(FRAME_EVENTS)]
    frames.builder.add(line, 0.0)
    assert [frame.events for frame in frames.sent] == [FRAME_EVENTS + 1]
    assert decode_frame(frames.sent[0].value)[-2:] == line


def test_events_of_one_line_go_each_to_its_own_partition() -> None:
    frames = Frames(partitions=64)
    frames.builder.add([event(1, f"192.0.2.{n}") for n in range(20)], 0.0)
    frames.builder.flush()
    assert sum(frame.events for frame in frames.sent) == 20
    assert len({frame.partition for frame in frames.sent}) == len(frames.sent) > 5


def test_a_state_folder_has_one_shipper(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another shipper"):
            follow(
                Settings(),
                [tmp_path / "mail.log"],
                state=tmp_path,
                zone=UTC,
                prefixes=ClientPrefixes(),
                status=StatusFile(None),
                stop=threading.Event(),
            )


def test_nothing_to_ship_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no log file to follow"):
        follow(
            Settings(),
            [],
            state=tmp_path,
            zone=UTC,
            prefixes=ClientPrefixes(),
            status=StatusFile(None),
            stop=threading.Event(),
        )
    with pytest.raises(UsageError, match="no file to ship"):
        ship_once(Settings(), [], zone=UTC, prefixes=ClientPrefixes())
    with pytest.raises(UnavailableError, match="is not a file"):
        ship_once(Settings(), [tmp_path / "no.log"], zone=UTC, prefixes=ClientPrefixes())

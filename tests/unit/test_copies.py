"""Files that hold the same history are pointed out, packed or not, however far one of them has grown."""

import gzip
from pathlib import Path

import pytest

from streams.cli.copies import warn_of_copies

LINES = [
    f"2026-11-01T08:00:0{n}.000000+00:00 mx postfix/smtpd[7]: connect from a[192.0.2.{n}]\n" for n in range(9)
]


def said(capsys: pytest.CaptureFixture[str], *files: Path) -> list[str]:
    warn_of_copies(files)
    return [it.removesuffix(": what is in both counts twice") for it in capsys.readouterr().err.splitlines()]


def test_copies_are_known_by_what_is_in_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, packed, grown = (tmp_path / name for name in ("mail.1", "mail.1.gz", "mail"))
    plain.write_text("".join(LINES[:8]))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    grown.write_text("".join(LINES))
    assert said(capsys, plain, packed, grown) == [
        f"note: {packed} looks like a copy of {plain}",
        f"note: {grown} looks like a copy of {plain}",
    ]
    cut, odd = tmp_path / "cut", tmp_path / "odd"
    cut.write_text("".join(LINES[:2]) + LINES[2][:30])
    odd.write_text("\r\n" + "".join(LINES[:3]).replace("\n", "\r\n"))
    assert len(said(capsys, grown, cut, odd)) == 2


def test_what_only_begins_with_the_same_line_is_no_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, empty, blank = (tmp_path / name for name in ("one", "other", "empty", "blank"))
    one.write_text("".join(LINES))
    other.write_text("".join([LINES[0], *LINES[2:]]))
    empty.write_text("")
    blank.write_text("\n\n")
    link = tmp_path / "link"
    link.symlink_to(one)
    files = (one, other, empty, blank, empty, link, tmp_path / "none", tmp_path, Path("-"))
    assert said(capsys, *files) == []
    last = tmp_path / "last"
    last.write_text(LINES[0].rstrip())  # a line that is written just now
    assert said(capsys, last, other) == [f"note: {other} looks like a copy of {last}"]

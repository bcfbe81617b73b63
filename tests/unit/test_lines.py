"""Lines out of chunks: offsets, line ends, lines that are too long."""

import pytest

from streams.wire.lines import LineReader, RawLine


def read(stream: bytes, chunk: int, **options: int) -> list[RawLine]:
    reader = LineReader(**options)
    lines: list[RawLine] = []
    for at in range(0, len(stream), chunk):
        lines += reader.feed(stream[at : at + chunk])
    return lines + reader.finish()


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_lines_whatever_the_chunks(chunk: int) -> None:
    assert read(b"one\ntwo\r\n\n\r\nfive", chunk) == [
        (0, b"one", False),
        (4, b"two", False),
        (9, b"", False),
        (10, b"", False),
        (12, b"five", False),
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_what_is_too_long_is_cut_and_the_rest_skipped(chunk: int) -> None:
    assert read(b"ab\nabcde\nabcd\nabcdefghi\nx", chunk, max_bytes=4) == [
        (0, b"ab", False),
        (3, b"abcd", True),
        (9, b"abcd", False),
        (14, b"abcd", True),
        (24, b"x", False),
    ]


def test_an_endless_line_is_not_kept_in_memory() -> None:
    reader = LineReader(max_bytes=10)
    for _ in range(1000):
        assert reader.feed(b"x" * 1000) == []
    assert reader.feed(b"\nnext\n") == [(0, b"x" * 10, True), (1_000_001, b"next", False)]


def test_positions_count_from_the_start_given_and_say_where_to_resume() -> None:
    reader = LineReader(start=100)
    assert reader.feed(b"one\ntw") == [(100, b"one", False)]
    assert reader.position == 104
    assert reader.feed(b"o\n") == [(104, b"two", False)]
    assert reader.position == 108
    assert reader.finish() == []


def test_an_unterminated_last_line_comes_once() -> None:
    reader = LineReader()
    assert reader.feed(b"one") == []
    assert reader.finish() == [(0, b"one", False)]
    assert reader.finish() == []
    assert reader.position == 3

"""The recorded sample holds what its README promises, counted here without any of the product's code."""

import datetime
import gzip
import itertools
import re
from collections import defaultdict
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "streams" / "embedded" / "sample" / "mail.log.gz"
LINE = re.compile(r"(\S+) mx1 (postfix/\S+)\[(\d+)\]: (.*)")
CLIENT = re.compile(r"\S+\[([0-9a-f.:]+)\]")
BURST, SCANNER, HOLDER = "203.0.113.66", "198.51.100.23", "203.0.113.200"
MINUTE = 60.0


class Counts:
    """Per client: when it connected, when it asked for a transaction, how many were open at most."""

    def __init__(self) -> None:
        self.lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()
        self.connects: dict[str, list[float]] = defaultdict(list)
        self.requests: dict[str, list[float]] = defaultdict(list)
        self.peak: dict[str, int] = defaultdict(int)
        open_now: dict[str, int] = defaultdict(int)
        for line in self.lines:
            found = LINE.fullmatch(line)
            assert found, line
            at = datetime.datetime.fromisoformat(found[1]).timestamp()
            text = found[4]
            client = CLIENT.search(text)
            if not found[2].endswith("/smtpd") or client is None:
                continue
            if text.startswith("connect from"):
                self.connects[client[1]].append(at)
                open_now[client[1]] += 1
                self.peak[client[1]] = max(self.peak[client[1]], open_now[client[1]])
            elif text.startswith("disconnect from"):
                open_now[client[1]] -= 1
                mails = re.search(r" mail=(?:\d+/)?(\d+)", text)
                self.requests[client[1]] += [at] * (int(mails[1]) if mails else 0)


@pytest.fixture(scope="module")
def counts() -> Counts:
    return Counts()


def most_in_a_minute(times: list[float]) -> int:
    return max((sum(end - MINUTE < at <= end for at in times) for end in times), default=0)


def test_times_are_strictly_ordered_and_span_twenty_minutes(counts: Counts) -> None:
    stamps = [datetime.datetime.fromisoformat(line.split(" ", 1)[0]) for line in counts.lines]
    assert all(a < b for a, b in itertools.pairwise(stamps))
    assert 18 * MINUTE < (stamps[-1] - stamps[0]).total_seconds() < 22 * MINUTE


def test_the_three_attackers_exceed_a_limit_and_nobody_else_does(counts: Counts) -> None:
    breaches = {
        client
        for client in counts.connects
        if counts.peak[client] > 10
        or most_in_a_minute(counts.connects[client]) > 30
        or most_in_a_minute(counts.requests[client]) > 20
    }
    assert breaches == {BURST, SCANNER, HOLDER}
    assert counts.peak[HOLDER] == 15
    assert most_in_a_minute(counts.requests[BURST]) > 20
    assert most_in_a_minute(counts.connects[SCANNER]) > 30


def test_the_probe_comes_every_minute(counts: Counts) -> None:
    times = counts.connects["192.0.2.10"]
    assert len(times) == 20
    assert all(55 < b - a < 65 for a, b in itertools.pairwise(times))


def test_it_is_small_and_says_nothing_of_where_it_was_recorded(counts: Counts) -> None:
    assert SAMPLE.stat().st_size < 100_000
    text = "\n".join(counts.lines)
    for unwanted in ("127.0", "127.1", "[::1]", "/tmp", "goaway"):
        assert unwanted not in text

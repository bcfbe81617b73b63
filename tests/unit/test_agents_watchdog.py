"""The watchdog: told positions and ends, it says who stands still. Kafka is an object that knows offsets."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.agents.quiet import REPEAT_S, Quiet
from streams.agents.watchdog import EXIT_CODE, NEVER_JOINED, Watchdog
from streams.config import KafkaSettings


class Offsets:
    """What a broker would answer."""

    def __init__(self, ends: dict[int, int], committed: int = -1001) -> None:
        self.ends = ends
        self.committed_offset = committed

    def get_watermark_offsets(self, place: TopicPartition, **_: object) -> tuple[int, int]:
        return 2, self.ends[place.partition]

    def committed(self, places: list[TopicPartition], **_: object) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, self.committed_offset) for place in places]

    def list_topics(self, *_: object, **__: object) -> None:
        if not self.ends:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class Watched:
    """A watchdog with a patience of 30 s, and what it said."""

    def __init__(self) -> None:
        self.positions: Mapping[int, int | None] | None = {}
        self.stalls: list[tuple[int, float]] = []
        self.dog = Watchdog(
            KafkaSettings(),
            "goaway-decide",
            lambda: self.positions,
            patience_s=30,
            on_stall=lambda partition, waited: self.stalls.append((partition, waited)),
        )

    def look(self, offsets: Offsets, now: float) -> None:
        self.dog.look(offsets, now)


def test_one_that_moves_is_left_alone() -> None:
    it, offsets = Watched(), Offsets({0: 100})
    for now in range(0, 100, 10):
        it.positions = {0: now // 10}
        it.look(offsets, now)
    assert it.stalls == []
    assert it.dog.lag == 91


def test_one_that_stands_while_records_wait_is_called_after_its_patience() -> None:
    it, offsets = Watched(), Offsets({0: 100, 1: 50})
    it.positions = {0: 7, 1: 50}
    for now in (0.0, 15.0, 30.0):
        it.look(offsets, now)
    assert it.stalls == []
    it.look(offsets, 30.5)
    assert it.stalls == [(0, 30.5)]


def test_waiting_starts_when_a_record_comes() -> None:
    it, offsets = Watched(), Offsets({0: 7})
    it.positions = {0: 7}
    it.look(offsets, 0.0)
    it.look(offsets, 1000.0)
    offsets.ends[0] = 8
    it.look(offsets, 1020.0)
    assert it.stalls == []
    it.look(offsets, 1031.0)
    assert it.stalls == [(0, 31.0)]


@pytest.mark.parametrize(("committed", "stalls"), [(-1001, True), (5, True), (9, False)])
def test_a_partition_of_which_nothing_was_processed_stands_where_the_group_does(
    committed: int, stalls: bool
) -> None:
    it, offsets = Watched(), Offsets({3: 9}, committed)
    it.positions = {3: None}
    it.look(offsets, 0.0)
    it.look(offsets, 31.0)
    assert bool(it.stalls) == stalls


def test_a_partition_that_left_and_came_back_starts_anew() -> None:
    it, offsets = Watched(), Offsets({0: 9})
    it.positions = {0: 1}
    it.look(offsets, 0.0)
    it.positions = {}
    it.look(offsets, 20.0)
    it.positions = {0: 1}
    it.look(offsets, 40.0)
    it.look(offsets, 60.0)
    assert it.stalls == []


def test_a_worker_that_never_joins_is_called_too() -> None:
    it = Watched()
    it.positions = None
    it.look(Offsets({0: 9}), 0.0)
    it.look(Offsets({0: 9}), 31.0)
    assert it.stalls == [(NEVER_JOINED, 31.0)]


def test_but_not_while_kafka_is_away() -> None:
    it = Watched()
    it.positions = None
    with pytest.raises(KafkaException):
        it.look(Offsets({}), 0.0)


HUNG = """
import logging, time
from streams.agents.watchdog import end_process
logging.basicConfig()
end_process({partition}, 31.0)
time.sleep(60)
"""


@pytest.mark.parametrize(("partition", "said"), [(4, "partition 4: records wait"), (-1, "no partitions")])
def test_a_stall_ends_the_process_with_a_word(partition: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUNG.format(partition=partition)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.returncode == EXIT_CODE == 75
    assert said in done.stderr


def line(name: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "x.py", 1, message, None, None)


def test_libraries_say_a_thing_once_a_minute_and_we_say_all() -> None:
    now = [0.0]
    quiet = Quiet(clock=lambda: now[0])
    assert [quiet.filter(line("faust.app", "crashed")) for _ in range(3)] == [True, False, False]
    assert quiet.filter(line("faust.app", "something else"))
    assert all(quiet.filter(line("streams.agents", "crashed")) for _ in range(3))
    now[0] = REPEAT_S
    assert quiet.filter(line("faust.app", "crashed"))


def test_that_kafka_is_away_is_left_to_the_watchdog() -> None:
    quiet = Quiet()
    assert not quiet.filter(line("aiokafka.client", "Unable connect to node with id %s: %s"))
    assert quiet.filter(line("aiokafka.client", "Unknown topic"))


def test_what_was_said_is_remembered_in_bounds() -> None:
    quiet = Quiet(clock=lambda: 0.0)
    assert all(quiet.filter(line("mode", f"line {number}")) for number in range(500))

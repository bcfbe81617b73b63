"""What a shipper sent again is skipped, and what is skipped depends on earlier frames alone."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.audit.repeats import MAX_SOURCES, Reached
from streams.audit.rows import Record, TopicRows
from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import Instant
from streams.topics import EVENTS
from streams.wire.frames import encode_frame


def event(position: int, source: str) -> Event:
    return Event(
        id=f"{position:016x}",
        at=Instant(1),
        kind="connect",
        client=Client("192.0.2.7"),
        address=Address("192.0.2.7"),
        session="mx/1",
        host="mx",
        source=source,
        position=position,
    )


def new(reached: Reached, partition: int, *events: tuple[int, str]) -> list[int]:
    """Positions of the events that are new."""
    positions = [position for position, _ in events]
    found = reached.new(partition, [source for _, source in events], positions)
    return positions if found is None else [positions[at] for at in found]


def test_a_frame_sent_again_is_skipped_and_the_rest_of_it_kept() -> None:
    reached = Reached()
    assert new(reached, 0, (0, "a"), (5, "a"), (5, "a")) == [0, 5, 5]
    assert new(reached, 0, (0, "a"), (5, "a"), (5, "a")) == []
    assert new(reached, 0, (5, "a"), (9, "a")) == [9]
    assert reached.sources(0) == {"a": 9}


def test_sources_and_partitions_are_each_their_own() -> None:
    reached = Reached()
    new(reached, 0, (5, "a"))
    assert new(reached, 1, (5, "a")) == [5]
    assert new(reached, 0, (5, "b"), (6, "")) == [5, 6]
    assert new(reached, 0, (6, "")) == [6]  # without a source nothing is told


def test_the_source_not_heard_of_for_longest_is_forgotten() -> None:
    reached = Reached()
    for number in range(MAX_SOURCES):
        new(reached, 0, (1, f"s{number}"))
    new(reached, 0, (2, "s0"))
    new(reached, 0, (1, "new"))
    known = reached.sources(0)
    assert len(known) == MAX_SOURCES
    assert "s1" not in known
    assert list(known)[-2:] == ["s0", "new"]


FRAMES = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", ""])), min_size=1, max_size=4),
    ),
    max_size=12,
)


@given(FRAMES, st.integers(0, 12))
def test_going_on_from_what_was_kept_is_going_on(
    frames: list[tuple[int, list[tuple[int, str]]]], cut: int
) -> None:
    whole = Reached()
    expected = [new(whole, partition, *frame) for partition, frame in frames]
    begun = Reached()
    found = [new(begun, partition, *frame) for partition, frame in frames[:cut]]
    resumed = Reached({partition: begun.sources(partition) for partition in (0, 1)})
    found += [new(resumed, partition, *frame) for partition, frame in frames[cut:]]
    assert found == expected
    assert [list(resumed.sources(p).items()) for p in (0, 1)] == [
        list(whole.sources(p).items()) for p in (0, 1)
    ]


def test_rows_of_a_topic_leave_repeats_out_and_count_them() -> None:
    rows = TopicRows(EVENTS, Reached({3: {"a": 5}}))
    rows.add(Record(EVENTS, 3, 7, Instant(1), encode_frame([event(5, "a"), event(6, "a")]) + b"garbage\n"))
    rows.add(Record(EVENTS, 3, 8, Instant(1), encode_frame([event(6, "a"), event(7, "a")])))
    assert rows.rows is not None
    columns = dict(zip(rows.rows.table.names, rows.rows.columns(1), strict=True))
    assert [msgspec.json.decode(line)[-1] for line in columns["line"]] == [6, 7]
    assert columns["kafka_offset"] == [7, 8]
    assert rows.repeated == 2
    assert len(rows.letters) == 1

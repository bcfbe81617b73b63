"""However a history lies in blocks, and however many processes share it: the order, and what is decided, is
that of all its events sorted."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from streams.model.client import Address, Client
from streams.model.event import Event
from streams.model.instant import Instant, rfc3339
from streams.replay.counts import ReadCounts
from streams.replay.dealing import Placed, parts
from streams.replay.expected import Expected
from streams.replay.json_lines import block_of_lines, blocks
from streams.replay.order import LATENESS_US, Batch, BlockOrder, event_order
from streams.wire.frames import decode_event, encode, encode_frame
from streams.wire.instants import microseconds

START = 1_700_000_000_000_000
RUBBISH = (b"nonsense\n", b"\n", b"  \n", b'{"at":"2023-03-13T23:00:31.185246Z"}\n', b"\xff\n")


@st.composite
def histories(draw: st.DrawFn, late_us: int, ahead_us: int = 0) -> list[Event]:
    """Events in the order of lines: stamps coarse and fine, equal ones, up to `late_us` out of order, some
    `ahead_us` ahead."""
    made, at = list[Event](), START
    for number in range(draw(st.integers(0, 60))):
        at += draw(st.sampled_from((0, 0, 1, 1000, 400_000, 2_000_000, 40_000_000)))
        stamp = at - draw(st.sampled_from((0, 0, 0, 0, late_us // 3, late_us, -ahead_us)))
        if draw(st.booleans()):
            stamp -= stamp % 1_000_000
        who = Address(draw(st.sampled_from(("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"))))
        client = Client("2001:db8::/64") if ":" in who else Client(who)
        id_ = f"{draw(st.integers(0, 999)):03}-{number}"
        made.append(
            Event(
                id=id_,
                at=Instant(stamp),
                kind="connect",
                client=client,
                address=who,
                session="mx/1",
                host="mx",
            )
        )
    return made


def seen(event: Event) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in Event.__struct_fields__)


def read(content: bytes, size: int, counts: ReadCounts) -> Iterator[Batch[Event]]:
    order = BlockOrder()
    for block in blocks(content[at : at + size] for at in range(0, len(content), size)):
        yield from order.add(block_of_lines(block, counts))
    yield from order.rest()


@settings(deadline=None)
@given(histories(LATENESS_US - 1_000_000), st.integers(1, 4000))
def test_blocks_are_one_history_in_order(made: list[Event], size: int) -> None:
    counts = ReadCounts()
    batches = list(read(encode_frame(made), size, counts))
    found = [event for batch in batches for event in batch.items]
    assert [astuple(it) for it in found] == [astuple(it) for it in sorted(made, key=event_order)]
    assert counts.read == counts.events == len(made)
    for place, batch in enumerate(batches):
        assert all(event.at >= batch.upto for after in batches[place + 1 :] for event in after.items)


@settings(deadline=None)
@given(
    histories(90_000_000, ahead_us=10_000_000_000),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(RUBBISH)), max_size=4),
    st.sets(st.integers(0, 60)),
    st.integers(1, 4000),
    st.integers(1, 3),
)
def test_shares_are_the_history_whatever_comes_late_or_is_rubbish(
    made: list[Event], rubbish: list[tuple[int, bytes]], broken: set[int], size: int, jobs: int
) -> None:
    """Each share has the same batches with the same bounds, and merged by place they are those of one."""
    lines = [encode(it) + b"\n" for it in made]
    for place in broken & set(range(len(lines))):
        lines[place] = lines[place].replace(b'"address":"', b'"address":"0')
    for place, line in rubbish:
        lines.insert(place, line)
    content, alone, together = b"".join(lines), ReadCounts(), ReadCounts()
    expected = list(read(content, size, alone))
    cut = blocks(content[at : at + size] for at in range(0, len(content), size))
    dealt = [list(parts(block, jobs, together, Expected())) for block in cut]
    found: list[list[tuple[Any, Event]]] = [[] for _ in expected]
    for share in range(jobs):
        placed = Placed((some[share] for some in dealt), together, Expected())
        upto = []
        for number, batch in enumerate(chain.from_iterable(placed.blocks())):
            upto.append(batch.upto)
            found[number] += [(placed.place(event), event) for event in batch.items]
            assert {hash(event.client) % jobs for event in batch.items} <= {share}
        assert upto == [batch.upto for batch in expected]
    merged = [[seen(event) for _, event in sorted(few, key=lambda it: it[0])] for few in found]
    assert merged == [[seen(event) for event in batch.items] for batch in expected]
    assert together == alone


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 4_000_000_000_000_000).map(rfc3339),
            st.text("0123456789-T:.Z,+eé٣", min_size=27, max_size=27),
            st.sampled_from(
                (
                    "2023-03-13T23:00:31Z185246.",
                    "2023-03-13T23:00:31.1e0005Z",
                    "2023-03-13T23:00:31.12.456Z",
                    "2023-03-13T23:00:31,185246Z",
                    "2023-03-13T23:00:31.18524Z",
                    "2023-03-13T23:00:31.1852467Z",
                    "20230313T230031.0000185246Z",
                    "2023-03-13T23:00:31.18+24-Z",
                )
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_instants_together_are_read_as_each_alone(texts: list[str]) -> None:
    line = encode(
        Event(
            id="1",
            at=Instant(0),
            kind="connect",
            client=Client("192.0.2.1"),
            address=Address("192.0.2.1"),
            session="",
            host="",
        )
    )

    def alone(text: str) -> int | None:
        try:
            return decode_event(line.replace(b"1970-01-01T00:00:00.000000Z", text.encode())).at
        except ValueError:
            return None

    expected = [alone(text) for text in texts]
    try:
        assert list(microseconds(texts)) == expected
    except ValueError:
        assert None in expected

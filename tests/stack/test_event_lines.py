"""Events sent as lines are, in the real engine, the rows that they are as columns."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.audit.clickhouse import ClickHouse
from streams.audit.ledger import Ledger, Span
from streams.audit.migrations import migrate
from streams.audit.rollups import differences, settle
from streams.audit.rows import Record, Rows, TopicRows
from streams.audit.storing import Batch, Figures, Storing
from streams.audit.tables import EVENT_ROWS
from streams.config import ClickHouseSettings
from streams.model.event import Event
from streams.model.instant import Instant
from streams.topics import EVENTS
from streams.wire.frames import encode_frame
from tests.unit.test_schemas import EVENT
from tests.unit.test_schemas import EVENTS as EVENTS_OF_ANY_KIND

pytestmark = pytest.mark.needs("chdb")


@pytest.fixture
def clickhouse(engine: ClickHouseSettings, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client of a database of this test's own."""
    name = f"{engine.database}-{request.node.name}".replace("[", "-").rstrip("]")
    client = ClickHouse(dataclasses.replace(engine, database=name))
    migrate(client)
    yield client
    client.close()


def gathered(events: list[Event], offset: int = 0) -> TopicRows:
    rows = TopicRows(EVENTS)
    rows.add(Record(EVENTS, 1, offset, Instant(0), encode_frame(events)))
    return rows


def lines(events: list[Event], offset: int = 0) -> Rows:
    """As the sink makes them."""
    rows = gathered(events, offset)
    assert rows.rows is not None
    assert not len(rows.letters)
    return rows.rows


def as_columns(events: list[Event]) -> Rows:
    count = len(events)
    return Rows(EVENT_ROWS, EVENT_ROWS.values(events), [1] * count, [0] * count, list(range(count)))


def connections(count: int) -> list[Event]:
    first = 1_700_000_000_000_000
    return [
        replace(EVENT, id=f"{number}", at=Instant(first + number * 7_000_000), kind="connect")
        for number in range(count)
    ]


def without_hours(client: ClickHouse) -> Callable[[], None]:
    """Drop the view that fills the hours; what brings it back."""
    [(view,)] = client.rows(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name = 'clients_by_hour_view'"
    )
    client.command("DROP VIEW clients_by_hour_view")
    return lambda: client.command(str(view))


def store(client: ClickHouse, rows: Rows, token: str) -> None:
    for month, some in rows.months():
        client.insert(some.table.name, some.table.names, some.columns(1), token=f"{token}/{month}")


def rows_of(client: ClickHouse) -> list[tuple[object, ...]]:
    return client.rows("SELECT * FROM events ORDER BY kafka_offset, frame_index")


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS_OF_ANY_KIND, min_size=1, max_size=40))
def test_a_line_is_the_row_that_its_columns_are(clickhouse: ClickHouse, events: list[Event]) -> None:
    found = []
    for rows in (as_columns(events), lines(events)):
        clickhouse.command("TRUNCATE TABLE events")
        store(clickhouse, rows, rows.table.name)
        found.append(rows_of(clickhouse))
    assert len(found[0]) == len(events)
    assert found[0] == found[1]


def test_lines_sent_again_fill_what_a_view_lacks_and_double_nothing(clickhouse: ClickHouse) -> None:
    """As after a ClickHouse that was killed between the table's part and a view's."""
    events = connections(500)
    rows = lines(events)
    bring_back = without_hours(clickhouse)
    store(clickhouse, rows, "a")
    bring_back()
    assert {each.table for each in differences(clickhouse)} == {"clients_by_hour"}
    for _ in range(2):
        store(clickhouse, rows, "a")
        assert differences(clickhouse) == []
        assert clickhouse.rows("SELECT count(), uniqExact(_part) FROM events") == [(500, 1)]
    store(clickhouse, lines(events, 7), "b")
    assert clickhouse.rows("SELECT count(), uniqExact(_part) FROM events") == [(1000, 2)]
    assert differences(clickhouse) == []


@pytest.mark.parametrize("as_lines", [False, True])
def test_a_batch_of_a_version_without_lines_is_not_sent_again_as_lines(
    clickhouse: ClickHouse, as_lines: bool
) -> None:
    """Its token is not known there: only `settle` fills what its rollups lack."""
    events = connections(50)
    bring_back = without_hours(clickhouse)
    store(clickhouse, lines(events) if as_lines else as_columns(events), f"{EVENTS}/1/1/event_lines")
    bring_back()
    batch = Batch(EVENTS, 1, 1, gathered(events), (Span(1, 0, 0),), {})
    Storing(clickhouse, Ledger(clickhouse), Figures()).finish(batch, as_lines=as_lines)
    assert clickhouse.rows("SELECT count() FROM events") == [(50,)]
    assert bool(differences(clickhouse)) is not as_lines
    settle(clickhouse)
    assert differences(clickhouse) == []

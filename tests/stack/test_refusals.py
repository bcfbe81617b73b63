"""Who refused: what the engine says of a text is what Python says, in every table that counts it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as with_fields

from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import Grouping
from streams.audit.migrations import migrate, read_migrations
from streams.audit.rollups import ROLLUPS, differences, settle
from streams.audit.search import Query, search
from streams.audit.stats import stats
from streams.config import ClickHouseSettings
from streams.model.event import Event
from streams.model.instant import Instant, parse_instant
from streams.wire.postfix.ours import SPOKEN, is_ours, spoken_by
from tests.properties.refusals import FORGED, event_of, not_ours, ours

pytestmark = pytest.mark.needs("chdb")

START: Final = parse_instant("2026-11-01T00:00:00Z")
END: Final = parse_instant("2026-12-01T00:00:00Z")
FORGERY: Final = event_of(
    "504 5.5.2 <Go away: exceeded connection rate limit>: Helo command rejected: "
    "need fully-qualified hostname; proto=SMTP helo=<Go away: exceeded connection rate limit>",
    "HELO",
)
ANSWERED: Final = event_of(
    "551 5.7.1 <mail.example.com[192.0.2.5]>: Client host rejected: Go away: exceeded connection rate limit; "
    "proto=SMTP",
    "CONNECT",
)
OPENINGS: Final = ("", "551 5.7.1 ", "5.7.1 ", "551-", "<x>: Helo command rejected: ", "551 5.7.1 <")


@pytest.fixture
def clickhouse(engine: ClickHouseSettings, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client of a database that does not exist yet."""
    client = ClickHouse(replace(engine, database=f"{engine.database}-{request.node.originalname}"))
    yield client
    client.close()


def texts() -> st.SearchStrategy[Event]:
    """Refusals of a log, and events that no log of Postfix tells of."""
    words = st.builds(str.__add__, st.sampled_from(OPENINGS), FORGED) | FORGED.map("\n".__add__)
    anything = st.builds(
        lambda code, detail, helo, sender, recipient: with_fields(
            FORGERY, code=code, detail=detail, helo=helo, sender=sender, recipient=recipient
        ),
        st.sampled_from([0, 250, 399, 400, 451, 551, 571]),
        words,
        *[st.just("") | FORGED] * 3,
    )
    return st.one_of(not_ours(), ours().map(lambda it: it[0]), anything)


def many(count: int) -> list[Event]:
    """So many of them, each with an instant and an id of its own."""
    found: list[Event] = []

    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate])
    @given(texts())
    def collect(event: Event) -> None:
        number = len(found)
        found.append(with_fields(event, at=Instant(START + number * 7_777_777), id=f"{number:016x}"))

    collect()
    return found


def insert(client: ClickHouse, events: Sequence[Event], token: str) -> None:
    names = ("at", "kind", "client", "host", "helo", "sender", "recipient", "code", "detail", "id")
    columns: list[list[object]] = [[getattr(each, name) for each in events] for name in names]
    client.insert("events", names, columns, token=token)


def test_the_engine_tells_who_refused_as_python_does(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    events = many(3000)
    said = [spoken_by(each) for each in events]
    assert set(said) == {"", "other", *SPOKEN}
    insert(clickhouse, events, "a")
    rows = clickhouse.rows("SELECT id, trigger FROM events ORDER BY at")
    wrong = [each for each, row in zip(events, rows, strict=True) if row != (each.id, spoken_by(each))]
    assert wrong == []
    go_aways = sum(map(is_ours, events))
    for rollup in ROLLUPS:
        if "go_aways" in rollup.counters:
            assert clickhouse.rows(f"SELECT sum(go_aways) FROM {rollup.table}") == [(go_aways,)]
    refused = Counter(spoken_by(each) for each in events if each.code >= 400)
    for table, column in (("traffic_by_minute", "go_aways"), ("refusals", "refusals")):
        of_table = clickhouse.rows(
            f"SELECT trigger, sum({column}) FROM {table} WHERE trigger != '' GROUP BY trigger"
        )
        assert dict(of_table) == {it: count for it, count in refused.items() if it}
    for end in (END, Instant(END - 1)):  # from a rollup, and from the events
        total = stats(clickhouse, START, end, Grouping()).total
        assert total is not None
        assert total.counts["go_aways"] == go_aways
        assert total.counts["deferrals"] == sum(is_ours(it) and it.code == 451 for it in events)
    for trigger in SPOKEN:
        for asked in (
            {"trigger": trigger},
            {"trigger": trigger, "text": "Go away"},
        ):  # the short way, and the long
            query = Query(START, END, what="events", limit=10_000, **asked)  # type: ignore[arg-type]
            hits = {hit.event.id for hit in search(clickhouse, query) if hit.event is not None}
            assert hits == {each.id for each in events if spoken_by(each) == trigger}


def test_what_was_counted_before_stays_and_what_is_counted_now_is_right(clickhouse: ClickHouse) -> None:
    def counted() -> list[tuple[object, ...]]:
        return clickhouse.rows("SELECT sum(refusals), sum(go_aways) FROM clients_by_month")

    migrate(clickhouse, read_migrations()[:11])
    insert(clickhouse, [FORGERY, ANSWERED], "a")
    assert counted() == [(2, 2)]
    migrate(clickhouse)
    assert clickhouse.rows("SELECT trigger FROM events ORDER BY code") == [("",), ("rate",)]
    assert settle(clickhouse) == []
    insert(clickhouse, [FORGERY, ANSWERED], "b")
    assert counted() == [(4, 3)]
    assert differences(clickhouse) == []

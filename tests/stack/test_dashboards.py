"""Every query of every dashboard and alert rule on the real engine, over recorded data: it runs at any time
and with anything chosen, and its figures are those counted by hand."""

import html
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from click.testing import CliRunner

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate
from streams.cli.main import goaway
from streams.dashboards.alerts import ALERTS, Alert
from streams.dashboards.macros import Span, plain
from streams.dashboards.panels import ALL, OTHERS, Panel, Screen
from streams.dashboards.pipeline import LAG_S
from streams.dashboards.preview import point_of
from streams.dashboards.screens import SCREENS
from streams.model.client import Address, Client
from streams.model.decision import Decision, Evidence, LimitWarning, derived_id
from streams.model.event import Event, EventKind
from streams.model.instant import MICROSECONDS, Instant, parse_instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.run import replay
from streams.wire.policy_entries import entries_of
from tests.stack.recorded_store import SAMPLE, Recorder, events_of
from tests.stack.sink_process import Store

pytestmark = pytest.mark.needs("chdb")

BEGINS: Final = int(datetime(2026, 11, 24, 13, tzinfo=UTC).timestamp())
"""The sample is 20 minutes within this hour."""
SPANS: Final = {
    "hour": Span(BEGINS, BEGINS + 3599),
    "three days": Span(BEGINS - 86400, BEGINS + 2 * 86400),
    "year": Span(BEGINS - 200 * 86400, BEGINS + 165 * 86400),
    "empty": Span(BEGINS - 900 * 86400, BEGINS - 899 * 86400),
}
ENDLESS: Final = "203.0.113.99"
NETWORK: Final = "203.0.113.96/28"
SCANNER: Final = "198.51.100.23"
QUOTES: Final = "mx' OR 1=1 --\\"
"""A host name that would end a string, or the quote that ends it, if it were put in as it is."""
HOSTILE: Final = (
    QUOTES, "\\' OR 1=1 --", "'; DROP TABLE events; --", "${host} $__timeFilter(at) %(x)s", "\x00\n`é`*", "",
)  # fmt: skip
PANELS: Final = [(screen, panel) for screen in SCREENS for panel in screen.panels]


class Recorded:
    """The engine with what was recorded, and the same as values."""

    def __init__(self, store: Store) -> None:
        self.settings = store.settings
        self.clickhouse = ClickHouse(store.settings)
        self.events = [*events_of(SAMPLE), *_EXTRA]
        outcomes = list(replay(PolicyIndex(Policy()), self.events))
        first = next(it for it in outcomes if isinstance(it, Decision))
        listed = Evidence(network=NETWORK, note="a pest")
        outcomes.append(
            msgspec.structs.replace(
                first, id="endless", until=None, client=Client(ENDLESS), trigger="blocklist", evidence=listed
            )
        )
        self.decisions = [it for it in outcomes if isinstance(it, Decision)]
        self.warnings = [it for it in outcomes if isinstance(it, LimitWarning)]
        self.shadow = msgspec.structs.replace(self.decisions[0], id="shadow", shadow=True)
        recorder = Recorder(store.settings)
        recorder.events([*self.events, _event("policy", 1500, detail="2 1 p")])
        recorder.outcomes(outcomes)
        # emitted twice, as may happen: nothing may count twice
        recorder.outcomes([*outcomes, self.shadow, *map(_warning, ("zone", "partner", "pipeline"))])
        recorder.change(1, entries_of("[limits]\nrequests_per_minute = 30\n", file="x"), at=_at(1500))

    def ask(self, sql: str) -> list[dict[str, Any]]:
        names = [str(row[0]) for row in self.clickhouse.rows(f"DESCRIBE ({sql})")]
        return [dict(zip(names, row, strict=True)) for row in self.clickhouse.rows(sql)]

    def panel(self, uid: str, title: str, span: Span, **chosen: str) -> list[dict[str, Any]]:
        (panel,) = (it for screen, it in PANELS if (screen.uid, it.title) == (uid, title))
        return self.ask(plain(panel.sql, span, {"host": ALL, "client": SCANNER, **chosen}))


def _at(second: int) -> str:
    return datetime.fromtimestamp(BEGINS + second, UTC).isoformat().replace("+00:00", "Z")


def _event(kind: EventKind, number: int, *, code: int = 0, detail: str = "") -> Event:
    return Event(
        id=f"extra{number}",
        at=Instant((BEGINS + 1600 + number) * MICROSECONDS),
        kind=kind,
        client=Client("203.0.113.90"),
        address=Address("203.0.113.90"),
        session="mx/1",
        host=QUOTES,
        code=code,
        detail=detail,
        source="/var/log/mail.log",
        position=1 + number,
    )


_EXTRA: Final = (
    _event("connect", 0),
    _event("mail", 1, code=551, detail="551 5.7.1 Go away: exceeded connection rate limit"),
    _event("rcpt", 2, code=451, detail="451 4.7.1 Go away: greylisted, retry in 600 s"),
    _event("reputation", 3, detail="zen.example 127.0.0.2"),
)


def _warning(about: Any) -> LimitWarning:
    return LimitWarning(
        id=derived_id(about), at=parse_instant(_at(600)), client=Client(about), address=Address("::"),
        rule="", policy="p", evidence=Evidence(), event="e", host="", about=about, text=f"{about}: look",
    )  # fmt: skip


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(int(row[name]) for row in rows)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            yield Recorded(store)
        finally:
            store.stop()


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(
    ("screen", "panel"), PANELS, ids=[f"{screen.uid}: {panel.title}" for screen, panel in PANELS]
)
def test_every_query_runs_at_any_time_and_yields_what_its_panel_takes(
    recorded: Recorded, screen: Screen, panel: Panel, span: str
) -> None:
    for chosen in ({"host": ALL, "client": SCANNER}, {"host": "mx1", "client": "192.0.2.10"}):
        rows = recorded.ask(plain(panel.sql, SPANS[span], chosen))
        names = list(rows[0]) if rows else []
        match panel.kind:
            case "columns":
                for row in rows:
                    at, *rest = row.values()
                    assert isinstance(at, datetime)
                    assert [isinstance(it, str) for it in rest] == [it == panel.by for it in names[1:]]
                assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
                point = point_of(panel, SPANS[span])
                assert {int(row["time"].timestamp()) % point for row in rows} <= {0}
            case "stats":
                assert len(rows) <= 1
                assert all(isinstance(it, int) for row in rows for it in row.values())
                assert not rows or set(panel.units) <= set(names)
            case "bars":
                assert all(list(map(type, row.values())) in ([str, int], [str, float]) for row in rows)
                assert len(rows) <= 20
            case "table":
                assert len(rows) <= 200


@pytest.mark.parametrize("value", HOSTILE)
def test_whatever_is_chosen_stays_a_value(recorded: Recorded, value: str) -> None:
    before = recorded.clickhouse.rows("SELECT count() FROM events")
    for _, panel in PANELS:
        rows = recorded.ask(plain(panel.sql, SPANS["year"], {"host": value, "client": value}))
        if "${client" in panel.sql:
            assert {figure for row in rows for figure in row.values()} <= {0}
    hosts = recorded.panel("goaway-live", "In this period", SPANS["hour"], host=value)
    assert hosts[0]["connections"] == (1 if value == QUOTES else 0)
    assert recorded.clickhouse.rows("SELECT count() FROM events") == before


@pytest.mark.parametrize("span", ["hour", "three days", "year"])
def test_figures_are_those_counted_by_hand_from_every_rollup(recorded: Recorded, span: str) -> None:
    kinds = Counter(event.kind for event in recorded.events)
    refused = [event for event in recorded.events if event.code >= 400]
    (figures,) = recorded.panel("goaway-live", "In this period", SPANS[span])
    assert figures == {
        "connections": kinds["connect"],
        "MAIL requests": kinds["mail"],
        "messages queued": kinds["message"],
        "told to go away": 2,
        "clients": len({event.client for event in recorded.events}),
    }
    assert _sum(recorded.panel("goaway-live", "Connections", SPANS[span]), "connections") == kinds["connect"]
    refusals = recorded.panel("goaway-live", "Refusals", SPANS[span])
    assert _sum(refusals, "told to go away") == 1
    assert _sum(refusals, "asked to come back") == 1
    assert _sum(refusals, "refused by the MTA itself") == len(refused) - 2
    step = {"hour": 60, "three days": 3600, "year": 86400}[span]
    assert {int(row["time"].timestamp()) % step for row in refusals} == {0}
    of_scanner = [event for event in recorded.events if event.client == SCANNER]
    (one,) = recorded.panel("goaway-client", "In this period", SPANS[span])
    assert one["connections"] == sum(event.kind == "connect" for event in of_scanner)
    assert one["size"] == sum(event.size for event in of_scanner if event.kind == "message")


def test_decisions_count_once_and_those_in_shadow_not_at_all(recorded: Recorded) -> None:
    blocks = [it for it in recorded.decisions if it.action == "block"]
    assert len(blocks) == len({it.id for it in blocks}) > 3
    by_trigger = recorded.panel("goaway-live", "Blocks by trigger", SPANS["hour"])
    assert _sum(by_trigger, "blocks") == len(blocks)
    assert len(recorded.panel("goaway-live", "Newest decisions", SPANS["hour"])) == len(recorded.decisions)
    (month,) = recorded.panel("goaway-month", "Blocked", SPANS["hour"])
    assert month == {"blocks": len(blocks), "clients blocked": len({it.client for it in blocks})}
    whats = [row["what"] for row in recorded.panel(
        "goaway-client", "Decisions and warnings", SPANS["hour"], client=recorded.shadow.client
    )]  # fmt: skip
    assert whats.count("block") == sum(it.client == recorded.shadow.client for it in blocks)
    assert whats.count("block (shadow)") == 1


def test_the_evidence_of_a_blocklist_is_its_entry_and_that_of_a_limit_what_was_counted(
    recorded: Recorded,
) -> None:
    newest = recorded.panel("goaway-live", "Newest decisions", SPANS["hour"])
    shown = {row["client"]: row["evidence"] for row in newest}
    assert shown[ENDLESS] == NETWORK
    assert shown[SCANNER] == "21 of 20 in 60 s"
    told = recorded.panel("goaway-client", "Decisions and warnings", SPANS["hour"], client=ENDLESS)
    assert [row["evidence"] for row in told] == [NETWORK]


@pytest.mark.parametrize("ends", ["2026-11-10", "2026-11-30"])
def test_a_month_is_whole_in_every_panel_wherever_the_time_shown_ends(recorded: Recorded, ends: str) -> None:
    span = Span(*(int(parse_instant(f"{day}T00:00:00Z") // MICROSECONDS) for day in ("2026-11-01", ends)))
    (figures,) = recorded.panel("goaway-month", "In these months", span)
    connections = sum(event.kind == "connect" for event in recorded.events)
    blocks = sum(it.action == "block" for it in recorded.decisions)
    assert figures["connections"] == connections
    assert _sum(recorded.panel("goaway-month", "Connections by day", span), "connections") == connections
    by_day = recorded.panel("goaway-month", "Messages by day", span)
    assert _sum(by_day, "messages") == figures["messages queued"] > 0
    assert recorded.panel("goaway-month", "Blocked", span)[0]["blocks"] == blocks
    assert _sum(recorded.panel("goaway-month", "Blocks by day and trigger", span), "blocks") == blocks
    assert _sum(recorded.panel("goaway-month", "Blocks by rule", span), "blocks") == blocks


def test_of_many_mtas_the_five_busiest_are_shown_and_the_others_together(recorded: Recorded) -> None:
    day = BEGINS - 400 * 86400
    seen = [
        msgspec.structs.replace(
            _event("connect", 0), id=f"many{host}/{number}", host=f"mx{host:02}",
            at=Instant((day + 60 * number) * MICROSECONDS), position=100 + 20 * host + number,
        )
        for host in range(9) for number in range(host + 1)
    ]  # fmt: skip
    Recorder(recorded.settings, first_offset=10_000).events(seen)
    rows = recorded.panel("goaway-pipeline", "Events by MTA", Span(day, day + 3600))
    events: Counter[str] = Counter()
    for row in rows:
        events[row["MTA"]] += row["events"]
    assert events == {"mx08": 9, "mx07": 8, "mx06": 7, "mx05": 6, "mx04": 5, OTHERS: 4 + 3 + 2 + 1}


def test_who_is_refused_at_the_end_of_the_period(recorded: Recorded) -> None:
    block = next(it for it in recorded.decisions if it.client == SCANNER and it.action == "block")
    assert block.until is not None
    begins, ends = (at // MICROSECONDS for at in (block.at, block.until))

    def standing(at: int) -> list[str]:
        rows = recorded.panel("goaway-live", "Refused at the end of this period", Span(at - 60, at))
        return [row["client"] for row in rows]

    assert SCANNER not in standing(begins - 1)
    assert SCANNER in standing(begins + 1)
    assert SCANNER in standing(ends - 1)
    assert SCANNER not in standing(ends + 1)
    assert ENDLESS in standing(ends + 86400)


def test_warnings_of_limits_and_of_other_things(recorded: Recorded) -> None:
    (figures,) = recorded.panel("goaway-warnings", "In this period", SPANS["hour"])
    warned = {it.client for it in recorded.warnings}
    blocked = {it.client for it in recorded.decisions if it.trigger == "rate"}
    assert figures == {
        "close to a limit": len({it.id for it in recorded.warnings}),
        "clients warned": len(warned),
        "of them blocked": len(warned & blocked),
        "zones": 1,
        "partners": 1,
        "pipeline": 1,
    }
    others = recorded.panel("goaway-warnings", "Zones, partners, pipeline", SPANS["hour"])
    assert sorted(row["text"] for row in others) == ["partner: look", "pipeline: look", "zone: look"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.uid)
def test_an_alert_rule_yields_one_number(recorded: Recorded, alert: Alert) -> None:
    for span in SPANS.values():
        rows = recorded.ask(plain(alert.sql, span, {}))
        assert len(rows) <= 1
        assert all(len(row) == 1 and isinstance(it, int) and it >= 0 for row in rows for it in row.values())


_BATCH: Final = (
    "INSERT INTO sink_batches (topic, epoch, batch, written)"
    " VALUES ('smtp.events', 1, {written}, toDateTime64({written}, 6))"
)


def test_nothing_is_behind_where_no_event_is_stored(recorded: Recorded) -> None:
    clickhouse = ClickHouse(replace(recorded.settings, database="no_events"))
    try:
        migrate(clickhouse)
        clickhouse.command(_BATCH.format(written=BEGINS))
        assert clickhouse.rows(LAG_S) == []
    finally:
        clickhouse.close()


def test_alert_rules_tell_trouble_from_none(recorded: Recorded) -> None:
    sql = {alert.uid: alert for alert in ALERTS}

    def alarms(uid: str, span: str) -> bool:
        rows = recorded.ask(plain(sql[uid].sql, SPANS[span], {}))
        return any(value > sql[uid].above for row in rows for value in row.values())

    for uid in ("goaway-zone-out", "goaway-partner-listed", "goaway-pipeline-trouble"):
        assert alarms(uid, "hour")
        assert not alarms(uid, "empty")
    at, newest = datetime.now(UTC), max(event.at for event in recorded.events) // MICROSECONDS
    (age,) = recorded.ask(sql["goaway-no-events"].sql)
    assert abs(age["age"] - max(0, at.timestamp() - newest)) < 30
    assert not recorded.ask(sql["goaway-sink-lag"].sql)
    marked = BEGINS + 3100  # a change of the policy, long after a client did anything
    try:
        recorded.clickhouse.command(_BATCH.format(written=marked))
        assert marked > newest + 1000 and not alarms("goaway-sink-lag", "hour")
        recorded.clickhouse.command(_BATCH.format(written=marked + 400))
        assert alarms("goaway-sink-lag", "hour")
        (lag,) = recorded.panel("goaway-pipeline", "Sink is behind by", SPANS["hour"])
        assert abs(lag["lag"] - 400) <= 1
    finally:
        recorded.clickhouse.command("TRUNCATE TABLE sink_batches")


def test_variables_offer_what_was_seen(recorded: Recorded) -> None:
    variables = {it.name: it for screen in SCREENS for it in screen.variables}
    hosts = recorded.ask(plain(variables["host"].sql, SPANS["hour"], {}))
    assert {row["host"] for row in hosts} == {event.host for event in recorded.events}
    clients = [row["client"] for row in recorded.ask(plain(variables["client"].sql, SPANS["hour"], {}))]
    connections = Counter(event.client for event in recorded.events if event.kind == "connect")
    assert clients[0] == connections.most_common(1)[0][0]
    assert set(clients) == {event.client for event in recorded.events}


def test_the_preview_command_draws_every_panel(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("user", "password", "database"):
        monkeypatch.setenv(f"GOAWAY_CLICKHOUSE_{name.upper()}", getattr(recorded.settings, name))
    monkeypatch.setenv("GOAWAY_CLICKHOUSE", f"127.0.0.1:{recorded.settings.port}")
    file = tmp_path / "dashboards.html"
    period = ["--from", "2026-11-24T13:00", "--to", "2026-11-24T14:00", "--timezone", "UTC"]
    arguments = ["dashboards", "preview", str(file), *period, "--data", str(tmp_path / "none")]
    done = CliRunner().invoke(goaway, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = file.read_text(encoding="utf-8")
    assert text.count('<section class="panel panel-') == len(PANELS)
    assert all(html.escape(panel.title) in text for _, panel in PANELS)
    assert html.escape(SCANNER) in text
    assert "<script" not in text
    assert not re.search(r"(src|href)=.(?!#)", text.replace("xmlns=", ""))
    assert "no event" not in done.output
    chosen = ["--client", "192.0.2.250", "--host", "mistyped"]
    done = CliRunner().invoke(goaway, [*arguments, *chosen], catch_exceptions=False)
    assert re.findall(r"^no event of (\S+) is stored", done.output, re.MULTILINE) == chosen[1::2]

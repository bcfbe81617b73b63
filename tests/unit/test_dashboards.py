"""Dashboards as data: what Grafana is given, what is put into queries, what is drawn."""

import json
import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import charts
from streams.config import ClickHouseSettings
from streams.dashboards.alerts import ALERTS
from streams.dashboards.export import export, files
from streams.dashboards.grafana import FOLDER, SOURCE_UID, dashboard_json, rule_json
from streams.dashboards.macros import Span, percent_encoded, plain
from streams.dashboards.month import MONTH
from streams.dashboards.page import page
from streams.dashboards.panels import ALL, COLUMNS, OTHERS
from streams.dashboards.preview import Answer, Shown, busiest, preview, span_of
from streams.dashboards.screens import SCREENS
from streams.dashboards.tables import table
from streams.errors import InvalidValueError, UsageError

BEGINS: Final = int(datetime(2026, 11, 24, 13, tzinfo=UTC).timestamp())
HOUR: Final = Span(BEGINS, BEGINS + 3600)
SETTINGS: Final = ClickHouseSettings(host="db.example", user="grafana", password="not-to-be-seen")
HOSTILE: Final = "<script>alert(1)</script>\x1b[31m\u202e'\""


@pytest.mark.parametrize(
    ("sql", "becomes"),
    [
        ("$__timeFilter(at)", f"at >= toDateTime({BEGINS}) AND at <= toDateTime({BEGINS + 3600})"),
        ("$__timeInterval(at)", "toStartOfInterval(toDateTime(at), INTERVAL 60 second)"),
        ("$__fromTime, $__toTime", f"toDateTime({BEGINS}), toDateTime({BEGINS + 3600})"),
        ("intDiv($__interval_s, 60)", "intDiv(60, 60)"),
        ("'${host:percentencode}'", "'a%27%5C%20b'"),
    ],
)
def test_macros_become_what_grafana_makes_of_them(sql: str, becomes: str) -> None:
    assert plain(sql, HOUR, {"host": "a'\\ b"}) == becomes


@pytest.mark.parametrize("sql", ["$__table", "${host}", "${host:raw}", "$host", "${other:percentencode}"])
def test_what_is_not_known_is_refused(sql: str) -> None:
    with pytest.raises(InvalidValueError, match=r"not known|has no value"):
        plain(sql, HOUR, {"host": "a"})


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_cannot_end_its_quotes_and_comes_back_as_it_was(value: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]*", percent_encoded(value))
    assert unquote(percent_encoded(value)) == value
    assert plain("'${client:percentencode}'", HOUR, {"client": value}).count("'") == 2


def test_an_interval_is_round_and_gives_about_as_many_points_as_are_wanted() -> None:
    for hours in (1, 3, 24, 24 * 7, 24 * 31, 24 * 365):
        interval = Span(0, hours * 3600).interval_s
        assert 20 <= hours * 3600 / interval <= 120
    assert Span(0, 10).interval_s == 60
    over_time = [
        made for screen in SCREENS for made in dashboard_json(screen)["panels"] if "interval" in made
    ]
    assert {made["interval"] for made in over_time} == {"1m"}, "Grafana is told the same"


def test_variables_in_a_query_are_those_of_its_dashboard() -> None:
    for screen in SCREENS:
        offered = {variable.name for variable in screen.variables}
        used = {name for panel in screen.panels for name in re.findall(r"\$\{(\w+)", panel.sql)}
        assert used == offered, screen.uid


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.uid)
def test_a_dashboard_is_whole_and_its_panels_do_not_overlap(screen: Any) -> None:
    board = dashboard_json(screen)
    assert board == dashboard_json(screen)
    assert (board["uid"], board["title"]) == (screen.uid, screen.title)
    assert len(screen.uid) <= 40
    taken: set[tuple[int, int]] = set()
    for panel, made in zip(screen.panels, board["panels"], strict=True):
        place = made["gridPos"]
        assert (place["w"], place["h"]) == (panel.width, panel.height)
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells
        (target,) = made["targets"]
        assert target["rawSql"] == panel.sql
        assert target["datasource"]["uid"] == SOURCE_UID
        assert target["format"] == (0 if panel.kind == "columns" else 1)
    for variable, listed in zip(screen.variables, board["templating"].get("list", []), strict=True):
        assert (listed["name"], listed["query"]) == (variable.name, variable.sql)
        assert listed.get("allValue") == (ALL if variable.with_all else None)
    assert len({made["id"] for made in board["panels"]}) == len(screen.panels)


def test_uids_are_unique() -> None:
    assert len({it.uid for it in SCREENS} | {it.uid for it in ALERTS}) == len(SCREENS) + len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.uid)
def test_an_alert_rule_compares_its_query_with_its_threshold(alert: Any) -> None:
    rule = rule_json(alert)
    query, threshold = rule["data"]
    assert (rule["uid"], rule["folderUID"], rule["condition"]) == (alert.uid, FOLDER[0], threshold["refId"])
    assert query["model"]["rawSql"] == alert.sql
    assert query["relativeTimeRange"] == {"from": alert.window_s, "to": 0}
    assert threshold["datasourceUid"] == "__expr__"
    assert threshold["model"]["expression"] == query["refId"]
    assert threshold["model"]["conditions"][0]["evaluator"] == {"params": [alert.above], "type": "gt"}
    assert rule["noDataState"] == "OK"


def test_exported_files_are_what_is_pushed_and_hold_no_password(tmp_path: Path) -> None:
    written = export(tmp_path, SETTINGS)
    read = {str(path.relative_to(tmp_path)): json.loads(path.read_text()) for path in written}
    assert read == files(SETTINGS)
    assert not any(SETTINGS.password in path.read_text() for path in written)
    for screen in SCREENS:
        assert read[f"dashboards/goaway/{screen.uid}.json"] == dashboard_json(screen)
    (group,) = read["alerting/goaway.yaml"]["groups"]
    rules = json.dumps(group["rules"])
    assert "$$__timeFilter" in rules
    assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", rules), "Grafana would look it up in its environment"
    for rule, alert in zip(group["rules"], ALERTS, strict=True):
        assert {**rule, "folderUID": FOLDER[0], "ruleGroup": group["name"]} == json.loads(
            json.dumps(rule_json(alert)).replace("$", "$$")
        )
    (source,) = read["datasources/goaway.yaml"]["datasources"]
    assert source["jsonData"]["host"] == "db.example"
    assert source["secureJsonData"] == {"password": "$GOAWAY_CLICKHOUSE_PASSWORD"}
    (provider,) = read["dashboards/goaway.yaml"]["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards/goaway"


def test_exporting_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken"):
        export(tmp_path / "taken", SETTINGS)


def _hostile(sql: str) -> Answer:
    """Rows as a remote might have them made: its names, its texts."""
    when = datetime.fromtimestamp(BEGINS + 60, UTC)
    panel = next(
        panel
        for screen in SCREENS
        for panel in screen.panels
        if plain(panel.sql, span_of(screen, HOSTILE_SHOWN), HOSTILE_SHOWN.variables) == sql
    )
    match panel.kind:
        case "columns":
            return (
                (["time", "by", "n"], [(when, HOSTILE, 3)]) if panel.by else (["time", HOSTILE], [(when, 3)])
            )
        case "stats":
            return [HOSTILE, "age"], [(3, 4)]
        case "bars":
            return ["name", "n"], [(HOSTILE, 3), ("x" * 5000, 0)]
    return ["time", HOSTILE, "none"], [(when, HOSTILE + "y" * 5000, None)] * 30


HOSTILE_SHOWN: Final = Shown(HOUR.end, HOUR, {"client": HOSTILE, "host": HOSTILE})


def test_what_a_remote_wrote_is_shown_and_never_obeyed() -> None:
    text = preview(_hostile, HOSTILE_SHOWN)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "y" * 200 not in text
    assert "x" * 200 not in re.sub(r"<title>.*?</title>", "", text)
    assert "and 18 more" in text


def test_the_month_is_whole_and_the_others_show_what_they_open_with() -> None:
    middle = BEGINS + 1800
    for screen in SCREENS:
        span, given_span = span_of(screen, Shown(middle)), span_of(screen, Shown(middle, HOUR))
        if screen.zone == "utc":
            assert span == given_span == _months("2026-11-01", "2026-12-01", UTC)
        else:
            assert span == Span(middle - screen.last_s, middle)
            assert given_span == HOUR


def _months(first: str, after: str, zone: tzinfo) -> Span:
    start, end = (datetime.fromisoformat(it).replace(tzinfo=zone).timestamp() for it in (first, after))
    return Span(int(start), int(end) - 1)


@pytest.mark.parametrize(
    ("first", "after", "months"),
    [
        ("2026-11-01", "2026-12-01", ("2026-11-01", "2026-12-01")),
        ("2026-11-01", "2026-11-10", ("2026-11-01", "2026-12-01")),
        ("2026-10-31", "2026-11-02", ("2026-10-01", "2026-12-01")),
        ("2026-12-05", "2027-01-01", ("2026-12-01", "2027-01-01")),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_chosen_months_are_those_of_the_calendar(
    first: str, after: str, months: tuple[str, str], zone: str
) -> None:
    chosen = _months(first, after, ZoneInfo(zone))
    span = span_of(MONTH, Shown(chosen.end, chosen, {}, ZoneInfo(zone)))
    assert span == _months(*months, UTC)


def test_empty_answers_are_said_to_be_empty() -> None:
    text = preview(lambda _: ([], []), Shown(BEGINS))
    assert text.count("nothing in this period") >= sum(len(screen.panels) for screen in SCREENS)
    assert "client: none" in text


_POINT: Final = st.tuples(st.integers(0, 100_000), st.integers(0, 10**13))


@given(
    st.lists(st.lists(_POINT, max_size=20), min_size=1, max_size=8),
    st.integers(1, 40_000_000),
    st.integers(300, 1200),
    st.sampled_from(["", "bytes", "s"]),
)
def test_columns_stay_in_their_frame_and_labels_apart(
    points: list[list[tuple[int, int]]], length: int, width: int, unit: str
) -> None:
    series = [charts.Series("<&>", sorted(one)) for one in points]
    svg = charts.columns(series, start=0, end=length, step=60, width=width, unit=unit)
    root = ElementTree.fromstring(svg)
    assert root.get("width") == str(width)
    space = "{http://www.w3.org/2000/svg}"
    for path in root.iter(f"{space}path"):
        numbers = [float(it) for it in re.findall(r"-?[\d.]+", path.get("d", ""))]
        assert all(-0.1 <= it <= width + 0.1 for it in numbers)
    places: dict[str, list[tuple[float, float]]] = {}
    for label in root.iter(f"{space}text"):
        half = len(label.text or "") * 6.4 / 2
        if label.get("text-anchor") == "middle" and label.text != "nothing in this period":
            places.setdefault(label.get("y", ""), []).append((float(label.get("x", "")), half))
    for row in places.values():
        for (left, half), (right, other) in zip(sorted(row), sorted(row)[1:], strict=False):
            assert left + half <= right - other


@given(st.lists(st.tuples(st.text(max_size=200), st.floats(0, 1e15)), max_size=12), st.integers(200, 1200))
def test_bars_and_their_labels_stay_in_their_frame(rows: list[tuple[str, float]], width: int) -> None:
    rows = [("".join(it for it in name if it.isprintable()), value) for name, value in rows]
    root = ElementTree.fromstring(charts.bars(rows, width=width))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [(float(it.get("x", "")), float(it.get("width", ""))) for it in root.iter(f"{space}rect")]
    assert len(boxes) == len(rows)
    for (name, value), (left, long) in zip(rows, boxes, strict=True):
        assert min(len(name), 2) * 6 <= left
        assert left + long + 5 + len(charts.shown(value)) * 6.4 <= width + 0.1


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (1204, "", "1,204"),
        (2.5, "", "2.50"),
        (12_345_678, "", "12.3 million"),
        (4.2e9, "", "4.2 billion"),
        (512, "bytes", "512 B"),
        (40_755, "bytes", "39.8 KiB"),
        (2**50 * 3000, "bytes", "3,000 PiB"),
        (61, "s", "61 s"),
        (3700, "s", "61 min"),
        (14_400, "s", "4 h"),
        (864_000, "s", "10 days"),
    ],
)
def test_amounts_are_written_for_people(value: float, unit: str, text: str) -> None:
    assert charts.shown(value, unit) == text


def test_a_single_series_needs_no_legend_unless_its_name_says_something() -> None:
    one = charts.Series("a & b", [])
    assert charts.legend([one]) == ""
    assert "a &amp; b" in charts.legend([one, one])
    assert "a &amp; b" in charts.legend([one], even_of_one=True)


def test_a_long_name_in_a_legend_keeps_both_its_ends() -> None:
    names = [f"mx-{number:02}.{'long-name.' * 9}example-{number:02}" for number in (1, 2)]
    drawn = charts.legend([charts.Series(name, []) for name in names])
    assert re.findall(r"mx-(\d\d)[^<]*…[^<]*(\d\d)<", drawn) == [("01", "01"), ("02", "02")]


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=5), max_size=30))
def test_no_two_series_share_a_colour_and_none_is_lost(points: list[list[tuple[int, int]]]) -> None:
    series = [charts.Series(str(place), one) for place, one in enumerate(points)]
    drawn = busiest(series)
    assert len(drawn) == min(len(series), charts.COLOURS)
    sums = {one.name: sum(value for _, value in one.points) for one in series}
    assert sum(value for one in drawn for _, value in one.points) == sum(sums.values())
    if len(series) > charts.COLOURS:
        *kept, rest = [one.name for one in drawn]
        assert rest == OTHERS
        assert kept == sorted(kept, key=int)
        assert min(sums.pop(name) for name in kept) >= max(sums.values())


def _drawn(title: str, names: list[str], rows: list[tuple[Any, ...]], shown: Shown) -> str:
    """The panel of this title with these rows, all others being empty."""
    sqls = [
        plain(panel.sql, span_of(screen, shown), {"host": ALL, "client": ""})
        for screen in SCREENS
        for panel in screen.panels
        if panel.title == title
    ]
    text = preview(lambda sql: (names, rows) if sql in sqls else ([], []), shown)
    (panel,) = re.findall(rf"<section[^>]*><h3>{title}</h3>.*?</section>", text)
    return str(panel)


def _column_widths(panel: str) -> list[float]:
    columns = re.findall(r"M([\d.]+) [\d.]+V[\d.]+H([\d.]+)V", panel.split('class="narrow"')[0])
    return [round(float(right) - float(left), 1) for left, right in columns]


def test_a_column_is_as_wide_as_what_it_counts_however_few_there_are() -> None:
    shown = Shown(HOUR.end, HOUR)
    first = datetime(2026, 11, 3, tzinfo=UTC)
    days = [(first.replace(day=day), "rate", 1) for day in (3, 20)]
    panel = _drawn("Blocks by day and trigger", ["time", "trigger", "blocks"], days, shown)
    day = 1232 * 8 // 24 / 30
    assert len(_column_widths(panel)) == 2
    assert all(day * 0.6 < width < day for width in _column_widths(panel))
    blocks = [(datetime.fromtimestamp(BEGINS + at, UTC), "rate", 1) for at in (60, 3000)]
    panel = _drawn("Blocks by trigger", ["time", "trigger", "blocks"], blocks, shown)
    assert all(3 < width < 7 for width in _column_widths(panel)), "a minute of an hour"
    assert ">rate</li>" in panel


def test_what_is_added_up_stands_last() -> None:
    when = datetime.fromtimestamp(BEGINS + 60, UTC)
    rows = [(when, name, 1) for name in ("a", "mx", OTHERS, "zz")]
    panel = _drawn("Events by MTA", ["time", "MTA", "events"], rows, Shown(HOUR.end, HOUR))
    assert re.findall(r"</i>(\w+)</li>", panel) == ["a", "mx", "zz", OTHERS]


def test_a_table_keeps_its_columns_apart_whatever_their_texts_are() -> None:
    sender = f"{'long.sender.' * 20}@example.org"
    row = (datetime.fromtimestamp(BEGINS, UTC), "192.0.2.7", sender, f"said: 550 no {sender} here", None)
    text = table(["time", "client", "sender", "detail", "none"], [row], {}, UTC)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert cells[0] == "2026-11-24 13:00:00"
    assert max(len(word) for cell in cells for word in cell.split()) <= 48
    assert re.fullmatch(r"long\.sender\..*….*@example\.org", cells[2])
    assert re.fullmatch(r"said: 550 no long.*…\S*org here", cells[3])
    assert text.count(' title="long.sender.') == 1
    assert "class=short>192.0.2.7<" in text
    style = page([])
    assert "td { overflow-wrap:anywhere; }" in style
    assert "td.short { overflow-wrap:normal; }" in style


def test_paper_is_no_telephone() -> None:
    style = page([])
    assert re.findall(r"@media [^{]*width[^{]*", style) == ["@media screen and (max-width: 900px) "]
    paper = style[style.index("@media print") :]
    assert "h2, h3, .about { break-after:avoid; }" in paper
    assert "size:A4" in paper

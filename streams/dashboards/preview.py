"""Every dashboard drawn from its own queries, on one page that stands alone: for who has no Grafana."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from streams import charts
from streams.dashboards.activity import point_s
from streams.dashboards.macros import Span, plain
from streams.dashboards.page import page
from streams.dashboards.panels import ALL, COLUMNS, OTHERS, Panel, Screen
from streams.dashboards.screens import SCREENS
from streams.dashboards.tables import moment, seconds, table, text

Answer = tuple[Sequence[str], Sequence[Sequence[Any]]]
Ask = Callable[[str], Answer]
"""Runs one query; returned are the names of its columns and its rows."""

PAGE_WIDTH: Final = 1232
NARROW: Final = 336
"""Widths that the charts are drawn for, in pixels: a wide window, and that of a telephone."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The time (None: what each dashboard opens with, up to `until`) and what was chosen; seconds."""

    until: int
    span: Span | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    zone: tzinfo = UTC


def preview(ask: Ask, shown: Shown) -> str:
    """The page. `ask` is called for each panel, and for a variable that was not chosen."""
    return page([(screen.uid, screen.title, _screen(ask, screen, shown)) for screen in SCREENS])


def span_of(screen: Screen, shown: Shown) -> Span:
    """The time that the dashboard shows; that of the month is whole months of UTC: those of the calendar in
    which the chosen time begins and ends, by the zone it was chosen in.
    """
    if screen.opens_with[0] != "now/M":
        return shown.span or Span(shown.until - screen.last_s, shown.until)
    if shown.span is None:
        first = last = datetime.fromtimestamp(shown.until, UTC)
    else:
        first, last = (datetime.fromtimestamp(at, shown.zone) for at in (shown.span.start, shown.span.end))
    following = datetime(last.year + last.month // 12, last.month % 12 + 1, 1, tzinfo=UTC)
    return Span(
        int(datetime(first.year, first.month, 1, tzinfo=UTC).timestamp()), int(following.timestamp()) - 1
    )


def variables_of(ask: Ask, screen: Screen, span: Span, chosen: Mapping[str, str]) -> dict[str, str]:
    """A value for each variable: what was chosen, else all, else the first there is."""
    found = {}
    for variable in screen.variables:
        if variable.name in chosen:
            found[variable.name] = chosen[variable.name]
        elif variable.with_all:
            found[variable.name] = ALL
        else:
            _, rows = ask(plain(variable.sql, span, found))
            found[variable.name] = str(rows[0][0]) if rows else ""
    return found


def _screen(ask: Ask, screen: Screen, shown: Shown) -> str:
    span = span_of(screen, shown)
    variables = variables_of(ask, screen, span, dict(shown.variables))
    zone = UTC if screen.zone == "utc" else shown.zone
    said = [f"{moment(span.start, zone)} – {moment(span.end, zone)} ({_zone_name(zone, span.end)})"]
    for variable in screen.variables:
        value = variables[variable.name]
        said.append(f"{variable.label}: {'all' if value == ALL else text(value) or 'none'}")
    panels = "".join(_panel(ask(plain(it.sql, span, variables)), it, span, zone) for it in screen.panels)
    return (
        f'<p class="about">{html.escape(screen.about)}<br><span>{" · ".join(said)}</span></p>'
        f'<div class="panels">{panels}</div>'
    )


def _panel(answer: Answer, panel: Panel, span: Span, zone: tzinfo) -> str:
    names, rows = answer
    if panel.kind == "stats":
        body = _stats(names, rows, panel)
    elif panel.kind == "table":
        body = table(names, rows, panel.units, zone) if rows else _nothing()
    elif panel.kind == "bars":
        pairs = [(text(row[0], markup=False), float(row[1])) for row in rows]
        body = _both(lambda width: charts.bars(pairs, width=width), panel) if pairs else _nothing()
    else:
        body = _over_time(names, rows, panel, span, zone)
    about = f'<p class="note">{html.escape(panel.about)}</p>' if panel.about else ""
    title = html.escape(panel.title)
    attributes = f'class="panel panel-{panel.kind}" style="--w:{panel.width}"'
    return f"<section {attributes}><h3>{title}</h3>{body}{about}</section>"


def _stats(names: Sequence[str], rows: Sequence[Sequence[Any]], panel: Panel) -> str:
    if not rows:
        return _nothing()
    figures = (
        f"<div><b>{html.escape(charts.shown(float(value), panel.units.get(name, '')))}</b>"
        f"<span>{text(name) if len(names) > 1 else ''}</span></div>"
        for name, value in zip(names, rows[0], strict=True)
    )
    return f'<div class="stats">{"".join(figures)}</div>'


def _over_time(
    names: Sequence[str], rows: Sequence[Sequence[Any]], panel: Panel, span: Span, zone: tzinfo
) -> str:
    series: list[charts.Series] = []
    times = [seconds(row[0]) for row in rows]
    if panel.by:
        names_of_all = {str(row[1]) for row in rows}
        for name in sorted(names_of_all, key=lambda name: (name == OTHERS, name)):
            points = [(at, float(row[2])) for at, row in zip(times, rows, strict=True) if str(row[1]) == name]
            series.append(charts.Series(text(name, markup=False), points))
    else:
        for place, name in enumerate(names[1:], start=1):
            points = [(at, float(row[place])) for at, row in zip(times, rows, strict=True)]
            series.append(charts.Series(text(name, markup=False), points))
    series = busiest(series)
    start, end, step = float(min([span.start, *times])), float(span.end), point_of(panel, span)
    drawn = _both(
        lambda wide: charts.columns(series, start=start, end=end, step=step, width=wide, zone=zone), panel
    )
    return drawn + charts.legend(series, even_of_one=bool(panel.by))


def busiest(series: Sequence[charts.Series]) -> list[charts.Series]:
    """As many as there are colours, in the order given; of more, the smallest are added up as the last."""
    if len(series) <= charts.COLOURS:
        return list(series)
    largest = sorted(range(len(series)), key=lambda place: -sum(value for _, value in series[place].points))
    kept = sorted(largest[: charts.COLOURS - 1])
    rest: dict[float, float] = {}
    for place in largest[charts.COLOURS - 1 :]:
        for at, value in series[place].points:
            rest[at] = rest.get(at, 0.0) + value
    return [*(series[place] for place in kept), charts.Series(OTHERS, sorted(rest.items()))]


def point_of(panel: Panel, span: Span) -> int:
    """How long a point of the panel is, in seconds."""
    match panel.point:
        case "rollup":
            return point_s(span)
        case "day":
            return 86400
        case _:
            return span.interval_s


def _both(draw: Callable[[int], str], panel: Panel) -> str:
    wide = PAGE_WIDTH * panel.width // COLUMNS - 40
    return f'<div class="wide">{draw(wide)}</div><div class="narrow">{draw(NARROW)}</div>'


def _nothing() -> str:
    return '<p class="nothing">nothing in this period</p>'


def _zone_name(zone: tzinfo, at: float) -> str:
    return html.escape(datetime.fromtimestamp(at, zone).tzname() or "")

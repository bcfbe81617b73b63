"""Every dashboard drawn from its own queries, on one page that stands alone: for who has no Grafana."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any, Final

from streams import charts
from streams.dashboards.macros import Span, plain
from streams.dashboards.page import page
from streams.dashboards.panels import ALL, COLUMNS, Panel, Screen
from streams.dashboards.screens import SCREENS
from streams.wire.policy_words import escaped

Answer = tuple[Sequence[str], Sequence[Sequence[Any]]]
Ask = Callable[[str], Answer]
"""Runs one query; returned are the names of its columns and its rows."""

PAGE_WIDTH: Final = 1232
NARROW: Final = 336
"""Widths that the charts are drawn for, in pixels: a wide window, and that of a telephone."""
_ROWS: Final = 12
"""Rows of a table that are shown."""
_LONGEST: Final = 140
"""Characters of a text that are shown."""


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
    """The time that the dashboard shows; that of the month begins with a month."""
    span = shown.span or Span(shown.until - screen.last_s, shown.until)
    if screen.opens_with[0] != "now/M":
        return span
    within = datetime.fromtimestamp(span.start if shown.span else span.end, UTC)
    month = within.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Span(int(month.timestamp()), span.end)


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
    said = [f"{_moment(span.start, zone)} – {_moment(span.end, zone)} ({_zone_name(zone, span.end)})"]
    for variable in screen.variables:
        value = variables[variable.name]
        said.append(f"{variable.label}: {'all' if value == ALL else _text(value) or 'none'}")
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
        body = _table(names, rows, panel, zone)
    elif panel.kind == "bars":
        pairs = [(_text(row[0], markup=False), float(row[1])) for row in rows]
        body = _both(lambda width: charts.bars(pairs, width=width), panel) if pairs else _nothing()
    else:
        body = _over_time(names, rows, panel, span, zone)
    about = f'<p class="note">{html.escape(panel.about)}</p>' if panel.about else ""
    title = html.escape(panel.title)
    return f'<section class="panel" style="--w:{panel.width}"><h3>{title}</h3>{body}{about}</section>'


def _stats(names: Sequence[str], rows: Sequence[Sequence[Any]], panel: Panel) -> str:
    if not rows:
        return _nothing()
    figures = (
        f"<div><b>{html.escape(charts.shown(float(value), panel.units.get(name, '')))}</b>"
        f"<span>{_text(name) if len(names) > 1 else ''}</span></div>"
        for name, value in zip(names, rows[0], strict=True)
    )
    return f'<div class="stats">{"".join(figures)}</div>'


def _over_time(
    names: Sequence[str], rows: Sequence[Sequence[Any]], panel: Panel, span: Span, zone: tzinfo
) -> str:
    series: list[charts.Series] = []
    times = [_seconds(row[0]) for row in rows]
    if panel.by:
        for name in sorted({str(row[1]) for row in rows}):
            points = [(at, float(row[2])) for at, row in zip(times, rows, strict=True) if str(row[1]) == name]
            series.append(charts.Series(_text(name, markup=False), points))
    else:
        for place, name in enumerate(names[1:], start=1):
            points = [(at, float(row[place])) for at, row in zip(times, rows, strict=True)]
            series.append(charts.Series(_text(name, markup=False), points))
    start, end = float(min([span.start, *times])), float(span.end)
    step = _step(times, span)
    drawn = _both(
        lambda wide: charts.columns(series, start=start, end=end, step=step, width=wide, zone=zone), panel
    )
    return drawn + charts.legend(series)


def _step(times: Sequence[float], span: Span) -> float:
    """How long a point is: the shortest time between two, which is a whole point."""
    known = sorted(set(times))
    gaps = [after - before for before, after in pairwise(known)]
    return min([*gaps, max(60.0, (span.end - span.start) / 24)])


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]], panel: Panel, zone: tzinfo) -> str:
    if not rows:
        return _nothing()
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = []
    for row in rows[:_ROWS]:
        cells = (
            _cell(name, value, panel.units.get(name, ""), zone)
            for name, value in zip(names, row, strict=True)
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<p class="note">and {len(rows) - _ROWS} more</p>' if len(rows) > _ROWS else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{more}"
    )


def _cell(name: str, value: Any, unit: str, zone: tzinfo) -> str:
    label = f'data-name="{_text(name)}"'
    if isinstance(value, datetime):
        return f"<td {label} class=when>{_moment(_seconds(value), zone)}</td>"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"<td {label} class=number>{html.escape(charts.shown(float(value), unit))}</td>"
    return f"<td {label}>{_text('' if value is None else value)}</td>"


def _both(draw: Callable[[int], str], panel: Panel) -> str:
    wide = PAGE_WIDTH * panel.width // COLUMNS - 40
    return f'<div class="wide">{draw(wide)}</div><div class="narrow">{draw(NARROW)}</div>'


def _nothing() -> str:
    return '<p class="nothing">nothing in this period</p>'


def _text(value: object, *, markup: bool = True) -> str:
    """What somebody else wrote: bounded, control characters written out, and as markup where it is to be."""
    text = str(value)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    text = escaped(text)
    return html.escape(text) if markup else text


def _seconds(value: datetime) -> float:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _moment(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def _zone_name(zone: tzinfo, at: float) -> str:
    return html.escape(datetime.fromtimestamp(at, zone).tzname() or "")

"""Charts as SVG: no script, no font of its own, nothing loaded. Every chart exists for wide and narrow pages.

Text is drawn at its own size in both, so that it stays readable; labels that would not fit are left out, not
drawn over each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from streams.audit.report.text import number, safe

INK: Final = "#1a1a1a"
GRID: Final = "#d9d9d9"
COLOURS: Final = ("#1f5fa8", "#c8501e", "#2f7d4f", "#7a4fa3", "#8a6d00", "#0f8a8a", "#9a9a9a")
"""Of series, in order; apart in brightness too, for a print in grey."""
_SIZE: Final = 11
_GLYPH: Final = 6.3
"""Width of a character of text, on average, in units of the drawing."""
_WIDEST: Final = 7.0
"""Width of a digit in the widest of usual fonts."""
NARROW: Final = 340
WIDE: Final = 720


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its value, what is written behind it, its part that is of the second colour."""

    label: str
    value: int
    note: str = ""
    part: int = 0


def both(draw_wide: str, draw_narrow: str) -> str:
    """The two drawings of one chart; the page's style shows one of them."""
    return f'<div class="wide">{draw_wide}</div><div class="narrow">{draw_narrow}</div>'


def stacked_days(series: Mapping[str, Sequence[int]], title: str) -> str:
    """A column a day, its series one on another, with a legend. Every series is as long as the month."""
    return both(_stacked(series, title, WIDE), _stacked(series, title, NARROW))


def bars(rows: Sequence[Bar], title: str) -> str:
    """Horizontal bars, the value behind each."""
    return both(_bars(rows, title, WIDE), _bars(rows, title, NARROW))


def heat_map(cells: Mapping[tuple[int, int], int], title: str) -> str:
    """A row a day, from the first to the last that has anything; a column an hour; the darker, the more, by
    the logarithm, as the legend says by its numbers."""
    return both(_heat(cells, title, WIDE), _heat(cells, title, NARROW))


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" font-size="{_SIZE}" fill="{INK}">'
        f"<title>{safe(title)}</title>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{fill}>{safe(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    tip = f"<title>{safe(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(0.0, width):.2f}" height="{max(0.0, height):.2f}" '
        f'fill="{colour}">{tip}</rect>'
    )


_STEPS: Final = {1: 5, 2: 4, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4, 10: 5}
"""First digits that a scale may end with, and into how many even steps it is then divided."""


def round_up(value: int) -> int:
    """The least end of a scale that is not below the value: 30 for 23."""
    if value <= 1:
        return 1
    power: int = 10 ** floor(log10(value))
    return next(first * power for first in _STEPS if first * power >= value)


def ticks_to(top: int) -> list[int]:
    """Whole numbers in even steps from 0 to `top`, which `round_up` gave."""
    steps = _STEPS[int(str(top)[0])]
    steps = steps if top % steps == 0 else 1
    return [top * step // steps for step in range(steps + 1)]


def _legend(names: Sequence[str], width: float, y: float) -> tuple[list[str], float]:
    """The legend in as many lines as it takes, and its height."""
    drawn, x = [], 0.0
    for place, name in enumerate(names):
        need = 16 + _GLYPH * len(name) + 14
        if x and x + need > width:
            x, y = 0.0, y + 16
        drawn += [_rect(x, y - 9, 10, 10, COLOURS[place % len(COLOURS)]), _text(x + 15, y, name)]
        x += need
    return drawn, y


def _stacked(series: Mapping[str, Sequence[int]], title: str, width: float) -> str:
    names = list(series)
    days = max((len(values) for values in series.values()), default=0)
    totals = [sum(values[day] for values in series.values()) for day in range(days)]
    top = round_up(max(totals, default=0))
    ticks = ticks_to(top)
    left = 10 + _GLYPH * max(len(number(tick)) for tick in ticks)
    height, base, room = 210.0, 180.0, 165.0
    body = []
    for tick in ticks:
        y = base - room * tick / top
        body.append(f'<line x1="{left:g}" x2="{width:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        body.append(_text(left - 5, y + 4, number(tick), "end"))
    step = (width - left) / max(1, days)
    every = max(1, ceil(2.6 * _GLYPH / step))
    for day in range(days):
        y = base
        for place, name in enumerate(names):
            value = series[name][day]
            if value:
                tall = room * value / top
                y -= tall
                tip = f"day {day + 1}: {number(value)} by {name}"
                colour = COLOURS[place % len(COLOURS)]
                body.append(_rect(left + day * step + step * 0.12, y, step * 0.76, tall, colour, tip))
        if day % every == 0:
            label = str(day + 1)
            middle = min(left + (day + 0.5) * step, width - 1 - _WIDEST * len(label) / 2)
            body.append(_text(middle, base + 15, label, "middle"))
    legend, bottom = _legend(names, width, height + 4)
    return _svg(width, bottom + 6, title, [*body, *legend])


def _bars(rows: Sequence[Bar], title: str, width: float) -> str:
    most = max((row.value for row in rows), default=1) or 1
    stacked = width <= NARROW
    label_room = (
        0.0 if stacked else min(300.0, 10 + _GLYPH * max((len(row.label) for row in rows), default=0))
    )
    behind = 14 + _GLYPH * max((len(_behind(row)) for row in rows), default=0)
    tall = 34.0 if stacked else 20.0
    body = []
    for place, row in enumerate(rows):
        y = place * tall
        bar_y = y + (15 if stacked else 3)
        longest = int((width if stacked else label_room) / _GLYPH) - 1
        body.append(_text(0, y + (11 if stacked else 14), _cut(row.label, longest)))
        room = width - label_room - behind
        long = room * row.value / most
        tip = f"{row.label}: {number(row.value)} {row.note}"
        body.append(_rect(label_room, bar_y, max(1.0, long), 13, COLOURS[0], tip))
        if row.part:
            body.append(_rect(label_room, bar_y, room * min(row.part, row.value) / most, 13, COLOURS[1], tip))
        body.append(_text(label_room + max(1.0, long) + 6, bar_y + 11, _behind(row)))
    return _svg(width, max(1, len(rows)) * tall + 4, title, body)


def _behind(row: Bar) -> str:
    return f"{number(row.value)} {row.note}".strip()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: max(1, longest - 1)]}…"


def shade(value: int, most: int) -> str:
    """Light to dark blue, by the logarithm: one burst must not make all else look alike."""
    if not value:
        return "#f4f4f4"
    share = log10(1 + value) / log10(1 + most)
    light, dark = (219, 232, 246), (11, 47, 99)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(light, dark, strict=True))


def _heat(cells: Mapping[tuple[int, int], int], title: str, width: float) -> str:
    most = max(cells.values(), default=0)
    first = min((day for day, _ in cells), default=1)
    days = max((day for day, _ in cells), default=0) - first + 1
    left, head = 24.0, 18.0
    step = (width - left) / 24
    tall = 14.0
    every = 1 if step >= 2.6 * _GLYPH else 3
    body = [_text(left + (hour + 0.5) * step, 12, str(hour), "middle") for hour in range(0, 24, every)]
    for day in range(first, first + days):
        y = head + (day - first) * tall
        body.append(_text(left - 6, y + 11, str(day), "end"))
        for hour in range(24):
            value = cells.get((day, hour), 0)
            tip = f"day {day}, {hour}:00: {number(value)}"
            body.append(_rect(left + hour * step, y, step - 1, tall - 1, shade(value, most), tip))
    y = head + days * tall + 18
    body += _shades(most, left, y)
    return _svg(width, y + 8, title, body)


def _shades(most: int, x: float, y: float) -> list[str]:
    """The legend of a heat map: a shade, and how much it stands for."""
    drawn = []
    for value in sorted({round((1 + most) ** (place / 4) - 1) for place in range(5)}):
        drawn += [_rect(x, y - 10, 14, 12, shade(value, most)), _text(x + 18, y, number(value))]
        x += 18 + _GLYPH * len(number(value)) + 10
    return drawn

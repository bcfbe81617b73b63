"""Charts as SVG: data in, markup out, nothing that runs. For pages that must stand alone and print well.

Every text is escaped and kept within its room; moments on an axis are as many as have room. Colours are CSS
variables, `--c1` … `--c6`, `--ink` and `--faint`, which `STYLE` sets: a page that draws charts must have it.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor, log10
from typing import Final

COLOURS: Final = 6
"""Series beyond the sixth begin with the first colour again."""
STYLE: Final = """
:root { --c1:#1f6fb2; --c2:#d9822b; --c3:#2e8b57; --c4:#b0413e; --c5:#7a5195; --c6:#6b7280; }
:root { --ink:#1c2430; --faint:#dfe3e8; }
.chart { display:block; max-width:100%; height:auto; font:11px system-ui,sans-serif; }
.chart text { fill:var(--ink); } .chart .soft { fill:#5b6673; }
.chart .grid { stroke:var(--faint); stroke-width:1; }
.legend { display:flex; flex-wrap:wrap; gap:2px 14px; margin:4px 0 0; padding:0; list-style:none; }
.legend { font-size:12px; overflow-wrap:anywhere; }
.legend i { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:5px; }
"""

_LEGEND: Final = 44
"""Characters of a name in a legend: one line of a telephone."""
_CHAR: Final = 6.4
"""Width of a character at 11 px, generously."""
_STEPS_S: Final = (
    60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """Values over time: (seconds since 1970, value), in order of time."""

    name: str
    points: Sequence[tuple[float, float]]


def columns(
    series: Sequence[Series], *, start: float, end: float, step: float, width: int, height: int = 180,
    unit: str = "", zone: tzinfo = UTC,
) -> str:  # fmt: skip
    """What was counted in each `step` seconds as columns, series on top of each other."""
    totals: dict[float, float] = {}
    for one in series:
        for at, value in one.points:
            totals[at] = totals.get(at, 0.0) + max(0.0, value)
    frame = _Frame(start, end, max(totals.values(), default=0.0), width, height, unit)
    wide = max(1.0, frame.x(start + step) - frame.x(start) - 1)
    below = dict.fromkeys(totals, 0.0)
    marks = []
    for place, one in enumerate(series):
        rects = []
        for at, value in one.points:
            if value <= 0:
                continue
            left, right = max(frame.x(at), frame.left), min(frame.x(at) + wide, width - frame.right)
            if right > left:
                bottom, top = frame.y(below[at]), frame.y(below[at] + value)
                rects.append(
                    f"M{left:.1f} {bottom:.1f}V{min(top, bottom - 0.5):.1f}H{right:.1f}V{bottom:.1f}z"
                )
            below[at] += value
        marks.append(f'<path d="{"".join(rects)}" fill="{_colour(place)}"/>')
    return frame.svg("".join(marks), series, zone)


def bars(rows: Sequence[tuple[str, float]], *, width: int, unit: str = "") -> str:
    """Amounts by name as horizontal bars, in the order given; a long name is cut in its middle."""
    high, gap = 22, 8
    longest = max((len(name) for name, _ in rows), default=0)
    values = [shown(value, unit) for _, value in rows]
    tail = max((len(text) for text in values), default=1) * _CHAR + gap
    room = max(20.0, min(longest * _CHAR + gap, width * 0.45, width - tail - 20))
    highest = max((value for _, value in rows), default=0.0) or 1.0
    drawn = []
    for place, (name, value) in enumerate(rows):
        middle = place * high + high / 2
        long = max(0.0, (width - room - tail) * (value / highest))
        drawn.append(
            f'<text x="0" y="{middle + 4:.0f}">{html.escape(cut(name, int(room / _CHAR)))}'
            f"<title>{html.escape(name)}</title></text>"
            f'<rect x="{room:.1f}" y="{middle - 7:.0f}" width="{long:.1f}" height="14" fill="var(--c1)"/>'
            f'<text x="{room + long + 5:.1f}" y="{middle + 4:.0f}">{html.escape(values[place])}</text>'
        )
    return _svg(width, max(high, len(rows) * high), "".join(drawn), f"{len(rows)} bars")


def legend(series: Sequence[Series], *, even_of_one: bool = False) -> str:
    """The names of the series with their colours, as a list that wraps; nothing for a single one, unless it
    is to be named even so. A long name is cut in its middle.
    """
    if len(series) < 2 and not even_of_one:
        return ""
    items = (
        f'<li><i style="background:{_colour(place)}"></i>{html.escape(cut(one.name, _LEGEND))}</li>'
        for place, one in enumerate(series)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def shown(value: float, unit: str = "") -> str:
    """An amount for a person: `1,204`, `3.4 million`, `1.5 GiB`, `2 h 5 min`."""
    if unit == "bytes":
        size, name = value, "B"
        for name in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
            if abs(size) < 1024 or name == "PiB":
                break
            size /= 1024
        return f"{size:,.0f} {name}" if size >= 100 or name == "B" else f"{size:,.1f} {name}"
    if unit == "s":
        return _duration(value)
    if abs(value) >= 10_000_000:
        return f"{value / 1e9:,.1f} billion" if abs(value) >= 1e9 else f"{value / 1e6:,.1f} million"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


class _Frame:
    """Axes of a chart over time, and where a value lies in it."""

    top: Final = 8
    bottom: Final = 22
    right: Final = 8

    def __init__(self, start: float, end: float, highest: float, width: int, height: int, unit: str) -> None:
        self.start, self.end, self.width, self.height, self.unit = (
            start,
            max(end, start + 1),
            width,
            height,
            unit,
        )
        self.ticks = _ticks(highest, unit)
        self.left = max(len(shown(tick, unit)) for tick in self.ticks) * _CHAR + 8

    def x(self, at: float) -> float:
        return self.left + (at - self.start) / (self.end - self.start) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        return self.height - self.bottom - value / self.ticks[-1] * (self.height - self.top - self.bottom)

    def svg(self, marks: str, series: Sequence[Series], zone: tzinfo) -> str:
        parts = []
        for tick in self.ticks:
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{self.left:.1f}" x2="{self.width - self.right}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text class="soft" text-anchor="end" x="{self.left - 5:.1f}" y="{y + 4:.1f}">'
                f"{shown(tick, self.unit)}</text>"
            )
        parts.append(marks)
        for at, label in _moments(self.start, self.end, (self.width - self.left) / (9 * _CHAR), zone):
            x = self.x(at)
            half = len(label) * _CHAR / 2
            if x - half >= 0 and x + half <= self.width:
                parts.append(self._label(x, self.height - 6, label))
        if not any(one.points for one in series):
            middle = self.left + (self.width - self.left) / 2
            parts.append(self._label(middle, self.height / 2, "nothing in this period"))
        return _svg(self.width, self.height, "".join(parts), ", ".join(one.name for one in series))

    def _label(self, x: float, y: float, text: str) -> str:
        return f'<text class="soft" text-anchor="middle" x="{x:.1f}" y="{y:.0f}">{text}</text>'


def _svg(width: int, height: int, content: str, label: str) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{html.escape(label[:200])}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def _colour(place: int) -> str:
    return f"var(--c{place % COLOURS + 1})"


def _ticks(highest: float, unit: str) -> list[float]:
    """Zero to at least `highest` in two to five even steps of 1, 2 or 5; whole numbers at least."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    if unit == "bytes":
        step = 2.0 ** max(0, floor(rough and log10(rough) / log10(2)) + 1)
    else:
        power = 10.0 ** floor(log10(rough))
        step = max(1.0, next(one * power for one in (1, 2, 5, 10) if one * power >= rough))
    count = max(1, int(-(-highest // step)))
    return [place * step for place in range(count + 1)]


def _moments(start: float, end: float, room: float, zone: tzinfo) -> list[tuple[float, str]]:
    """Round times of the zone between both, so few that their labels have room."""
    wanted = (end - start) / max(1.0, room)
    step = next((one for one in _STEPS_S if one >= wanted), _STEPS_S[-1])
    if step >= 2592000:
        return _months(start, end, step // 2592000, zone)
    first = datetime.fromtimestamp(start, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    at, found = first, []
    form = "%H:%M" if step < 86400 else "%d %b"
    while at.timestamp() <= end:
        if at.timestamp() >= start:
            midnight = step < 86400 and at.hour == at.minute == 0
            found.append((at.timestamp(), at.strftime("%d %b" if midnight else form)))
        at += timedelta(seconds=step)
    return found


def _months(start: float, end: float, every: int, zone: tzinfo) -> list[tuple[float, str]]:
    found = []
    at = datetime.fromtimestamp(start, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while at.timestamp() <= end:
        if at.timestamp() >= start and (at.month - 1) % min(every, 12) == 0:
            found.append((at.timestamp(), at.strftime("%b %Y")))
        at = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
    return found


def cut(text: str, longest: int) -> str:
    """At most so many characters, three at least: a longer text without its middle."""
    if len(text) <= longest:
        return text
    keep = max(2, longest - 1)
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if abs(whole) < 120:
        return f"{whole} s"
    if abs(whole) < 7200:
        return f"{whole // 60} min"
    if abs(whole) < 172_800:
        return f"{whole // 3600} h"
    return f"{whole // 86400:,} days"

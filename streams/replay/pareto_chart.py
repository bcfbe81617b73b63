"""A sweep's settings as a chart: abusive clients stopped over legitimate clients hurt, and the front."""

import html
from collections.abc import Sequence

from streams.charts import shown
from streams.replay.pareto import Point

_CHAR = 6.6
_RIGHT, _TOP, _BOTTOM = 18, 36, 46
_INSET = 18
"""Room between the axis and its first dots, so that marks at nought lie on no figure."""
_NAMED = 8
"""Settings that a dot names."""


def pareto_chart(
    points: Sequence[Point],
    front: Sequence[int],
    *,
    names: Sequence[str],
    now: int,
    recommended: int,
    width: int,
    height: int,
) -> str:
    """SVG of this size. Points of many settings at one place are one dot, larger the more there are. Each
    mark says, where the pointer rests on it, which settings it stands for, by their `names`, at most 8.

    The setting of now is a ring, the recommended one a diamond: told apart by form, not by colour alone.
    """
    across, up = (_ticks(max(point[axis] for point in points)) for axis in (0, 1))
    left = 14 + 14 + max(len(shown(it)) for it in up) * _CHAR

    def x(hurt: float) -> float:
        return left + _INSET + hurt / across[-1] * (width - left - _INSET - _RIGHT)

    def y(stopped: float) -> float:
        return height - _BOTTOM - stopped / up[-1] * (height - _TOP - _BOTTOM)

    drawn = []
    for tick in up:
        drawn.append(
            f'<line class="grid" x1="{left:.1f}" x2="{width - _RIGHT}" '
            f'y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text class="soft" text-anchor="end" x="{left - 6:.1f}" '
            f'y="{y(tick) + 4:.1f}">{shown(tick)}</text>'
        )
    drawn += [
        f'<text class="soft" text-anchor="middle" x="{x(tick):.1f}" '
        f'y="{height - _BOTTOM + 22}">{shown(tick)}</text>'
        for tick in across
    ]
    steps = "".join(
        f"{'M' if place == 0 else 'H'}{x(points[n][0]):.1f} {'' if place == 0 else 'V'}{y(points[n][1]):.1f}"
        for place, n in enumerate(front)
    )
    drawn.append(
        f'<path d="{steps}H{width - _RIGHT}" fill="none" stroke="var(--c3)" stroke-width="2"/>'
        f'<text x="{left:.1f}" y="14">abusive clients stopped</text>'
        f'<text text-anchor="middle" x="{left + (width - left - _RIGHT) / 2:.1f}" y="{height - 6}">'
        "legitimate clients hurt</text>"
    )
    at_front = {points[n] for n in front}
    for (hurt, stopped), of in sorted(_by_point(points).items()):
        colour = "var(--c3)" if (hurt, stopped) in at_front else "var(--c6)"
        drawn.append(
            f'<circle cx="{x(hurt):.1f}" cy="{y(stopped):.1f}" r="{min(8.0, 3.5 + len(of) ** 0.5 / 3):.1f}" '
            f'fill="{colour}" fill-opacity="0.75">{_title(_settings(points, of, names))}</circle>'
        )
    cx, cy = x(points[now][0]), y(points[now][1])
    drawn.append(
        f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="11" fill="none" stroke="var(--c2)" stroke-width="3">'
        f"{_title(f'the limits of now: {names[now]}')}</circle>"
    )
    cx, cy = x(points[recommended][0]), y(points[recommended][1])
    drawn.append(
        f'<path d="M{cx:.1f} {cy - 9:.1f}l9 9l-9 9l-9 -9z" fill="var(--c1)" '
        'stroke="#fff" stroke-width="1.5">'
        f"{_title(f'recommended: {names[recommended]}')}</path>"
    )
    label = "Abusive clients stopped over legitimate clients hurt, a dot for each setting"
    return (
        f'<svg class="chart" role="img" aria-label="{label}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
    )


def _by_point(points: Sequence[Point]) -> dict[Point, list[int]]:
    """The settings that lie at each point."""
    found: dict[Point, list[int]] = {}
    for number, point in enumerate(points):
        found.setdefault(point, []).append(number)
    return found


def _settings(points: Sequence[Point], of: Sequence[int], names: Sequence[str]) -> str:
    """`2 settings: 128 stopped, 0 hurt: 3/4/4, 60 s; 3/4/4, 600 s`."""
    hurt, stopped = points[of[0]]
    more = f" and {len(of) - _NAMED:,} more" if len(of) > _NAMED else ""
    named = "; ".join(names[it] for it in of[:_NAMED])
    return f"{len(of):,} setting{'s' * (len(of) != 1)}: {stopped} stopped, {hurt} hurt: {named}{more}"


def _title(said: str) -> str:
    return f"<title>{html.escape(said)}</title>"


def legend() -> str:
    """What the marks stand for."""
    marks = (
        ('<path d="M8 1l7 7l-7 7l-7 -7z" fill="var(--c1)"/>', "recommended"),
        (
            '<circle cx="8" cy="8" r="6" fill="none" stroke="var(--c2)" stroke-width="3"/>',
            "the limits of now",
        ),
        ('<circle cx="8" cy="8" r="5" fill="var(--c3)"/>', "no setting is better in both"),
        ('<circle cx="8" cy="8" r="5" fill="var(--c6)"/>', "other settings; larger: several"),
    )
    items = "".join(
        f'<li><svg width="16" height="16" viewBox="0 0 16 16" style="vertical-align:-3px">{mark}</svg> '
        f"{said}</li>"
        for mark, said in marks
    )
    return f'<ul class="legend">{items}</ul>'


def _ticks(highest: int) -> list[int]:
    """Zero to at least `highest` in at most five even steps of 1, 2 or 5."""
    step, place = 1, 0
    while step * 5 < highest:
        step, place = (2, 5, 10)[place % 3] * 10 ** (place // 3), place + 1
    return [n * step for n in range(max(1, -(-highest // step)) + 1)]

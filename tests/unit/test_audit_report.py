"""The report: readable charts, and nothing in it that a remote could have a browser do."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.audit.counting import COUNTERS
from streams.audit.month_series import BY_MTA, Compared, Day, RuleCount, Warned
from streams.audit.monthly import Month, Refused
from streams.audit.proposals import KINDS, Proposal, Thresholds
from streams.audit.report.charts import (
    NARROW,
    WIDE,
    Bar,
    bars,
    heat_map,
    round_up,
    shade,
    stacked_days,
    ticks_to,
)
from streams.audit.report.page import report
from streams.audit.report.style import STYLE
from streams.audit.report.text import number, safe
from streams.audit.stats import Row
from streams.cli.audit import _lines
from streams.cli.audit_json import month_json
from streams.cli.stats import TOTAL
from streams.model.instant import Instant, parse_instant
from streams.wire.policy_log import Change

AT: Final = parse_instant("2026-11-05T10:00:00Z")
EVIL: Final = "<script>alert(1)</script><img src=http://x onerror=y>\"'&\u202e\x1b"
GLYPH: Final = 6.1
"""Width of a character of 11 px that overlaps are judged by."""


def drawings(chart: str) -> Iterator[ElementTree.Element]:
    """The wide and the narrow drawing."""
    yield from ElementTree.fromstring(f"<x>{chart}</x>").iter("{http://www.w3.org/2000/svg}svg")


def labels(svg: ElementTree.Element) -> list[tuple[float, float, float, str]]:
    """(left, right, baseline, text) of every label."""
    found = []
    for it in svg.iter("{http://www.w3.org/2000/svg}text"):
        text, x = it.text or "", float(it.attrib["x"])
        width = GLYPH * len(text)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[it.attrib["text-anchor"]]
        found.append((left, left + width, float(it.attrib["y"]), text))
    return found


def check_labels(chart: str) -> None:
    """No label lies over another or outside of its drawing."""
    for svg in drawings(chart):
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        found = labels(svg)
        for left, right, y, text in found:
            assert left >= -1 and right <= width + 1 and 8 <= y <= height, text
        for place, (left, right, y, text) in enumerate(found):
            for other_left, other_right, other_y, other in found[place + 1 :]:
                if abs(y - other_y) < 10:
                    assert right <= other_left + 0.5 or other_right <= left + 0.5, (text, other)
        for it in svg.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, w, h = (float(it.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= 0 and y >= 0 and x + w <= width + 0.5 and y + h <= height + 0.5


counts = st.integers(0, 10**9)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["rate", "reputation", "greylist", "protocol", "blocklist", "Goaway, other", BY_MTA]),
        st.lists(counts, min_size=28, max_size=28),
        min_size=1,
    )
)
def test_columns_by_day_are_readable_whatever_they_count(series: dict[str, list[int]]) -> None:
    check_labels(stacked_days(series, "x"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Bar,
            st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=90),
            st.integers(1, 10**9),
            st.sampled_from(["", "(123 456 messages)"]),
            counts,
        ),
        max_size=15,
    )
)
def test_bars_are_readable_whatever_they_count(rows: list[Bar]) -> None:
    check_labels(bars(rows, "x"))


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(1, 31), st.integers(0, 23)), st.integers(1, 10**7)))
def test_the_heat_map_is_readable(cells: dict[tuple[int, int], int]) -> None:
    check_labels(heat_map(cells, "x"))


@pytest.mark.parametrize("days", [28, 29, 30, 31])
def test_the_last_day_of_a_month_is_not_cut_off(days: int) -> None:
    """Also in a font whose digits are wide."""
    for svg in drawings(stacked_days({"rate": [50] * days}, "x")):
        width = float(svg.attrib["viewBox"].split()[2])
        last = [
            it for it in svg.iter("{http://www.w3.org/2000/svg}text") if it.attrib["text-anchor"] == "middle"
        ]
        assert all(float(it.attrib["x"]) + 7 * len(it.text or "") / 2 <= width for it in last)


def test_the_heat_map_says_how_much_each_shade_is() -> None:
    for svg in drawings(heat_map({(1, 1): 2000, (2, 5): 1}, "x")):
        *_, a, b, c, d, e = [text for _, _, _, text in labels(svg)]
        assert [a, b, c, d, e] == ["0", "6", "44", "298", number(2000)]
    assert "in logarithmic shades" in report(evil_month())


def test_paper_is_no_telephone() -> None:
    """A4 is narrower than the width at which tables become lists."""
    assert "@media screen and (max-width:760px)" in STYLE and "@media (" not in STYLE
    assert re.search(r"@media print\{.*h2[^{]*\{break-after:avoid\}", STYLE, re.DOTALL)


@given(st.integers(0, 10**12))
def test_scales_end_above_what_they_show_in_even_whole_steps(value: int) -> None:
    top = round_up(value)
    ticks = ticks_to(top)
    assert value <= top <= max(1, 2 * value)
    assert (ticks[0], ticks[-1]) == (0, top) and len(ticks) <= 6
    assert len({after - before for before, after in pairwise(ticks)}) == 1


def test_a_few_are_told_from_none() -> None:
    assert shade(0, 100) != shade(1, 100) != shade(100, 100)
    assert (number(1234567), number(3.4), number(12.6)) == ("1\u202f234\u202f567", "3.4", "13")
    assert safe("a" * 300).endswith("…") and len(safe("a" * 300)) == 200
    assert WIDE > NARROW


def row(name: str) -> Row:
    return Row(name, dict.fromkeys(COUNTERS, 7), 1, Instant(AT), Instant(AT))


def evil_month() -> Month:
    change = Change(number=1, after=0, version="v", who=EVIL, at=Instant(AT), what=EVIL, note=EVIL, entries=1)
    return Month(
        name="2026-11",
        start=parse_instant("2026-11-01T00:00:00Z"),
        end=parse_instant("2026-12-01T00:00:00Z"),
        made_at=Instant(AT),
        days=30,
        days_in_month=30,
        thresholds=Thresholds(),
        scaled=Thresholds(),
        total=row(""),
        before=row(""),
        before_days=31,
        proposals=tuple(Proposal(kind, EVIL, EVIL, {EVIL: EVIL, "n": 3}, EVIL) for kind in KINDS),
        top=(row(EVIL),),
        names={EVIL: EVIL},
        refused=(Refused(row(EVIL), EVIL, ((EVIL, 3),)),),
        compared=(Compared(EVIL, "new", (1, 0), (1, 0), (1, 0)),),
        daily=tuple(Day(day, 1, 1, 1, {"rate": day, BY_MTA: 1}) for day in range(1, 31)),
        hourly=((1, 1, 5),),
        rules=(RuleCount("rate", EVIL, True, 1, 1, 1, 1),),
        warned=(Warned("zone", EVIL, "", 1, 0, 0, Instant(AT), EVIL),),
        changes=(change,),
        remarks=(EVIL,),
    )


class Tags(HTMLParser):
    """Every element and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = report(evil_month())
    found = Tags()
    found.feed(page)
    assert not found.tags & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "a",
        "base",
        "image",
    }
    assert not {name for name in found.attributes if name.startswith("on")}
    assert not found.attributes & {"src", "href", "action", "data", "style"}
    assert "@import" not in page and "url(" not in page
    assert (
        re.findall(r"https?://[^ \"<]*", page.replace("http://x", "")) == ["http://www.w3.org/2000/svg"] * 6
    )
    assert "\x1b" not in page and "\u202e" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_month_of_one_kind_has_its_section(kind: str) -> None:
    month = evil_month()
    some = tuple(replace(it, subject="192.0.2.7") for it in month.proposals if it.kind == kind) * 60
    page = report(replace(month, proposals=some))
    assert page.count(f'class="proposal {kind}"') < 60
    assert "goaway audit --csv" in page


def test_the_report_says_who_reads_the_note_of_a_block() -> None:
    page = report(evil_month())
    assert "The note of a block is part of the answer that the client is given" in page
    assert "have never delivered" not in page and "delivered nothing in this month" in page


def test_an_empty_month_says_so() -> None:
    month = replace(
        evil_month(), total=None, proposals=(), refused=(), rules=(), warned=(), changes=(), compared=()
    )
    page = report(month)
    assert "Nothing was seen" in page and "Nothing to propose" in page and "None on record" in page


def test_one_is_not_said_in_the_plural() -> None:
    counts = {**dict.fromkeys(COUNTERS, 0), "connections": 1, "messages": 1}
    shown = _lines(replace(evil_month(), total=replace(row(""), counts=counts)), 1)
    assert "1 client, 1 connection, 1 message, 0 refusals, 0 of them by Goaway" in shown


def test_all_together_are_named_as_in_statistics() -> None:
    found = month_json(evil_month())
    assert [found[name]["name"] for name in ("total", "before")] == [TOTAL, TOTAL] == ["total", "total"]
    assert found["top"][0]["name"] == EVIL

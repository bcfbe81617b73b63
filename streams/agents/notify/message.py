"""A message's words: a title, the totals first, then what is known in words, then names and counts. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from streams.agents.notify.notices import clock, lines_of, remedies_of
from streams.agents.notify.pool import Pool, Waiting

MAX_NAMED: Final = 40
"""Subjects that one message tells of in words."""
MAX_COUNTED: Final = 40
"""Subjects that one message gives a count of."""
MAX_BODY: Final = 20_000
"""Characters; whole lines are left out beyond it, never the totals."""

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "pipeline": ("notice about the pipeline", "notices about the pipeline"),
    "zone": ("notice about a zone", "notices about zones"),
    "partner": ("notice about a partner", "notices about partners"),
    "block": ("block", "blocks"),
    "limit": ("warning", "warnings"),
}


class Message(NamedTuple):
    """What goes out as one. `counts` is everything in it by topic, whether in words or as a number."""

    title: str
    body: str
    counts: Mapping[str, int]
    named: tuple[str, ...]
    """Subjects told of in words."""


def write_message(
    pools: Sequence[Pool], full: Collection[str], now: int, timezone: str, *, nobody: bool = False
) -> Message:
    """All that waits in these pools. Subjects in `full` (or, with `nobody`, all) are counted, not named."""
    zone = ZoneInfo(timezone)
    counts: Counter[str] = Counter()
    named: dict[str, Waiting] = {}
    counted: dict[str, int] = {}
    for pool in pools:
        counts.update(pool.counts)
        for subject, waiting in pool.subjects.items():
            wordless = nobody or subject in full or not waiting.worded or len(named) >= MAX_NAMED
            if wordless or subject in named:  # a partner may be a client as well
                counted[subject] = counted.get(subject, 0) + waiting.counts.total()
            else:
                named[subject] = waiting
    total = _totals(counts)
    head = [f"{total}, {clock(now, zone)}"]
    written, fitting = _fitting(named, zone, MAX_BODY - 4000)
    for subject in named.keys() - set(fitting):
        counted[subject] = counted.get(subject, 0) + named[subject].counts.total()
    tail = _counted_lines(counted, counts.total() - sum(named[s].counts.total() for s in fitting))
    names = ", ".join([*fitting[:3], *(["…"] if len(fitting) > 3 else [])])
    title = f"goaway: {total}" + (f" ({names})" if names else "")
    return Message(title, "\n".join([*head, *written, *tail]), dict(counts), tuple(fitting))


def _totals(counts: Mapping[str, int]) -> str:
    """`3 blocks, 1 warning`."""
    return ", ".join(
        f"{counts[topic]} {words[0] if counts[topic] == 1 else words[1]}"
        for topic, words in _WORDS.items()
        if counts.get(topic)
    )


def _fitting(named: Mapping[str, Waiting], zone: ZoneInfo, room: int) -> tuple[list[str], list[str]]:
    """The lines of as many subjects as there is room for, and who these are."""
    lines: list[str] = []
    fitting: list[str] = []
    for subject, waiting in named.items():
        own = _subject_lines(subject, waiting, zone)
        room -= sum(len(line) + 1 for line in own)
        if room < 0:
            break
        lines += own
        fitting.append(subject)
    return lines, fitting


def _subject_lines(subject: str, waiting: Waiting, zone: ZoneInfo) -> list[str]:
    lines = ["", subject]
    for notice in waiting.worded:
        lines += [f"  {line}" for line in lines_of(notice, zone)]
    more = waiting.counts - Counter(notice.about for notice in waiting.worded)
    if more:
        lines.append(f"  and {_totals(more)} more")
    remedies: dict[str, None] = {}
    for notice in waiting.worded:
        remedies |= dict.fromkeys(remedies_of(notice))
    return lines + [f"  {line}" for line in remedies]


def _counted_lines(counted: Mapping[str, int], rest: int) -> list[str]:
    """Names and counts of those not told of in words, the busiest first, and how many `rest` leaves over."""
    busiest = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MAX_COUNTED]
    lines = ["", "Only counted:"] if rest else []
    lines += [f"  {subject}: {count}" for subject, count in busiest]
    rest -= sum(count for _, count in busiest)
    if rest > 0:
        lines.append(f"  others: {rest}")
    return lines

"""What tuning found, as a page: the recommendation, the chart, the front, who is who by which evidence."""

from streams.model.instant import rfc3339
from streams.replay.legitimacy import Legitimacy
from streams.replay.observed import Observed
from streams.replay.page import heading, page, paragraph, table
from streams.replay.pareto_chart import legend, pareto_chart
from streams.replay.recommend import HEADROOM_PERCENT
from streams.replay.tuning import LONG_ENOUGH_S, Tuned, points
from streams.replay.weighing import Weighed

_CLIENTS = 25


def summary(tuned: Tuned) -> list[str]:
    """The recommendation in sentences, for the page and the terminal."""
    was, found = tuned.weighed[tuned.now], tuned.weighed[tuned.recommended]
    said = [
        f"Recommended: {tuned.settings[tuned.recommended].words}.",
        _did("With it:", found) + " " + _did("The limits of now:", was),
    ]
    said += [
        f"{it.rule} = {it.limit}: the busiest legitimate client, {it.client}, reached {it.peak}; "
        f"{HEADROOM_PERCENT} % headroom, rounded up."
        for it in tuned.busiest
    ]
    for network, of in tuned.networks.items():
        limits = ", ".join(f"{it.rule} {it.limit} (peak {it.peak} by {it.client})" for it in of)
        said.append(f"{network}{' (new entry)' if network in tuned.new_networks else ''}: {limits}.")
    return said


def cautions(tuned: Tuned) -> list[str]:
    """What to bear in mind before believing it."""
    said = []
    if tuned.silent:
        said.append(
            "Limits are in shadow, or suspended, in this policy: they are weighed as if they refused, now "
            "and recommended alike."
        )
    if tuned.span_s < LONG_ENOUGH_S:
        said.append(
            f"The history is {length(tuned.span_s)} long: a month-end, a newsletter or a new partner may be "
            "busier than anything it shows. Try the limits in shadow first."
        )
    hurt = tuned.weighed[tuned.recommended].hurt
    if hurt:
        said.append(f"Legitimate clients that would be blocked all the same: {', '.join(hurt)}.")
    return said


def tune_page(tuned: Tuned) -> str:
    """The page."""
    first, last = (rfc3339(it)[:16].replace("T", " ") for it in (tuned.first, tuned.last))
    sides = list(tuned.sides.values())
    parts = [
        paragraph(
            f"{first} to {last} UTC: {len(sides):,} clients, {sides.count('protected'):,} legitimate, "
            f"{sides.count('abusive'):,} abusive, {sides.count('unclear'):,} unclear. "
            f"{len(tuned.settings):,} settings, each decided as a replay of its own would.",
            kind="soft",
        ),
        *(paragraph(it, kind="big warn") for it in cautions(tuned)),
        *(paragraph(it, kind="big" if not place else "") for place, it in enumerate(summary(tuned))),
        heading("All settings"),
        *_charts(tuned),
        legend(),
        heading("The recommended setting, that of now, and those that no other beats"),
        table(
            (
                "setting",
                "abusive stopped",
                "legitimate hurt",
                "refused: abusive",
                "refused: legitimate",
                "refused: unclear",
                "blocks",
            ),
            (_setting_row(tuned, number) for number in outstanding(tuned)),
        ),
        heading("The busiest legitimate clients"),
        _clients(tuned, "protected"),
        heading("The busiest abusive clients"),
        _clients(tuned, "abusive"),
        heading("The busiest unclear clients"),
        _clients(tuned, "unclear"),
    ]
    return page("Limits, chosen on history", parts)


def _charts(tuned: Tuned) -> list[str]:
    """One for a wide screen and one for a narrow one, so that the letters of both can be read."""
    return [
        f'<figure class="{name}">'
        + pareto_chart(
            points(tuned),
            tuned.front,
            now=tuned.now,
            recommended=tuned.recommended,
            width=width,
            height=height,
        )
        + "</figure>"
        for name, width, height in (("large", 860, 400), ("small", 360, 300))
    ]


def outstanding(tuned: Tuned) -> list[int]:
    """The settings to show: the recommended one, that of now, and the front where it is at other points."""
    where, own = points(tuned), (tuned.recommended, tuned.now)
    rest = [it for it in tuned.front if where[it] not in {where[n] for n in own}]
    return list(dict.fromkeys([*own, *rest]))


def _setting_row(tuned: Tuned, number: int) -> tuple[object, ...]:
    found = tuned.weighed[number]
    mark = {tuned.now: "now: ", tuned.recommended: "recommended: "}.get(number, "")
    if tuned.now == tuned.recommended == number:
        mark = "now and recommended: "
    if tuned.beaten(number):
        mark += "(another stops more or hurts fewer) "
    refused = found.refused
    return (
        mark + tuned.settings[number].words,
        found.clients["abusive"],
        found.clients["protected"],
        refused["abusive"],
        refused["protected"],
        refused["unclear"],
        found.blocks,
    )


def _clients(tuned: Tuned, side: str) -> str:
    of = [it for it in tuned.peaks() if tuned.sides[it[0]] == side][:_CLIENTS]
    return table(
        ("client", "open", "connections/min", "requests/min", "connections", "messages", "points", "why"),
        (_client_row(*it) for it in of),
    )


def _client_row(client: str, seen: Observed, thought: Legitimacy) -> tuple[object, ...]:
    why = "; ".join(thought.reasons) or "nothing is known"
    return client, *seen.peaks, seen.connects, seen.messages, thought.score, why


def _did(opening: str, found: Weighed) -> str:
    refused = found.refused
    return (
        f"{opening} abusive clients stopped {found.clients['abusive']:,}, attempts of theirs refused "
        f"{refused['abusive']:,}; legitimate clients hurt {found.clients['protected']:,}, attempts of theirs "
        f"refused {refused['protected']:,}."
    )


def length(seconds: float) -> str:
    """How long a history is: `2.0 days`, `5.5 hours`, `14 minutes`."""
    for unit, name in ((86_400, "days"), (3600, "hours")):
        if seconds >= 1.95 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 60:.0f} minutes" if seconds >= 119 else f"{seconds:.0f} seconds"

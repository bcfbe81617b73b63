"""What tuning found, as a page: the recommendation, the chart, the front, who is who by which evidence."""

from streams.model.instant import rfc3339
from streams.replay.covered import short_history
from streams.replay.legitimacy import cut_short
from streams.replay.page import heading, page, paragraph
from streams.replay.pareto_chart import legend, pareto_chart
from streams.replay.recommend import HEADROOM_PERCENT, Busiest
from streams.replay.tune_tables import brief, clients_tables, every_setting, outstanding_table
from streams.replay.tuning import Tuned, points
from streams.replay.weighing import Side, Weighed


def summary(tuned: Tuned) -> list[str]:
    """The recommendation in sentences, for the page and the terminal."""
    was, found = tuned.weighed[tuned.now], tuned.weighed[tuned.recommended]
    said = [
        f"Recommended: {tuned.settings[tuned.recommended].words}.",
        _did("With it:", found) + " " + _did("The limits of now:", was),
    ]
    said += [
        f"{it.rule} = {it.limit}: the busiest legitimate client, {it.client}, reached {it.peak}; "
        f"{HEADROOM_PERCENT} % headroom, rounded up.{_without(it)}"
        for it in tuned.busiest
    ]
    for network, of in tuned.networks.items():
        limits = ", ".join(f"{it.rule} {it.limit} (peak {it.peak} by {it.client})" for it in of)
        said.append(f"{network}{' (new entry)' if network in tuned.new_networks else ''}: {limits}.")
    return said


def _without(it: Busiest) -> str:
    """What the limit would be if the busiest were none that counts, where that makes much of a difference."""
    if not it.alone or it.next_client is None:
        return ""
    return f" Without it {it.without}: the next busiest, {it.next_client}, reached {it.next_peak}."


def cautions(tuned: Tuned) -> list[str]:
    """What to bear in mind before believing it."""
    said = []
    if tuned.silent:
        said.append(
            "Limits are in shadow, or suspended, in this policy: they are weighed as if they refused, now "
            "and recommended alike."
        )
    if short := short_history(tuned.span_s, holes=tuned.covered.holes_us > 0):
        said.append(f"{short} Try the limits in shadow first.")
    if cut := cut_short(seen for seen, _ in tuned.clients.values()):
        said.append(cut)
    for it in tuned.lone:
        others = f"the next, {it.next_client}, {it.next_peak}" if it.next_client else "no other is known"
        without = it.without or getattr(tuned.before.limits, it.rule)
        said.append(
            f"{it.rule} would be raised to {it.limit} for everybody by {it.client} alone, which reached "
            f"{it.peak} ({others}): without it {without}. Look at its evidence, or give it a network entry."
        )
    found = tuned.weighed[tuned.recommended]
    if found.hurt:
        said.append(f"Legitimate clients that would be blocked all the same: {_named(found, 'legitimate')}.")
    if found.doubtful:
        said.append(
            "Clients that delivered mail, but are not legitimate by the evidence, would be blocked: "
            f"{_named(found, 'doubtful')}."
        )
    if unclear := found.clients["unclear"]:
        said.append(
            f"Clients of which too little is known would be blocked: {unclear:,}; attempts of theirs refused "
            f"{found.refused['unclear']:,}. Look at the busiest unclear clients."
        )
    return said


def _named(found: Weighed, side: Side) -> str:
    """The clients of a side that are blocked, as far as they are named."""
    named = found.named(side) or []
    more = found.clients[side] - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def tune_page(tuned: Tuned) -> str:
    """The page."""
    first, last = (rfc3339(it)[:16].replace("T", " ") for it in (tuned.first, tuned.last))
    sides = list(tuned.sides.values())
    parts = [
        paragraph(
            f"{first} to {last} UTC: {len(sides):,} clients, {sides.count('legitimate'):,} legitimate, "
            f"{sides.count('abusive'):,} abusive, {sides.count('unclear'):,} unclear, "
            f"{sides.count('doubtful'):,} doubtful (delivered, but not legitimate by the evidence). "
            f"{len(tuned.settings):,} settings, each decided as a replay of its own would.",
            kind="soft",
        ),
        *(paragraph(it, kind="big warn") for it in cautions(tuned)),
        *(paragraph(it, kind="big" if not place else "") for place, it in enumerate(summary(tuned))),
        heading("All settings"),
        *_charts(tuned),
        legend(),
        heading("The recommended setting, that of now, and those that no other beats"),
        outstanding_table(tuned),
        *clients_tables(tuned),
        *every_setting(tuned),
    ]
    return page("Limits, chosen on history", parts)


def _charts(tuned: Tuned) -> list[str]:
    """One for a wide screen and one for a narrow one, so that the letters of both can be read."""
    return [
        f'<figure class="{name}">'
        + pareto_chart(
            points(tuned),
            tuned.front,
            names=[brief(it) for it in tuned.settings],
            now=tuned.now,
            recommended=tuned.recommended,
            width=width,
            height=height,
        )
        + "</figure>"
        for name, width, height in (("large", 860, 400), ("small", 360, 300))
    ]


def _did(opening: str, found: Weighed) -> str:
    refused = found.refused
    return (
        f"{opening} abusive clients stopped {found.clients['abusive']:,}, attempts of theirs refused "
        f"{refused['abusive']:,}; legitimate clients hurt {found.clients['legitimate']:,}, attempts of "
        f"theirs refused {refused['legitimate']:,}{_others(found)}."
    )


def _others(found: Weighed) -> str:
    """Of the clients that count in neither, what was refused, where anything was."""
    sides: tuple[Side, ...] = ("doubtful", "unclear")
    return "".join(
        f"; {side} clients blocked {found.clients[side]:,}, attempts of theirs refused "
        f"{found.refused[side]:,}"
        for side in sides
        if found.clients[side]
    )

"""Tables of what tuning found: which settings, in which order, under which names; which clients."""

from typing import Final

from streams.model.client import Client
from streams.replay.legitimacy import Legitimacy
from streams.replay.observed import Observed
from streams.replay.page import heading, paragraph, table
from streams.replay.setting import RULES, Setting
from streams.replay.tuning import Tuned, points
from streams.replay.weighing import SIDES, Side

LISTED_CLIENTS: Final = 25
"""Clients of a side that the page lists, and `--json`; the busiest."""
_LISTED_SETTINGS: Final = 300
SHOWN_SIDES: Final[tuple[Side, ...]] = ("abusive", "legitimate", "doubtful", "unclear")
"""In the order in which tables of settings have them."""
_COUNTS: Final = (
    "abusive stopped",
    "refused: abusive",
    "legitimate hurt",
    "refused: legitimate",
    "doubtful blocked",
    "refused: doubtful",
    "unclear blocked",
    "refused: unclear",
)
Known = tuple[Client, Observed, Legitimacy]


def outstanding(tuned: Tuned) -> list[int]:
    """The settings to show: the recommended one, that of now, and the front where it is at other points."""
    where, own = points(tuned), (tuned.recommended, tuned.now)
    rest = [it for it in tuned.front if where[it] not in {where[n] for n in own}]
    return list(dict.fromkeys([*own, *rest]))


def ranked(tuned: Tuned) -> list[int]:
    """Every setting: those to show first, then the others, from the fewest legitimate clients hurt on."""

    def rank(number: int) -> tuple[int, ...]:
        found = tuned.weighed[number]
        hurt, stopped, doubtful = (found.clients[it] for it in ("legitimate", "abusive", "doubtful"))
        return hurt, -stopped, doubtful, found.refused["legitimate"], -found.refused["abusive"], number

    return list(dict.fromkeys([*outstanding(tuned), *sorted(range(len(tuned.settings)), key=rank)]))


def limits_of(it: Setting) -> str:
    """`3/4/4`: open, connections and requests a minute."""
    return "/".join(str(getattr(it, rule)) for rule in RULES)


def cool_down_of(it: Setting) -> str:
    """`60 s ×2`."""
    return f"{it.cool_down_s} s" + (f" ×{it.cool_down_growth:g}" if it.cool_down_growth > 1 else "")


def brief(it: Setting) -> str:
    """`3/4/4, 60 s ×2`."""
    return f"{limits_of(it)}, {cool_down_of(it)}"


def outstanding_table(tuned: Tuned) -> str:
    """The settings to show, in words."""
    rows = (
        (_mark(tuned, it) + tuned.settings[it].words, *_counts(tuned, it), tuned.weighed[it].blocks)
        for it in outstanding(tuned)
    )
    return table(("setting", *_COUNTS, "blocks"), rows)


def _mark(tuned: Tuned, number: int) -> str:
    mark = {tuned.now: "now: ", tuned.recommended: "recommended: "}.get(number, "")
    if tuned.now == tuned.recommended == number:
        mark = "now and recommended: "
    return mark + ("(another stops more or hurts fewer) " if tuned.beaten(number) else "")


def _counts(tuned: Tuned, number: int) -> list[int]:
    """As `_COUNTS` has them."""
    found = tuned.weighed[number]
    return [count for side in SHOWN_SIDES for count in (found.clients[side], found.refused[side])]


def every_setting(tuned: Tuned) -> list[str]:
    """What each setting would have done, as far as they fit."""
    numbers = ranked(tuned)
    more = len(numbers) - _LISTED_SETTINGS
    said = "Limits: open, connections and requests a minute. "
    said += f"{more:,} more settings, which do worse, are in --json." if more > 0 else ""
    names = ("limits", "cool-down", "no other beats it", *_COUNTS)
    return [
        heading("What each setting would have done"),
        paragraph(said.strip(), kind="soft"),
        table(names, (_brief_row(tuned, number) for number in numbers[:_LISTED_SETTINGS])),
    ]


def _brief_row(tuned: Tuned, number: int) -> tuple[object, ...]:
    it = tuned.settings[number]
    names = {"now": tuned.now, "recommended": tuned.recommended}
    own = ", ".join(name for name, of in names.items() if of == number)
    limits = limits_of(it) + (f" ({own})" if own else "")
    return limits, cool_down_of(it), "no" if tuned.beaten(number) else "yes", *_counts(tuned, number)


def busiest_clients(tuned: Tuned, most: int = LISTED_CLIENTS) -> dict[Side, list[Known]]:
    """Of each side the busiest clients, at most so many."""
    found: dict[Side, list[Known]] = {side: [] for side in SIDES}
    for it in tuned.peaks():
        of = found[tuned.sides[it[0]]]
        if len(of) < most:
            of.append(it)
    return found


def clients_tables(tuned: Tuned) -> list[str]:
    """The busiest of each side, with their evidence."""
    names = ("client", "open", "connections/min", "requests/min", "connections", "messages", "points", "why")
    parts = []
    for side, of in busiest_clients(tuned).items():
        said = ": they delivered, but are not legitimate by the evidence" if side == "doubtful" else ""
        parts.append(heading(f"The busiest {side} clients{said}"))
        parts.append(table(names, (_client_row(*it) for it in of)) if of else paragraph("None.", kind="soft"))
    return parts


def _client_row(client: Client, seen: Observed, thought: Legitimacy) -> tuple[object, ...]:
    why = "; ".join(thought.reasons) or "nothing is known"
    return client, *seen.peaks, seen.connects, seen.messages, thought.score, why

"""`goaway replay --compare`: two policies over one history, client by client."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from streams.cli.copies import warn_of_copies
from streams.cli.pages import check_page, write_page
from streams.cli.progress import shown
from streams.cli.replay_source import Asked
from streams.cli.tables import print_json, print_table, print_wrapped
from streams.errors import UsageError
from streams.model.instant import MICROSECONDS
from streams.replay.compare import Compared, Difference, compare, seconds
from streams.replay.compare_page import as_json as document
from streams.replay.compare_page import compare_page, first_of, in_words, moment, period, policies

_LINES = 20
_YEAR_US: Final = 300 * 86_400 * MICROSECONDS
"""Of a shorter history moments are shown without the year."""
_COLUMNS: Final = ("client", "under", "first UTC", "refused", "seconds", "mail")
"""`refused`, `seconds`: under A/under B; `mail`: messages that it delivered."""
_SPARE: Final = ("first UTC", "seconds")


def compare_policies(asked: Asked, names: tuple[str, str], *, html_file: Path | None, as_json: bool) -> int:
    """Exit code 1 where somebody is treated differently, or may be by what cannot be judged."""
    check_page(html_file)
    warn_of_copies(asked.files)
    a, b = (asked.judge(name) for name in names)
    if asked.clients(a).clients != asked.clients(b).clients:
        raise UsageError(
            f"{names[0][:64]} and {names[1][:64]} differ in [clients]: what one client is under A is another "
            "under B",
            try_next="the same [clients] in both",
        )
    with shown(asked, "compare"):
        found = compare(a, b, (event for batch in asked.judged(a, b) for event in batch.items))
    if not found.clients:
        raise asked.nothing()
    asked.say_counts()
    if html_file is not None:
        write_page(html_file, compare_page(found, names=names))
    if as_json:
        print_json({**document(found), "lines": asked.counts.facts()})
    else:
        _print(found, names)
    return int(not found.same)


def _print(found: Compared, names: Sequence[str]) -> None:
    for line in (policies(found, names), period(found), in_words(found)):
        print_wrapped(line)
    for it in found.unjudged:
        print_wrapped(f"note: {it.said}", hanging="  ", colour="yellow")
    for known, title in ((True, "Known legitimate senders"), (False, "Everybody else")):
        of = [it for it in found.differences if it.protected is known]
        if of:
            click.echo(f"\n{title} (refused attempts and seconds: A/B)")
            print_table(_COLUMNS, [_row(it, found) for it in of[:_LINES]], folded=1, spare=_SPARE)
            if len(of) > _LINES:
                click.echo(f"… and {len(of) - _LINES:,} more; --json and --html have them")


def _row(it: Difference, found: Compared) -> tuple[object, ...]:
    first = moment(first_of(it))
    return (
        it.client,
        it.where,
        first if found.last - found.first > _YEAR_US else first[5:],
        f"{it.a.attempts:,}/{it.b.attempts:,}",
        f"{seconds(it.a.blocked_us):,}/{seconds(it.b.blocked_us):,}",
        it.messages,
    )

"""What `goaway tune` found, on a terminal: who is who, what settings would have done, what is recommended."""

from typing import Final

import click

from streams.cli.tables import cell, print_table, print_wrapped
from streams.replay.covered import length
from streams.replay.tune_page import cautions, summary
from streams.replay.tune_tables import (
    SHOWN_SIDES,
    Known,
    busiest_clients,
    cool_down_of,
    limits_of,
    outstanding,
    ranked,
)
from streams.replay.tuning import Tuned

_CLIENTS: Final = 8
_SETTINGS: Final = 100


def print_tuned(tuned: Tuned, *, every: bool) -> None:
    """Who is who, the settings that matter (`every`: all, at most 100), the recommendation."""
    sides = list(tuned.sides.values())
    print_wrapped(
        f"{len(sides):,} clients in {length(tuned.span_s)}: {sides.count('legitimate'):,} "
        f"legitimate, {sides.count('abusive'):,} abusive, {sides.count('unclear'):,} unclear, "
        f"{sides.count('doubtful'):,} doubtful (delivered, but not legitimate by the evidence); "
        f"{len(tuned.settings):,} settings"
    )
    for side, of in busiest_clients(tuned, _CLIENTS).items():
        if of:
            click.echo()
            print_wrapped(f"The busiest {side} clients; at most open, connections and requests a minute:")
        for known in of:
            _print_client(*known)
    click.echo()
    _print_settings(tuned, every=every)
    click.echo()
    for line in cautions(tuned):
        print_wrapped(f"note: {line}", hanging="  ", colour="yellow")
    for line in summary(tuned):
        print_wrapped(line, hanging="  ")


def _print_client(*known: *Known) -> None:
    client, seen, thought = known
    peaks = " ".join(f"{it:>4}" for it in seen.peaks)
    click.echo(f"  {client:<24}{peaks}  {thought.score:+4d} points")
    why = "; ".join(thought.reasons) or "nothing is known"
    print_wrapped(cell(why, 300), indent="      ")


def _print_settings(tuned: Tuned, *, every: bool) -> None:
    """Limits and cool-down of each, and of each side how many clients it blocks."""
    print_wrapped("Settings (recommended *, now =; -: another stops more or hurts fewer)")
    print_wrapped("Clients blocked, and in brackets attempts of theirs refused:")
    numbers = ranked(tuned) if every else outstanding(tuned)
    print_table(
        ("   limits", "cool-down", "stopped", "hurt", "doubtful", "unclear"),
        [_row(tuned, number) for number in numbers[:_SETTINGS]],
    )
    left_out = len(tuned.settings) - len(numbers[:_SETTINGS])
    if left_out:
        click.echo(f"and {left_out:,} more; --json has all, --html as a table")


def _row(tuned: Tuned, number: int) -> tuple[str, ...]:
    it, found = tuned.settings[number], tuned.weighed[number]
    mark = ("*" if number == tuned.recommended else "") + ("=" if number == tuned.now else "")
    mark += "-" if tuned.beaten(number) else ""
    blocked = [(found.clients[side], found.refused[side]) for side in SHOWN_SIDES]
    counts = [f"{clients:,} ({refused:,})" if clients else "0" for clients, refused in blocked]
    return (f"{mark:<3}{limits_of(it)}", cool_down_of(it), *counts)

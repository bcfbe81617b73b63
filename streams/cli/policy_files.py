"""The commands that read a file into the policy on Kafka: a whole policy, or rows of addresses."""

import json
from collections import Counter
from pathlib import Path
from typing import Final, Unpack

import click

from streams.cli.options import now
from streams.cli.policy_change import (
    Attempt,
    carry_out,
    confirmed,
    in_force,
    print_notes,
    print_words,
    shortened,
)
from streams.cli.policy_csv import KINDS, read_rows
from streams.cli.policy_edits import applied, imported
from streams.cli.policy_guards import ask, holds_everybody, takes_out_most, will_restart_option, yes_option
from streams.cli.policy_options import (
    ChangeFlags,
    Changing,
    change_options,
    changing,
    content_of_file,
    entries_of_whole,
)
from streams.wire.policy_entries import Entries

MAX_CSV_BYTES: Final = 64 * 1024 * 1024

_FILE = click.argument("file", type=click.Path(path_type=Path, allow_dash=True))


@click.command()
@_FILE
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@yes_option
@will_restart_option
@change_options
def apply(file: Path, dry_run: bool, yes: bool, will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Make FILE the policy in force, after saying what differs.

    Asks on a terminal unless told --yes; elsewhere it acts, as a script wants, unless most of the entries in
    force would go. What FILE does not name is taken out, except suspensions: those end by themselves.
    """
    by = changing(flags)
    whole = entries_of_whole(file)

    def edit(entries: Entries) -> Entries:
        return applied(entries, whole)

    number, before = in_force(by)
    attempt = Attempt(edit, before, before, will_restart or dry_run)
    attempt(before)
    if dry_run:
        _say_what_would_change(by, attempt, number)
        return
    if grave := takes_out_most(before, attempt.after):
        ask(by, grave, yes=yes, words=shortened(attempt.words))
    elif attempt.words and not confirmed(by, attempt, yes=yes):
        click.echo("nothing was changed")
        raise click.exceptions.Exit(1)
    carry_out(by, edit, f"apply {file}"[:256], whole=True, will_restart=will_restart)


def _say_what_would_change(by: Changing, attempt: Attempt, number: int) -> None:
    words = attempt.words
    if by.as_json:
        found = {"change": None, "after": number, "kafka": by.kafka.bootstrap, "differences": words}
        click.echo(json.dumps({**found, "remarks": attempt.new_remarks}))
        return
    print_words(words)
    print_notes(attempt.new_remarks)
    click.echo(f"{len(words) or 'no'} differences; nothing was changed")


@click.command("import")
@_FILE
@click.option(
    "--as",
    "kind",
    type=click.Choice(KINDS),
    default="exempt:rate",
    show_default=True,
    help="What a row becomes where the file has no column for it.",
)
@yes_option
@change_options
def import_csv(file: Path, kind: str, yes: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Take in FILE.csv, rows of address,note: all of it, or nothing where a row is bad (exit code 3)."""
    by = changing(flags)
    rows = read_rows(content_of_file(file, most=MAX_CSV_BYTES), file=str(file), at=now())
    counted = Counter(row.kind or kind for row in rows)
    kinds = ", ".join(f"{counted[known]:,} as {known}" for known in KINDS if counted[known])
    for known in sorted(counted):
        found = [row.network for row in rows if (row.kind or kind) == known]
        ask(by, holds_everybody(found, f"rows of {file} make it {known}"), yes=yes)
    carry_out(
        by,
        lambda entries: imported(entries, rows, kind, note=by.note, by=by.by),
        f"import {file}: {kinds}"[:256],
        done=[f"rows of {file}: {kinds}"],
    )

"""The commands that change the policy on Kafka; `goaway policy …` and, for the frequent ones, `goaway …`."""

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
    say,
    shortened,
)
from streams.cli.policy_csv import KINDS, read_rows
from streams.cli.policy_edits import (
    allowed,
    applied,
    denied,
    entry_and_key,
    exempted,
    imported,
    networks,
    removed,
    resumed,
    row_of,
    suspended,
    with_value,
)
from streams.cli.policy_guards import (
    ask,
    check_clients,
    holds_everybody,
    takes_out_most,
    will_restart_option,
    yes_option,
)
from streams.cli.policy_options import (
    ChangeFlags,
    Changing,
    change_options,
    changing,
    content_of_file,
    entries_of_whole,
    expires_option,
    expiry,
)
from streams.cli.policy_when import span_s
from streams.errors import UsageError
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.policy import MODULES, Module
from streams.policy_writer import undo_change
from streams.wire.policy_entries import Entries

MAX_CSV_BYTES: Final = 64 * 1024 * 1024

_MODULE = click.argument("module", type=click.Choice(MODULES))
_MODULES = click.argument("modules", nargs=-1, required=True, type=click.Choice(MODULES))
_ADDRESSES = click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS|CIDR...")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
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


@click.command("set", context_settings={"ignore_unknown_options": True})  # a VALUE may begin with -
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE...")
@will_restart_option
@change_options
def set_value(pairs: tuple[str, ...], will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Set KEY to VALUE: limits.requests_per_minute 40, networks.192.0.2.0/24.concurrent_connections 50.

    Several pairs are one change. VALUE is written as in the policy file; default takes the key back to what
    it is by itself.
    """
    by, given = changing(flags), list(zip(pairs[::2], pairs[1::2], strict=False))
    if len(pairs) % 2:
        raise UsageError(f"{pairs[-1][:99]!r} has no value", try_next="goaway policy set KEY VALUE KEY VALUE")
    named = [(*entry_and_key(key), value) for key, value in given]

    def edit(entries: Entries) -> Entries:
        for key, value in given:
            entries = with_value(entries, key, value)
        return entries

    what = ", ".join(f"{entry}.{name} {value}" for entry, name, value in named)
    carry_out(by, edit, f"set {what}"[:256], will_restart=will_restart)


@click.command()
@_ADDRESSES
@expires_option
@yes_option
@change_options
def allow(addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Have every module let ADDRESS alone: rate, dnsbl, greylist, protocol. A block of just it is removed."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, "no module would judge anybody"), yes=yes)
    carry_out(by, lambda entries: allowed(entries, found, row), f"allow {_few(addresses)}")


@click.command()
@_ADDRESSES
@expires_option
@yes_option
@change_options
def deny(addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Refuse ADDRESS, whatever else is said of it; --note becomes part of the answer."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, "everybody would be refused, exempt or not"), yes=yes)
    carry_out(by, lambda entries: denied(entries, found, row), f"deny {_few(addresses)}")


@click.command()
@_MODULE
@_ADDRESSES
@expires_option
@yes_option
@change_options
def exempt(
    module: Module, addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]
) -> None:
    """Have one MODULE let ADDRESS alone; the others still judge it."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, f"{module} would judge nobody"), yes=yes)
    carry_out(
        by, lambda entries: exempted(entries, (module,), found, row), f"exempt {module} {_few(addresses)}"
    )


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@will_restart_option
@change_options
def remove(keys: tuple[str, ...], will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Take entries out: blocks/192.0.2.7, exempt/rate/198.51.100.0/24; limits goes back to its defaults."""
    carry_out(
        changing(flags),
        lambda entries: removed(entries, keys),
        f"remove {_few(keys)}",
        will_restart=will_restart,
    )


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
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


@click.command()
@_MODULES
@click.option(
    "--for", "span", metavar="SPAN", default="10m", show_default=True, help="How long: 10m, 1h30m, 2d."
)
@change_options
def suspend(modules: tuple[Module, ...], span: str, **flags: Unpack[ChangeFlags]) -> None:
    """Have MODULE judge nobody for a while; it comes back by itself."""
    by = changing(flags)
    names = " ".join(modules)
    until = Instant(now() + span_s(span, flag="--for") * MICROSECONDS)
    carry_out(
        by,
        lambda entries: suspended(entries, modules, until=until, note=by.note, by=by.by),
        f"suspend {names} for {span}",
        done=[f"It comes back by itself at {rfc3339(until)}; before that: goaway resume {names}"],
    )


@click.command()
@_MODULES
@change_options
def resume(modules: tuple[Module, ...], **flags: Unpack[ChangeFlags]) -> None:
    """End the suspension of MODULE at once."""
    carry_out(changing(flags), lambda entries: resumed(entries, modules), f"resume {' '.join(modules)}")


@click.command()
@click.argument("number", type=click.IntRange(1))
@will_restart_option
@change_options
def undo(number: int, will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Take change NUMBER back: its entries become what they were before it.

    What a later change did to the same entries is never lost: then nothing is changed, and that is said. The
    first change is what the policy on Kafka began with, and stays.
    """
    by = changing(flags)
    _, before = in_force(by)
    check = None if will_restart else check_clients
    change = undo_change(by.kafka, number, who=by.by, note=by.note, check=check)
    _, after = in_force(by)
    say(by, Attempt(dict, before, after), change)


def _few(texts: tuple[str, ...]) -> str:
    """The first few, for the record of what was done."""
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return (" ".join(texts[:5]) + more)[:256]


COMMANDS: Final = (
    *(apply, set_value, allow, deny, exempt, remove, import_csv),
    *(suspend, resume, undo),
)
"""All of them, in the order of `goaway policy --help`."""

"""`goaway policy`: look at it, keep it, change it."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from streams.cli import clients, policy_commands
from streams.cli.options import data_option, now, policy_option
from streams.cli.policy_csv import Row, write_rows
from streams.cli.policy_options import entries_of_file, text_of_file
from streams.cli.policy_when import moment
from streams.cli.reach import reach
from streams.errors import PolicyError
from streams.model.instant import rfc3339
from streams.model.policy import Block, Exemption
from streams.wire.policy_document import CHECK
from streams.wire.policy_entries import Entries, entries_of, policy_of, toml_of
from streams.wire.policy_log import Change
from streams.wire.policy_remarks import doubled, folded, remarks
from streams.wire.policy_toml import write_policy


@click.group()
def policy() -> None:
    """Look at the policy, change it, see who changed it."""


for _command in (*policy_commands.COMMANDS, clients.unblock, clients.forget):
    policy.add_command(_command)

_FILE: Final = click.argument("file", required=False, type=click.Path(path_type=Path), envvar="GOAWAY_POLICY")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@policy.command()
@_FILE
@_JSON
def check(file: Path | None, as_json: bool) -> None:
    """Read FILE and say what in it has no effect or is a likely mistake. Exit code 3: it cannot be used."""
    name, text = str(file or "the defaults"), "" if file is None else text_of_file(file)
    try:
        found = policy_of(entries_of(text, file=name), place=name)
    except PolicyError as error:
        if not error.try_next.startswith(CHECK):
            raise
        raise PolicyError(error.what, try_next=f"mend it, then {CHECK} {quote(name)}") from error
    notes = [*doubled(text, file=name), *remarks(found, now())]
    if as_json:
        click.echo(json.dumps({"version": found.version, "remarks": notes}))
        return
    for note in folded(notes):
        click.secho(f"note: {note}", fg="yellow")
    click.echo(
        f"{name}: good. Version {found.version}: {len(found.networks)} networks, "
        f"{len(found.exemptions)} exemptions, {len(found.blocks)} blocks, {len(found.zones)} zones"
    )


@policy.command()
@_FILE
@click.option("--live", is_flag=True, help="The policy in force on Kafka instead of a file.")
@click.option("--keys", is_flag=True, help="Only the keys of its entries, as remove and set take them.")
@_JSON
@data_option
def show(file: Path | None, live: bool, keys: bool, as_json: bool, data: Path) -> None:
    """Print the whole policy with every default filled in: that of FILE, or the one in force."""
    number, entries = _in_force(data, file) if live else (0, entries_of_file(file))
    if keys:
        click.echo(json.dumps(sorted(entries)) if as_json else "\n".join(sorted(entries)))
        return
    found = policy_of(entries)
    written = write_policy(found)
    if as_json:
        content = tomllib.loads(written)
        head = {"version": found.version, **({"change": number} if live else {})}
        click.echo(json.dumps({**head, **content}, default=lambda it: it.isoformat()))
        return
    change = f", change {number}" if live else ""
    click.echo(f"# version {found.version}{change}\n{written}", nl=False)


@policy.command()
@click.option(
    "--csv", "as_csv", is_flag=True, help="Exemptions and blocks as CSV, as policy import reads them."
)
@data_option
@policy_option
def export(as_csv: bool, data: Path, policy_file: Path | None) -> None:
    """Print the policy in force as a policy file: what differs from the defaults."""
    _, entries = _in_force(data, policy_file)
    click.echo(_csv(entries, now()) if as_csv else toml_of(entries), nl=False)


def _csv(entries: Entries, at: int) -> str:
    """Exemptions and blocks that count; those that are expired, which no import takes, are said."""
    found = policy_of(entries)
    listed: list[Exemption | Block] = [*found.exemptions, *found.blocks]
    standing = [it for it in listed if it.expires is None or at < it.expires]
    if expired := len(listed) - len(standing):
        click.echo(f"{expired:,} expired entries are left out", err=True)

    def row(entry: Exemption | Block, kind: str) -> Row:
        return Row(0, entry.network, entry.note, kind, entry.expires, entry.by)

    return write_rows(row(it, "deny" if isinstance(it, Block) else f"exempt:{it.module}") for it in standing)


def _in_force(data: Path, base: Path | None) -> tuple[int, Entries]:
    from streams.cli.policy_change import in_force_at

    return in_force_at(reach(data).kafka, base)


@policy.command()
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many at most."
)
@click.option("--since", metavar="TIME", help="None before: 7d, 2026-12-31 or 2026-12-31T18:00:00Z.")
@_JSON
@data_option
def log(limit: int, since: str | None, as_json: bool, data: Path) -> None:
    """Who changed the policy, when, what and why: the latest first, from ClickHouse."""
    from streams.audit.policy_history import changes

    start = None if since is None else moment(since, now(), flag="--since", past=True)
    found = changes(reach(data).clickhouse, limit=limit, since=start)
    if as_json:
        click.echo(json.dumps([_change(one) for one in found]))
        return
    nothing = "no change yet" if start is None else f"no change since {rfc3339(start)}"
    Console().print(_changes_table(found) if found else nothing, highlight=False)


def _change(change: Change) -> dict[str, Any]:
    return {
        "change": change.number,
        "at": rfc3339(change.at),
        "who": change.who,
        "what": change.what,
        "note": change.note,
        "entries": change.entries,
        "after": change.after,
        "version": change.version,
    }


def _changes_table(found: Sequence[Change]) -> Table:
    table = Table("at (UTC)", "change", "who", "what", "note", "entries", box=None, header_style="bold")
    for one in found:
        at = rfc3339(one.at)[:19].replace("T", " ")
        cells = (at, str(one.number), one.who, one.what, one.note, str(one.entries))
        table.add_row(*(_plain(cell) for cell in cells))
    return table


def _plain(text: str) -> str:
    """A text of somebody else's for the screen: no mark-up, no control characters."""
    from rich.markup import escape

    return escape("".join(letter if letter.isprintable() else "?" for letter in text))


@policy.command()
@click.argument("time")
@_JSON
@data_option
def at(time: str, as_json: bool, data: Path) -> None:
    """Print the policy as it was at TIME, as a policy file, from ClickHouse.

    TIME is 2h (ago), 2026-12-31 or 2026-12-31T18:00:00Z. Exit code 3: no policy is on record for then.
    """
    from streams.audit.policy_history import entries_at

    when = moment(time, now(), flag="TIME", past=True)
    entries = entries_at(reach(data).clickhouse, when)
    if not entries:
        raise PolicyError(
            f"no policy is on record for {rfc3339(when)}: the stages had a --policy file or the defaults",
            try_next="goaway policy log --limit 1000, for the first change",
        )
    if as_json:
        click.echo(json.dumps({"at": rfc3339(when), "entries": entries}))
        return
    click.echo(f"# as of {rfc3339(when)}, version {policy_of(entries).version}\n{toml_of(entries)}", nl=False)

"""Changes of the policy that are made only where somebody says so: what is grave about them, and the flag."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

import click

from streams.cli.policy_options import Changing
from streams.errors import GoawayError, UsageError
from streams.model.client import ClientPrefixes, Network
from streams.wire.policy_entries import Entries
from streams.wire.policy_keys import value_of
from streams.wire.policy_values import RowError

WILL_RESTART: Final = "--will-restart-stages"
FEWEST_TAKEN_OUT: Final = 5
"""Entries: a file that takes out fewer is not asked about, whatever their share."""

_RESTART: Final = (
    "ship, worker and shim must agree on [clients], and until all are restarted every event is a dead letter"
)

will_restart_option = click.option(
    WILL_RESTART,
    "will_restart",
    is_flag=True,
    help="Change [clients] too: you restart ship, worker and shim right after.",
)
"""`--will-restart-stages`"""

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
"""`--yes`"""


def clients_changed(before: Entries, after: Entries) -> str:
    """`ipv4_prefix 32 → 24`; empty where every client keeps its key, or what is wanted is none."""
    try:
        old, new = (_prefixes(entries) for entries in (before, after))
    except RowError:
        return ""  # said of the policy as a whole
    changed = [
        f"{name} {was} → {becomes}"
        for name, was, becomes in (
            ("ipv4_prefix", old.ipv4, new.ipv4),
            ("ipv6_prefix", old.ipv6, new.ipv6),
        )
        if was != becomes
    ]
    return ", ".join(changed)


def _prefixes(entries: Entries) -> ClientPrefixes:
    found = value_of("clients", entries.get("clients", {}))
    assert isinstance(found, ClientPrefixes)
    return found


def check_clients(before: Entries, after: Entries) -> None:
    """`UsageError` where clients would get other keys than those that the running stages give them."""
    if changed := clients_changed(before, after):
        raise UsageError(
            f"[clients] would change ({changed}): {_RESTART}",
            try_next="write it under [clients] of the --policy file that ship (or goaway up) starts with, "
            f"then the same command with {WILL_RESTART}, then restart ship, worker and shim (or goaway up)",
        )


def restart_remark(before: Entries, after: Entries) -> list[str]:
    """What is to be done at once after a change of `[clients]`; nothing where there is none."""
    if not clients_changed(before, after):
        return []
    return [
        "restart ship, worker and shim (or goaway up) now, with a --policy file whose [clients] says the "
        f"same: {_RESTART}"
    ]


def takes_out_most(before: Entries, after: Entries) -> str:
    """What is grave about a whole policy that lacks most of what is in force; empty where it does not."""
    gone = sum(key not in after for key in before)
    if gone < FEWEST_TAKEN_OUT or 2 * gone <= len(before):
        return ""
    return f"{gone:,} of the {len(before):,} entries in force would be taken out"


def holds_everybody(networks: Iterable[Network], what: str) -> str:
    """What is grave about `0.0.0.0/0` and `::/0`; empty where neither is among them."""
    found = {network.version: str(network) for network in networks if not network.prefixlen}
    if not found:
        return ""
    named = " and ".join(found[version] for version in sorted(found))
    return (
        f"{named} {f'is every IPv{min(found)} address' if len(found) == 1 else 'are every address'}: {what}"
    )


def ask(changing: Changing, grave: str, *, yes: bool, words: Sequence[str] = ()) -> None:
    """Go on where nothing is grave, or somebody says yes to it; `GoawayError` where nobody can be asked.

    `words` are shown before the question. Exit code 1 where the answer is no.
    """
    if yes or not grave:
        return
    if changing.as_json or not sys.stdin.isatty():
        raise GoawayError(
            f"{grave}; nobody is there to be asked, so nothing was changed", try_next="the same with --yes"
        )
    for line in words:
        click.echo(line)
    click.secho(f"{grave}.", fg="yellow")
    if not click.confirm("Go on?", default=False):
        click.echo("nothing was changed")
        raise click.exceptions.Exit(1)

"""What `goaway tune --apply` does: the change as it would be, made where somebody says so."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from streams.cli.policy_change import Attempt, Edit, carry_out, in_force, print_document, print_words
from streams.cli.policy_names import AS_WAS, DEFAULTS, NOW
from streams.cli.policy_options import Changing, changing
from streams.cli.replay_source import Asked
from streams.errors import UsageError
from streams.model.client import parse_network
from streams.replay.setting import Setting, setting_of
from streams.replay.tune_page import length
from streams.replay.tuning import Tuned
from streams.wire.policy_entries import Entries, canonical
from streams.wire.policy_keys import network_key

_DAY_S: Final = 86_400


def changing_by(asked: Asked, *, note: str, by: str, as_json: bool) -> Changing:
    """Who changes what; `UsageError` where what was asked for is not what is in force."""
    if asked.policy_name in (AS_WAS, DEFAULTS):
        raise UsageError(
            f"--apply weighs the policy in force, since that is what it changes, and not {asked.policy_name}",
            try_next="goaway tune … --policy now --apply",
        )
    file = None if asked.policy_name in ("", NOW) else Path(asked.policy_name)
    return changing({"note": note, "by": by, "data": asked.data, "policy_file": file, "as_json": as_json})


def apply(
    tuned: Tuned,
    change: Changing,
    *,
    shows: Callable[[Tuned], None],
    yes: bool,
    short_history: bool,
    what: str,
) -> None:
    """Change the policy to what is recommended; exit code 1 where nobody said yes, or the history is shorter
    than a day and nobody said that this will do. `shows` prints what was found."""
    edit = _edit(tuned)
    attempt = Attempt(edit, in_force(change)[1], {})
    attempt(dict(attempt.before))
    short = "" if short_history or tuned.span_s >= _DAY_S else f"the history is {length(tuned.span_s)} long"
    goes = bool(attempt.words) and yes and not short
    if not change.as_json:
        shows(tuned)
        click.echo()
        if not goes:
            print_words(attempt.words or ["nothing to change: the policy says so already"])
    if not attempt.words:
        if change.as_json:
            print_document(change, attempt, None)
        return
    if not goes and (change.as_json or not sys.stdin.isatty() or not _confirmed(short)):
        if change.as_json:
            print_document(change, attempt, None)
        flags = " ".join([*(() if yes else ("--yes",)), *(("--short-history",) if short else ())])
        because = f": {short}, less than a day" if short else ""
        click.echo(f"nothing was changed{because}; {flags} applies it without asking", err=True)
        raise click.exceptions.Exit(1)
    carry_out(change, edit, what)


def _confirmed(short: str) -> bool:
    said = f"{short.capitalize()}, less than a day: busier times are not in it. " if short else ""
    return click.confirm(f"{said}Apply this?", default=False, err=True)


def _edit(tuned: Tuned) -> Edit:
    """What `--apply` does to the entries: the keys that the recommendation changes, and no others.

    Networks that wrote out the same value as `[limits]` follow it, as they did when it was weighed.
    """
    was, becomes = setting_of(tuned.before.limits), setting_of(tuned.after.limits)
    changed = {
        name: (getattr(was, name), getattr(becomes, name))
        for name in Setting.__struct_fields__
        if getattr(was, name) != getattr(becomes, name)
    }
    names = {str(it.network): it.name for it in tuned.after.networks}

    def edit(entries: Entries) -> Entries:
        after = {key: dict(row) for key, row in entries.items()}
        limits = after.setdefault("limits", {})
        limits.update({name: new for name, (_, new) in changed.items()})
        for key, row in after.items():
            if key.startswith("networks/"):
                row.update({name: new for name, (old, new) in changed.items() if row.get(name) == old})
        for network, of in tuned.networks.items():
            row = after.setdefault(network_key(parse_network(network)), {"name": names[network]})
            row.update({it.rule: it.limit for it in of})
        return canonical(after)

    return edit

"""What `goaway tune --apply` does: the change as it would be, made where somebody says so."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from streams.cli.policy_change import Attempt, Edit, document, in_force, make, print_words, say
from streams.cli.policy_names import AS_WAS, DEFAULTS, NOW
from streams.cli.policy_options import Changing, changing
from streams.cli.replay_source import Asked
from streams.errors import PolicyError, UsageError
from streams.replay.covered import length
from streams.replay.setting import Setting, setting_of
from streams.replay.tuning import Tuned
from streams.wire.policy_entries import Entries, canonical, policy_of
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


@dataclass(frozen=True, slots=True)
class Allowed:
    """What `--apply` may do without asking."""

    yes: bool
    short_history: bool
    lone_client: bool

    def held_back(self, tuned: Tuned) -> dict[str, str]:
        """Flag that lets it go on → why a yes alone does not."""
        found = {}
        if tuned.span_s < _DAY_S and not self.short_history:
            found["--short-history"] = f"the history is {length(tuned.span_s)} long, less than a day"
        if tuned.lone and not self.lone_client:
            raised = (f"{it.rule} would be raised to {it.limit} by {it.client} alone" for it in tuned.lone)
            found["--lone-client"] = ", ".join(raised)
        return found


def apply(
    tuned: Tuned, change: Changing, *, findings: Mapping[str, object], allowed: Allowed, what: str
) -> None:
    """Change the policy to what is recommended; exit code 1 where nobody said yes, or something holds a yes
    back and nobody said that this will do. As JSON the answer has `findings`, too. `PolicyError` where the
    policy is not the one that was weighed any more."""
    edit = _edit(tuned)
    attempt = Attempt(edit, in_force(change)[1], {})
    attempt(dict(attempt.before))
    held = allowed.held_back(tuned)
    goes = bool(attempt.words) and allowed.yes and not held
    if not change.as_json:
        click.echo()
        if not goes:
            print_words(attempt.words or ["nothing to change: the policy says so already"])
    if not goes and (not attempt.words or change.as_json or not _confirmed(held)):
        if change.as_json:
            click.echo(json.dumps({**findings, **document(change, attempt, None)}))
        if not attempt.words:
            return
        flags = " ".join([*(() if allowed.yes else ("--yes",)), *held])
        because = f": {'; '.join(held.values())}" if held else ""
        click.echo(f"nothing was changed{because}; {flags} applies it without asking", err=True)
        raise click.exceptions.Exit(1)
    attempt, made = make(change, edit, what)
    if change.as_json:
        click.echo(json.dumps({**findings, **document(change, attempt, made)}))
    else:
        say(change, attempt, made)


def _confirmed(held: Mapping[str, str]) -> bool:
    """Whether a person says yes; no where none is there."""
    if not sys.stdin.isatty():
        return False
    but = f"But {'; '.join(held.values())}. Apply this all the same?" if held else "Apply this?"
    return click.confirm(but, default=False, err=True)


def _edit(tuned: Tuned) -> Edit:
    """What `--apply` does to the entries: the keys that the recommendation changes, and no others, so that
    they say what was weighed. A network's key that is not written follows `[limits]` on its own. Of entries
    that are not those weighed nobody knows what it would do: `PolicyError`."""
    was, becomes = setting_of(tuned.before.limits), setting_of(tuned.after.limits)
    changed = [it for it in Setting.__struct_fields__ if getattr(was, it) != getattr(becomes, it)]

    def edit(entries: Entries) -> Entries:
        if policy_of(entries).version != tuned.before.version:
            raise PolicyError(
                "the policy was changed while this was weighed", try_next="the same command again"
            )
        after = {key: dict(row) for key, row in entries.items()}
        limits = after.setdefault("limits", {})
        limits.update({name: getattr(becomes, name) for name in changed})
        for rule in tuned.after.networks:
            network, key = str(rule.network), network_key(rule.network)
            if network in tuned.new_networks:
                after.setdefault(key, {"name": rule.name})
            for name in (*changed, *(it.rule for it in tuned.networks.get(network, ()))):
                wanted = getattr(rule.limits, name)
                if key in after and after[key].get(name, getattr(becomes, name)) != wanted:
                    after[key][name] = wanted
        return canonical(after)

    return edit

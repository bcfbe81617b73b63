"""A change of the policy as a command makes it: the difference in words, the change, how to take it back."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from streams.cli.options import now
from streams.cli.policy_guards import check_clients, restart_remark
from streams.cli.policy_options import Changing, entries_of_file
from streams.config import KafkaSettings
from streams.policy_writer import change_policy, read_policy_log
from streams.wire.policy_entries import Entries, policy_of
from streams.wire.policy_log import Change
from streams.wire.policy_remarks import folded, remarks
from streams.wire.policy_words import differences

Edit = Callable[[Entries], Entries]

SHOWN_LINES: Final = 20
"""Lines of a difference on the screen; `--json` has all of them."""
SHOWN_NOTES: Final = 10
"""Notes on the screen, likewise."""


@dataclass(slots=True)
class Attempt:
    """An edit that remembers what it was given last and what it made of it."""

    edit: Edit
    before: Entries
    after: Entries
    will_restart: bool = False
    """Whether `[clients]` may change: somebody restarts the stages."""

    def __call__(self, entries: Entries) -> Entries:
        self.before = dict(entries) or self.before
        self.after = self.edit(entries)
        if not self.will_restart:
            check_clients(self.before, self.after)
        return self.after

    @property
    def words(self) -> list[str]:
        """The difference."""
        return differences(self.before, self.after)

    @property
    def new_remarks(self) -> list[str]:
        """What should be said of the policy now, and was not to be said before."""
        at = now()
        known = set(remarks(policy_of(self.before), at))
        new = [remark for remark in remarks(policy_of(self.after), at) if remark not in known]
        return [*restart_remark(self.before, self.after), *new]


def carry_out(
    changing: Changing,
    edit: Edit,
    what: str,
    *,
    whole: bool = False,
    will_restart: bool = False,
    done: Sequence[str] = (),
) -> Change | None:
    """Make the change and say what it did. `whole`: it is written also where it says what the base says.

    `will_restart` allows another `[clients]`. `done` are further lines for the reader, such as what to do
    next.
    """
    attempt, change = make(changing, edit, what, whole=whole, will_restart=will_restart)
    say(changing, attempt, change, done=done)
    return change


def make(
    changing: Changing, edit: Edit, what: str, *, whole: bool = False, will_restart: bool = False
) -> tuple[Attempt, Change | None]:
    """As `carry_out`, and say nothing: what it did, and the change; None where there was none to make."""
    base = entries_of_file(changing.base)
    attempt = Attempt(edit, base, base, will_restart)
    whole = whole and edit(dict(base)) == base
    change = change_policy(
        changing.kafka,
        {} if whole else base,
        attempt,
        who=changing.by,
        what=what,
        note=changing.note,
    )
    return attempt, change


def say(changing: Changing, attempt: Attempt, change: Change | None, *, done: Sequence[str] = ()) -> None:
    """Print what a change did, or that there was nothing to change."""
    if changing.as_json:
        click.echo(json.dumps(document(changing, attempt, change)))
        return
    if change is None:
        click.echo(f"nothing to change: the policy on Kafka at {changing.kafka.bootstrap} says so already")
        return
    print_words(attempt.words)
    print_notes(attempt.new_remarks)
    for line in done:
        click.echo(line)
    click.echo(f"change {change.number} by {change.who}, version {change.version}")
    if command := undo_command(change):
        click.echo(f"To take it back: {command}")


def document(changing: Changing, attempt: Attempt, change: Change | None) -> dict[str, object]:
    """For JSON: the change; None where it was not made, with what it is or would have been."""
    return {
        "change": change.number if change else None,
        "version": change.version if change else policy_of(attempt.before).version,
        "by": changing.by,
        "kafka": changing.kafka.bootstrap,
        "differences": attempt.words,
        "remarks": attempt.new_remarks,
        "undo": undo_command(change) or None if change else None,
    }


def undo_command(change: Change) -> str:
    """The command that takes a change back; empty where it is the first one, before which nothing was."""
    return f"goaway policy undo {change.number}" if change.after else ""


def print_notes(notes: Sequence[str]) -> None:
    """Notes for people, a line each: those that differ in the module only as one, and as far as they fit."""
    lines = folded(notes)
    for line in lines[:SHOWN_NOTES]:
        click.secho(f"note: {line}", fg="yellow")
    if len(lines) > SHOWN_NOTES:
        click.secho(f"… and {len(lines) - SHOWN_NOTES:,} more notes; --json has them all", fg="yellow")


def print_words(words: Sequence[str]) -> None:
    """The difference, a line each, as far as it fits."""
    for line in shortened(words):
        click.echo(line)


def shortened(words: Sequence[str]) -> list[str]:
    """The lines of a difference that fit, and how many more there are."""
    more = len(words) - SHOWN_LINES
    return [*words[:SHOWN_LINES], *([f"… and {more} more"] if more > 0 else [])]


def confirmed(changing: Changing, attempt: Attempt, *, yes: bool) -> bool:
    """Whether to go on: asked where a person is there to answer and `--yes` does not answer for him."""
    if yes or changing.as_json or not sys.stdin.isatty():
        return True
    print_words(attempt.words)
    return click.confirm("Apply this?", default=False)


def in_force(changing: Changing) -> tuple[int, Entries]:
    """As `in_force_at`, for who changes it."""
    return in_force_at(changing.kafka, changing.base)


def in_force_at(kafka: KafkaSettings, base: Path | None) -> tuple[int, Entries]:
    """Number and entries of the policy on Kafka; 0 and those of the base where there was no change yet."""
    log = read_policy_log(kafka)
    return log.number, dict(log.entries) if log.number else entries_of_file(base)

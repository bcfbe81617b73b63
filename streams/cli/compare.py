"""`goaway compare`: two policies over one history, client by client."""

from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import load_policy, zone_option
from streams.cli.tables import print_json, print_table
from streams.cli.tune import write_page
from streams.cli.tune_history import reader
from streams.errors import UsageError
from streams.model.policy import Policy
from streams.replay.compare import Compared
from streams.replay.compare import compare as run
from streams.replay.compare_page import COLUMNS, compare_page, in_words, row
from streams.replay.compare_page import as_json as document
from streams.replay.counts import ReadCounts
from streams.replay.tuning import History

_LINES = 20
DEFAULTS = "defaults"
"""In the place of a policy file: the policy where no file is named."""


@click.command()
@click.argument("a")
@click.argument("b")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@zone_option
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON: every client that differs.")
def compare(
    a: str, b: str, files: tuple[Path, ...], zone: tzinfo, html_file: Path | None, as_json_: bool
) -> None:
    """Compare the policies A and B (files, or `defaults`) over the history in FILES.

    Says who is refused under one and not the other, when, how often and how long; known legitimate senders
    first. Exit code 0: nobody is treated differently; 1: somebody is.
    """
    policies = _policy(a), _policy(b)
    if policies[0].clients != policies[1].clients:
        raise UsageError(
            f"{a[:64]} and {b[:64]} differ in [clients]: what one client is under A is another under B",
            try_next="the same [clients] in both",
        )
    history = reader(files, policy=policies[0], zone=zone, counts=ReadCounts())
    ended = show(policies, (a, b), history, html_file=html_file, as_json=as_json_)
    raise click.exceptions.Exit(ended)


def show(
    policies: tuple[Policy, Policy],
    names: tuple[str, str],
    history: History,
    *,
    html_file: Path | None,
    as_json: bool,
) -> int:
    """Compare, print, and return the exit code. `goaway replay --compare` may call it too."""
    found = run(*policies, history())
    if html_file is not None:
        write_page(html_file, compare_page(found, names=names))
    if as_json:
        print_json(document(found))
    else:
        _print(found, names)
    return int(bool(found.differences))


def _policy(name: str) -> Policy:
    return load_policy(None if name == DEFAULTS else Path(name))


def _print(found: Compared, names: Sequence[str]) -> None:
    click.echo(f"A is {names[0]} (version {found.a}), B is {names[1]} (version {found.b})")
    click.echo(click.wrap_text(in_words(found), 80))
    for known, title in ((True, "Known legitimate senders:"), (False, "Everybody else:")):
        of = [it for it in found.differences if it.protected is known]
        if of:
            click.echo(f"\n{title}")
            print_table(COLUMNS, [row(it) for it in of[:_LINES]], folded=1)
            if len(of) > _LINES:
                click.echo(f"… and {len(of) - _LINES:,} more; --json and --html have them")

"""`goaway tune`: limits chosen on history, shown with what each would have done, applied where asked."""

import json
import sys
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec

from streams.cli.options import load_policy, zone_option
from streams.cli.policy_change import Attempt, carry_out, in_force, print_words
from streams.cli.policy_options import ChangeFlags, change_options, changing
from streams.cli.tables import cell, print_table
from streams.cli.tune_history import readable_again, reader
from streams.errors import InvalidValueError, UnavailableError, UsageError
from streams.model.client import parse_network
from streams.model.policy import Policy
from streams.replay.counts import ReadCounts
from streams.replay.setting import RULES, Setting, grid, setting_of
from streams.replay.tune_page import cautions, outstanding, summary, tune_page
from streams.replay.tuning import Tuned, as_json
from streams.replay.tuning import tune as run
from streams.wire.policy_entries import Entries, canonical, policy_of
from streams.wire.policy_keys import network_key

MAX_SETTINGS = 1000
_CLIENTS = 8


def _levels(_: click.Context, option: click.Parameter, value: str | None) -> list[float] | None:
    """`10,20,40` as numbers."""
    if value is None:
        return None
    growth = option.name == "cool_down_growth"
    try:
        found = [float(it) if growth else int(it) for it in value.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= it <= (100 if growth else 10_000_000) for it in found):
        kind, example = ("numbers", "1,1.5,2") if growth else ("whole numbers", "10,20,40")
        flag = option.opts[0]
        raise UsageError(
            f"{flag} {value[:64]!r} is no list of {kind} from 1 on", try_next=f"{flag} {example}"
        )
    return found


def _swept(function: Any) -> Any:
    for name in reversed(Setting.__struct_fields__):
        flag = f"--{name.replace('_', '-')}"
        said = f"Values of {name} to try; without it, some around what the history asks for."
        function = click.option(flag, name, metavar="N,N,…", callback=_levels, help=said)(function)
    return function


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@_swept
@click.option("--per-network", is_flag=True, help="Recommend for each network entry and big sender too.")
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path), help="Write a page with the chart here."
)
@click.option("--apply", "applies", is_flag=True, help="Change the policy on Kafka to what is recommended.")
@click.option("--yes", is_flag=True, help="Do not ask before --apply.")
@zone_option
@change_options
def tune(
    files: tuple[Path, ...],
    per_network: bool,
    html_file: Path | None,
    applies: bool,
    yes: bool,
    zone: tzinfo,
    **rest: Any,
) -> None:
    """Choose limits on the history in FILES (logs, .gz too, JSON events; - is standard input).

    Weighs many settings, each decided exactly as a replay of its own, and recommends limits with 20 %
    headroom above the busiest legitimate client.
    """
    levels = {name: rest.pop(name) for name in Setting.__struct_fields__}
    flags: ChangeFlags = rest  # type: ignore[assignment]
    if applies:
        change = changing(flags)
        policy = policy_of(in_force(change)[1])
    else:
        policy = load_policy(flags["policy_file"])
    counts = ReadCounts()
    with readable_again(files) as kept:
        history = reader(kept, policy=policy, zone=zone, counts=counts)
        tuned = run(policy, history, settings=_settings(policy, levels), each_network=per_network)
    if not tuned.clients:
        raise InvalidValueError("the history has no events", try_next=f"goaway parse {files[0]}")
    if html_file is not None:
        write_page(html_file, tune_page(tuned))
    edit = _edit(tuned)
    if not applies:
        if flags["as_json"]:
            click.echo(json.dumps(as_json(tuned)))
        else:
            _print(tuned, files)
        return
    attempt = Attempt(edit, in_force(change)[1], {})
    attempt(dict(attempt.before))
    if not flags["as_json"]:
        _print(tuned, ())
        click.echo()
        print_words(attempt.words or ["nothing to change: the policy says so already"])
    if not attempt.words:
        return
    if not yes and not (sys.stdin.isatty() and click.confirm("Apply this?", default=False)):
        click.echo("nothing was changed; --yes applies it without asking", err=True)
        raise click.exceptions.Exit(1)
    carry_out(change, edit, f"tune on {', '.join(map(str, files))}"[:200])


def _settings(policy: Policy, levels: dict[str, Sequence[float] | None]) -> list[Setting]:
    """The settings asked for; none where no flag names any."""
    if not any(levels.values()):
        return []
    now = msgspec.structs.asdict(setting_of(policy.limits))
    found = grid(**{name: of or [now[name]] for name, of in levels.items()})
    if len(found) > MAX_SETTINGS:
        raise UsageError(f"{len(found):,} settings; at most {MAX_SETTINGS:,}", try_next="fewer values")
    return found


def _edit(tuned: Tuned) -> Any:
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


def _print(tuned: Tuned, files: Sequence[Path]) -> None:
    """Who is who, the front, the recommendation."""
    sides = list(tuned.sides.values())
    click.echo(
        f"{len(sides):,} clients in {tuned.span_s / 86_400:.1f} days: {sides.count('protected'):,} "
        f"legitimate, {sides.count('abusive'):,} abusive, {sides.count('unclear'):,} unclear; "
        f"{len(tuned.settings):,} settings"
    )
    for side, name in (("protected", "legitimate"), ("abusive", "abusive")):
        click.echo(f"\nThe busiest {name} clients; at most open, connections and requests a minute:")
        of = [it for it in tuned.peaks() if tuned.sides[it[0]] == side][:_CLIENTS]
        for client, seen, thought in of:
            peaks = " ".join(f"{it:>4}" for it in seen.peaks)
            click.echo(f"  {client:<24}{peaks}  {thought.score:+4d} points")
            _wrapped(cell("; ".join(thought.reasons), 300), indent="      ")
    click.echo("\nNo setting is better in both (recommended *, now =):")
    rows = []
    for number in outstanding(tuned):
        it, found = tuned.settings[number], tuned.weighed[number]
        mark = ("*" if number == tuned.recommended else "") + ("=" if number == tuned.now else "")
        limits = "/".join(str(getattr(it, rule)) for rule in RULES)
        cool = f"{it.cool_down_s} s" + (f" ×{it.cool_down_growth:g}" if it.cool_down_growth > 1 else "")
        refused = found.refused
        counts = (
            found.clients["abusive"],
            found.clients["protected"],
            refused["abusive"],
            refused["protected"],
        )
        rows.append((mark, limits, cool, *counts))
    print_table(("", "limits", "cool-down", "stopped", "hurt", "refused bad", "refused good"), rows)
    click.echo()
    for line in summary(tuned):
        _wrapped(line)
    for line in cautions(tuned):
        click.secho(f"note: {line}", fg="yellow")
    if files:
        names = " ".join(map(str, files))
        click.echo(f"To have it: goaway tune {names}{' --per-network' if tuned.networks else ''} --apply")


def _wrapped(line: str, *, indent: str = "") -> None:
    click.echo(click.wrap_text(line, 80, initial_indent=indent, subsequent_indent=indent or "  "))


def write_page(file: Path, content: str) -> None:
    """Write a page where the user wants it."""
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}", try_next=f"ls -ld {file.parent}") from error
    click.echo(f"written: {file}", err=True)

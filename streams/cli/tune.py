"""`goaway tune`: limits chosen on history, shown with what each would have done, applied where asked."""

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec

from streams.cli.options import data_option, zone_option
from streams.cli.pages import check_page, write_page
from streams.cli.policy_change import Attempt, carry_out, in_force, print_words
from streams.cli.policy_names import AS_WAS, DEFAULTS, NOW, policy_name_option
from streams.cli.policy_options import Changing, changing
from streams.cli.progress import shown
from streams.cli.replay_source import Asked, source_options
from streams.cli.tables import cell, print_table, print_wrapped
from streams.cli.tune_history import readable_again
from streams.errors import UsageError
from streams.model.client import parse_network
from streams.model.event import Event
from streams.model.policy import Policy
from streams.replay.setting import RULES, Setting, grid, setting_of
from streams.replay.tune_page import cautions, length, outstanding, summary, tune_page
from streams.replay.tuning import Tuned
from streams.replay.tuning import as_json as document
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
@source_options
@_swept
@click.option("--per-network", is_flag=True, help="Recommend for each network entry and big sender too.")
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path), help="Write a page with the chart here."
)
@click.option("--apply", "applies", is_flag=True, help="Change the policy on Kafka to what is recommended.")
@click.option("--yes", is_flag=True, help="Do not ask before --apply.")
@policy_name_option
@zone_option
@click.option("--note", default="", help="Why; kept with the change.")
@click.option("--by", default="", help="Who; without it, the user of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@data_option
def tune(
    files: tuple[Path, ...],
    start: str,
    end: str,
    kafka: bool,
    per_network: bool,
    html_file: Path | None,
    applies: bool,
    yes: bool,
    policy_name: str,
    zone: tzinfo,
    note: str,
    by: str,
    as_json: bool,
    data: Path,
    **levels: Sequence[float] | None,
) -> None:
    """Choose limits on a history: FILES (logs, .gz too, JSON events; - is standard input) or a stored period.

    Weighs many settings, each decided exactly as a replay of its own, and recommends limits with 20 %
    headroom above the busiest legitimate client.
    """
    asked = Asked(files, start, end, kafka, zone, data, policy_name)
    asked.check()
    check_page(html_file)
    change = _changing(asked, note=note, by=by, as_json=as_json) if applies else None
    tuned = _tuned(asked, change, levels, per_network=per_network)
    if html_file is not None:
        write_page(html_file, tune_page(tuned))
    if change is None:
        if as_json:
            click.echo(json.dumps(document(tuned)))
        else:
            _print(tuned)
            click.echo(f"To have it: {_command(asked, levels, per_network=per_network)} --apply")
        return
    _apply(tuned, change, yes=yes, what=f"tune on {asked.words()}"[:200])


def _changing(asked: Asked, *, note: str, by: str, as_json: bool) -> Changing:
    if asked.policy_name in (AS_WAS, DEFAULTS):
        raise UsageError(
            f"--apply weighs the policy in force, since that is what it changes, and not {asked.policy_name}",
            try_next="goaway tune … --policy now --apply",
        )
    file = None if asked.policy_name in ("", NOW) else Path(asked.policy_name)
    return changing({"note": note, "by": by, "data": asked.data, "policy_file": file, "as_json": as_json})


def _tuned(
    asked: Asked, change: Changing | None, levels: dict[str, Sequence[float] | None], *, per_network: bool
) -> Tuned:
    passes, done = 3 if per_network else 2, 0
    with readable_again(asked.files) as paths:
        reading = replace(asked, paths=tuple(paths))
        policy = reading.policy() if change is None else policy_of(in_force(change)[1])

        def history() -> Iterable[Event]:
            nonlocal done
            done += 1
            return reading.again(policy)

        with shown(reading, lambda: f"{'clients' if done < 2 else 'settings'} {max(1, done)}/{passes}"):
            tuned = run(policy, history, settings=_settings(policy, levels), each_network=per_network)
    if not tuned.clients:
        raise reading.nothing()
    return tuned


def _command(asked: Asked, levels: dict[str, Sequence[float] | None], *, per_network: bool) -> str:
    """The command that found this, as it is typed."""
    words = [f"goaway tune {asked.words()}"]
    for name, of in levels.items():
        if of:
            words.append(f"--{name.replace('_', '-')} {','.join(f'{it:g}' for it in of)}")
    if per_network:
        words.append("--per-network")
    if asked.policy_name not in ("", NOW, AS_WAS, DEFAULTS):
        words.append(f"--policy {shlex.quote(asked.policy_name)}")
    return " ".join(words)


def _apply(tuned: Tuned, change: Changing, *, yes: bool, what: str) -> None:
    edit = _edit(tuned)
    attempt = Attempt(edit, in_force(change)[1], {})
    attempt(dict(attempt.before))
    if not change.as_json:
        _print(tuned)
        click.echo()
        print_words(attempt.words or ["nothing to change: the policy says so already"])
    if not attempt.words:
        return
    if not yes and not (sys.stdin.isatty() and click.confirm("Apply this?", default=False)):
        click.echo("nothing was changed; --yes applies it without asking", err=True)
        raise click.exceptions.Exit(1)
    carry_out(change, edit, what)


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


def _print(tuned: Tuned) -> None:
    """Who is who, the front, the recommendation."""
    sides = list(tuned.sides.values())
    print_wrapped(
        f"{len(sides):,} clients in {length(tuned.span_s)}: {sides.count('protected'):,} "
        f"legitimate, {sides.count('abusive'):,} abusive, {sides.count('unclear'):,} unclear; "
        f"{len(tuned.settings):,} settings"
    )
    for side, name in (("protected", "legitimate"), ("abusive", "abusive")):
        click.echo()
        print_wrapped(f"The busiest {name} clients; at most open, connections and requests a minute:")
        of = [it for it in tuned.peaks() if tuned.sides[it[0]] == side][:_CLIENTS]
        for client, seen, thought in of:
            peaks = " ".join(f"{it:>4}" for it in seen.peaks)
            click.echo(f"  {client:<24}{peaks}  {thought.score:+4d} points")
            print_wrapped(cell("; ".join(thought.reasons), 300), indent="      ")
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
        print_wrapped(line, hanging="  ")
    for line in cautions(tuned):
        print_wrapped(f"note: {line}", hanging="  ", colour="yellow")

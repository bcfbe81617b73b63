"""`goaway tune`: limits chosen on history, shown with what each would have done, applied where asked."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from streams.cli.copies import warn_of_copies
from streams.cli.options import data_option, zone_option
from streams.cli.pages import check_page, write_page
from streams.cli.policy_change import in_force
from streams.cli.policy_names import AS_WAS, DEFAULTS, policy_name_option
from streams.cli.policy_options import Changing
from streams.cli.progress import shown
from streams.cli.replay_source import Asked, source_options
from streams.cli.tune_apply import Allowed, apply, changing_by
from streams.cli.tune_history import readable_again
from streams.cli.tune_tables import print_tuned
from streams.errors import UsageError
from streams.model.event import Event
from streams.model.policy import Policy
from streams.replay.setting import Setting, grid, setting_of
from streams.replay.tune_json import document
from streams.replay.tune_page import tune_page
from streams.replay.tuning import Tuned
from streams.replay.tuning import tune as run
from streams.wire.policy_entries import policy_of

MAX_SETTINGS = 1000
_SAID_ALREADY = {"files", "start", "end", "kafka", "applies", "as_json"}
"""Parameters that name the history, and those that say what to do with the answer."""


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
        said = f"Values of {name} to try; without any such flag, some around what the history asks for."
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
@click.option("--short-history", is_flag=True, help="Let --apply go by a history shorter than a day.")
@click.option("--lone-client", is_flag=True, help="Let --apply raise a limit for one client alone.")
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
    short_history: bool,
    lone_client: bool,
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
    if not applies:
        _only_to_apply(yes=yes, short_history=short_history, lone_client=lone_client, note=note, by=by)
    asked.check()
    check_page(html_file)
    warn_of_copies(files)
    change = changing_by(asked, note=note, by=by, as_json=as_json) if applies else None
    tuned = _tuned(asked, change, levels, per_network=per_network)
    if html_file is not None:
        write_page(html_file, tune_page(tuned))
    findings = {**document(tuned), "lines": asked.counts.facts()} if as_json else {}
    if not as_json:
        print_tuned(tuned, every=any(levels.values()))
    if change is not None:
        what = f"tune on {asked.words()}"[:200]
        allowed = Allowed(yes=yes, short_history=short_history, lone_client=lone_client)
        apply(tuned, change, findings=findings, allowed=allowed, what=what)
    elif as_json:
        click.echo(json.dumps(findings))
    else:
        click.echo(f"To have it: {_command(asked)} --apply")


def _only_to_apply(**given: str | bool) -> None:
    """`UsageError` for a flag that would say nothing."""
    for name, value in given.items():
        if value:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for --apply; without it nothing is changed", try_next="goaway tune … --apply"
            )


def _tuned(
    asked: Asked, change: Changing | None, levels: dict[str, Sequence[float] | None], *, per_network: bool
) -> Tuned:
    done = 0
    with readable_again(asked.files) as paths:
        reading = replace(asked, paths=tuple(paths))
        policy = reading.policy() if change is None else policy_of(in_force(change)[1])

        def history() -> Iterable[Event]:
            nonlocal done
            done += 1
            return reading.again(policy)

        with shown(reading, lambda: f"{'clients' if done < 2 else 'settings'} {max(1, done)}/2"):
            tuned = run(policy, history, settings=_settings(policy, levels), each_network=per_network)
    if not tuned.clients:
        raise reading.nothing()
    asked.counts = reading.counts
    asked.say_counts()
    return tuned


def _command(asked: Asked) -> str:
    """The command that found this, as it is typed: with every option that was given."""
    context, words = click.get_current_context(), [f"goaway tune {asked.words()}"]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        source = context.get_parameter_source(option.name or "")
        if source is not ParameterSource.COMMANDLINE or option.name in _SAID_ALREADY:
            continue
        flag = option.opts[0]
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, list):
            words.append(f"{flag} {','.join(_number(it) for it in value)}")
        elif option.name != "policy_name" or value not in (AS_WAS, DEFAULTS):  # weighed, not changed
            words.append(f"{flag} {shlex.quote(str(value))}")
    return " ".join(words)


def _number(it: float) -> str:
    return repr(it).removesuffix(".0")


def _settings(policy: Policy, levels: dict[str, Sequence[float] | None]) -> list[Setting]:
    """The settings asked for; none where no flag names any."""
    if not any(levels.values()):
        return []
    now = msgspec.structs.asdict(setting_of(policy.limits))
    found = grid(**{name: of or [now[name]] for name, of in levels.items()})
    if len(found) > MAX_SETTINGS:
        raise UsageError(f"{len(found):,} settings; at most {MAX_SETTINGS:,}", try_next="fewer values")
    return found

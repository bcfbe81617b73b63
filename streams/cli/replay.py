"""`goaway replay`: a history through the engine, its decisions on standard output."""

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import data_option, zone_option
from streams.cli.policy_names import AS_WAS, policy_name_option
from streams.cli.progress import shown
from streams.cli.replay_source import Asked, source_options
from streams.engine.step import Outcome
from streams.errors import UsageError
from streams.model.decision import Decision
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas
from streams.replay.files import size_of
from streams.replay.run import decide
from streams.wire.frames import encode


@click.command()
@source_options
@policy_name_option
@zone_option
@click.option("--warnings", is_flag=True, help="Print warnings too.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes, for JSON lines and ClickHouse.",
)
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="A B",
    help="Two policies, named as for --policy: who is refused under one and not the other.",
)
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path), help="Write what --compare found as a page."
)
@click.option(
    "--verify", is_flag=True, help="Decide the period again and compare with what was decided live."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: what --compare or --verify found; decisions in a terminal too.",
)
@click.option("--to-kafka", is_flag=True, help="Decide nothing: send the events to smtp.events, as of now.")
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="N|max",
    help="How fast --to-kafka sends: 1 as it happened, 10 ten times faster.",
)
@click.option(
    "--yes", is_flag=True, help="Do not ask before --to-kafka, though a pipeline follows the topic."
)
@data_option
def replay(
    files: tuple[Path, ...],
    start: str,
    end: str,
    kafka: bool,
    policy_name: str,
    zone: tzinfo,
    warnings: bool,
    jobs: int,
    compared: tuple[str, str] | None,
    html_file: Path | None,
    verify: bool,
    as_json: bool,
    to_kafka: bool,
    speed: str,
    yes: bool,
    data: Path,
) -> None:
    """Run a history through the engine: FILES (logs, JSON events, compressed or not, - is standard input),
    or a stored period.

    Prints one decision a line: as JSON, or in words where a terminal shows it. The same history and policy
    give the same bytes. Ends with counts on standard error. --compare and --verify end with exit code 1
    where something differs.
    """
    asked = Asked(files, start, end, kafka, zone, data, policy_name)
    _one_of(compare=compared is not None, verify=verify, to_kafka=to_kafka, jobs=jobs > 1)
    _check_flags(compared, verify, to_kafka, warnings=warnings, as_json=as_json, speed=speed, yes=yes)
    if compared is None and html_file is not None:
        raise UsageError(
            "--html is for --compare", try_next="goaway replay --compare now FILE --html PAGE LOG"
        )
    if compared is not None and not files and not start:
        raise UsageError(
            "--compare takes two policies, then the history",
            try_next="goaway replay --compare now FILE LOG",
        )
    asked.check()
    if compared is not None:
        from streams.cli.replay_compare import compare_policies

        raise click.exceptions.Exit(compare_policies(asked, compared, html_file=html_file, as_json=as_json))
    if to_kafka:
        from streams.cli.replay_load import feed, speed_of

        feed(asked, speed_of(speed), yes=yes)
        return
    if verify:
        from streams.cli.replay_verify import verify_period

        raise click.exceptions.Exit(verify_period(asked, as_json=as_json))
    for_a_person = sys.stdout.isatty() and not as_json
    _print(asked, asked.judge(policy_name), jobs, warnings, for_a_person=for_a_person)


def _check_flags(
    compared: tuple[str, str] | None,
    verify: bool,
    to_kafka: bool,
    *,
    warnings: bool,
    as_json: bool,
    speed: str,
    yes: bool,
) -> None:
    """`UsageError` for a flag that would say nothing."""
    if compared is not None and (flag := next((it for it in compared if it.startswith("--")), "")):
        raise UsageError(
            f"--compare takes two policies, and {flag[:64]} is a flag",
            try_next="goaway replay --compare now FILE LOG",
        )
    if warnings and (compared is not None or verify or to_kafka):
        raise UsageError(
            "--warnings is for decisions as they are printed", try_next="goaway replay --warnings LOG"
        )
    if as_json and to_kafka:
        raise UsageError(
            "--json is not for --to-kafka, which prints nothing", try_next="goaway replay --to-kafka LOG"
        )
    if speed != "max" and not to_kafka:
        raise UsageError(
            "--speed is for --to-kafka", try_next=f"goaway replay LOG --to-kafka --speed {speed[:32]}"
        )
    if yes and not to_kafka:
        raise UsageError(
            "--yes is for --to-kafka: nothing else asks", try_next="goaway replay LOG --to-kafka --yes"
        )


def _one_of(**asked: bool) -> None:
    several = [f"--{name.replace('_', '-')}" for name, given in asked.items() if given]
    if len(several) > 1:
        raise UsageError(
            f"{' and '.join(several)} exclude one another", try_next=f"goaway replay {several[0]} …"
        )


def _print(asked: Asked, judge: Policy | AsWas, jobs: int, warnings: bool, *, for_a_person: bool) -> None:
    gc.collect()
    gc.disable()  # the engine makes no cycles, and looking for them costs a fifth of the time
    rules, clients = Counter[str](), set[str]()
    out = sys.stdout.buffer
    say = _readable(judge) if for_a_person else lambda outcome: out.write(encode(outcome) + b"\n")
    with shown(asked, "replay"):
        for outcomes in _outcomes(asked, judge, jobs):
            for outcome in outcomes:
                if isinstance(outcome, Decision):
                    rules[outcome.rule] += 1
                    clients.add(outcome.client)
                    say(outcome)
                elif warnings:
                    say(outcome)
    out.flush()
    counts = asked.counts
    by_rule = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items())) or "none"
    version = AS_WAS if isinstance(judge, AsWas) else judge.version
    click.echo(
        f"{counts}; decisions {rules.total()} ({by_rule}) about {len(clients)} clients; policy {version}",
        err=True,
    )
    asked.say_doubt()
    if not counts.events:
        click.echo(f"note: {asked.nothing()}", err=True)


def _readable(judge: Policy | AsWas) -> Callable[[Outcome], object]:
    from streams.cli.replay_lines import line_of

    def say(outcome: Outcome) -> None:
        policy = judge if isinstance(judge, Policy) else judge.index.policy
        sys.stdout.write(line_of(outcome, policy.replies) + "\n")  # above what shows how far it is

    return say


def _outcomes(asked: Asked, judge: Policy | AsWas, jobs: int) -> Iterator[list[Outcome]]:
    if jobs > 1:
        yield from _shared(asked, judge, jobs)
        return
    if isinstance(judge, AsWas):
        decided = decide(judge.index, asked.judged(judge), judge)
    else:
        decided = decide(PolicyIndex(judge), asked.judged(judge))
    for _, found in decided:
        for _, outcomes in found:
            yield outcomes


def _shared(asked: Asked, judge: Policy | AsWas, jobs: int) -> Iterator[list[Outcome]]:
    if isinstance(judge, AsWas) or asked.kafka:
        what = "the policies as they were take" if isinstance(judge, AsWas) else "a range of Kafka takes"
        raise UsageError(
            f"--jobs is for one policy, and a file of JSON events or a stored period: {what} one process",
            try_next="the same without --jobs",
        )
    if asked.start:
        from streams.replay.parallel_stored import replay_stored

        yield from replay_stored(judge, asked.stored(asked.expected(judge)), asked.counts, jobs=jobs)
        return
    from streams.replay.parallel import replay_lines
    from streams.replay.sources import only_json

    chunks = only_json(asked.files[0], asked.extent) if len(asked.files) == 1 else None
    if chunks is None:
        raise UsageError(
            "--jobs takes one file of JSON events, or a stored period: logs, or several files, are read by "
            "one process",
            try_next="goaway parse LOG | goaway replay - --jobs 2",
        )
    asked.extent.total = size_of([asked.files[0]])
    yield from replay_lines(judge, chunks, asked.counts, jobs=jobs, expected=asked.expected(judge))

"""`goaway replay`: a history through the engine, its decisions on standard output."""

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import data_option, zone_option
from streams.cli.replay_source import AS_WAS, Asked, shown, source_options
from streams.engine.step import Outcome
from streams.errors import UsageError
from streams.model.decision import Decision
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.run import decide
from streams.wire.frames import encode


@click.command()
@source_options
@click.option(
    "--policy",
    "policy_name",
    default="",
    envvar="GOAWAY_POLICY",
    metavar="FILE|as-was",
    help="The policy file; as-was: each event by the policy of its time. Without: the policy in force.",
)
@zone_option
@click.option("--warnings", is_flag=True, help="Print warnings too.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes, for JSON lines."
)
@click.option(
    "--verify", is_flag=True, help="Decide the period again and compare with what was decided live."
)
@click.option("--json", "as_json", is_flag=True, help="Print what --verify found as JSON.")
@click.option("--to-kafka", is_flag=True, help="Decide nothing: send the events to smtp.events, as of now.")
@click.option(
    "--speed",
    default="max",
    show_default=True,
    metavar="N|max",
    help="How fast --to-kafka sends: 1 as it happened, 10 ten times faster.",
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
    verify: bool,
    as_json: bool,
    to_kafka: bool,
    speed: str,
    data: Path,
) -> None:
    """Run a history through the engine: FILES (logs, JSON events, compressed or not, - is standard input),
    or a stored period.

    Prints one JSON decision a line; the same history and policy give the same bytes. Ends with counts on
    standard error.
    """
    asked = Asked(files, start, end, kafka, zone, data, policy_name)
    asked.check()
    if to_kafka:
        from streams.cli.replay_load import feed, speed_of

        feed(asked, speed_of(speed))
        return
    if verify:
        from streams.cli.replay_verify import verify_period

        raise click.exceptions.Exit(verify_period(asked, as_json=as_json))
    _print(asked, asked.policy(), jobs, warnings)


def _print(asked: Asked, policy: Policy, jobs: int, warnings: bool) -> None:
    gc.collect()
    gc.disable()  # the engine makes no cycles, and looking for them costs a fifth of the time
    rules, clients = Counter[str](), set[str]()
    out = sys.stdout.buffer
    with shown(lambda: asked.extent, "replay"):
        for outcomes in _outcomes(asked, policy, jobs):
            for outcome in outcomes:
                if isinstance(outcome, Decision):
                    rules[outcome.rule] += 1
                    clients.add(outcome.client)
                    out.write(encode(outcome) + b"\n")
                elif warnings:
                    out.write(encode(outcome) + b"\n")
    out.flush()
    counts = asked.counts
    by_rule = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items())) or "none"
    version = AS_WAS if asked.policy_name == AS_WAS else policy.version
    click.echo(
        f"read {counts.read}, events {counts.events}, ignored on purpose {sum(counts.ignored.values())}, "
        f"unreadable {sum(counts.unreadable.values())}; decisions {rules.total()} ({by_rule}) "
        f"about {len(clients)} clients; policy {version}",
        err=True,
    )


def _outcomes(asked: Asked, policy: Policy, jobs: int) -> Iterator[list[Outcome]]:
    as_was = asked.policy_name == AS_WAS
    if jobs > 1:
        yield from _shared(asked, policy, jobs)
        return
    index, switches = PolicyIndex(policy), None
    if as_was:
        start = asked.period()[0] if asked.start else Instant(0)
        switches = asked.as_was(policy, start)
        index = switches.index
    for _, found in decide(index, asked.batches(policy), switches):
        for _, outcomes in found:
            yield outcomes


def _shared(asked: Asked, policy: Policy, jobs: int) -> Iterator[list[Outcome]]:
    from streams.replay.parallel import replay_lines
    from streams.replay.sources import only_json

    chunks = only_json(asked.files[0], asked.extent) if len(asked.files) == 1 else None
    if chunks is None or asked.policy_name == AS_WAS:
        raise UsageError(
            "--jobs takes one file of JSON events and one policy: reading a log takes one process",
            try_next="goaway parse LOG | goaway replay - --jobs 2",
        )
    asked.extent.total = asked.files[0].stat().st_size if str(asked.files[0]) != "-" else None
    yield from replay_lines(policy, chunks, asked.counts, jobs=jobs)

"""`goaway replay`: a history through the engine, its decisions on standard output."""

import sys
from collections import Counter
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import load_policy, now, policy_option, zone_option
from streams.model.decision import Decision
from streams.model.standing import PolicyIndex
from streams.replay.run import replay as run
from streams.replay.sources import ReadCounts, events_in_time
from streams.wire.frames import encode


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@policy_option
@zone_option
@click.option("--warnings", is_flag=True, help="Print warnings too.")
def replay(file: Path, policy_file: Path | None, zone: tzinfo, warnings: bool) -> None:
    """Run FILE (a log, .gz too, or JSON events; - is standard input) through the engine.

    Prints one JSON decision a line; the same input and policy give the same bytes. Ends with counts on
    standard error.
    """
    policy = load_policy(policy_file)
    counts, rules, clients = ReadCounts(), Counter[str](), set[str]()
    events = events_in_time(file, zone=zone, reference=now(), prefixes=policy.clients, counts=counts)
    out = sys.stdout.buffer
    for outcome in run(PolicyIndex(policy), events):
        if isinstance(outcome, Decision):
            rules[outcome.rule] += 1
            clients.add(outcome.client)
            out.write(encode(outcome) + b"\n")
        elif warnings:
            out.write(encode(outcome) + b"\n")
    out.flush()
    by_rule = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items())) or "none"
    click.echo(
        f"read {counts.read}, events {counts.events}, ignored on purpose {sum(counts.ignored.values())}, "
        f"unreadable {sum(counts.unreadable.values())}; decisions {rules.total()} ({by_rule}) "
        f"about {len(clients)} clients; policy {policy.version}",
        err=True,
    )

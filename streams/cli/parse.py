"""`goaway parse`: log lines in, JSON events out."""

import json
import sys
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import load_policy, now, policy_option, zone_option
from streams.replay.sources import LogSource, ReadCounts, chunks, raw_lines
from streams.wire.frames import encode_frame


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@zone_option
@policy_option
@click.option("--json", "as_json", is_flag=True, help="Print the counts at the end as JSON.")
@click.option("--quiet", is_flag=True, help="Print no events, only the counts.")
def parse(
    files: tuple[Path, ...], zone: tzinfo, policy_file: Path | None, as_json: bool, quiet: bool
) -> None:
    """Turn Postfix log lines from FILES (or -, standard input) into JSON events, one a line.

    Ends with counts on standard error: lines read, events, lines ignored on purpose, lines unreadable.
    """
    counts, out = ReadCounts(), sys.stdout.buffer
    prefixes = load_policy(policy_file).clients
    for file in files or (Path("-"),):
        source = LogSource(zone=zone, reference=now(), prefixes=prefixes, counts=counts)
        for result in source.in_order(raw_lines(chunks(file))):
            if isinstance(result, list) and not quiet:
                out.write(encode_frame(result))
    out.flush()
    report(counts, as_json=as_json)


def report(counts: ReadCounts, *, as_json: bool) -> None:
    """The counts on standard error."""
    if as_json:
        click.echo(json.dumps(counts.facts()), err=True)
        return
    click.echo(str(counts), err=True)
    for heading, reasons in (("ignored", counts.ignored), ("unreadable", counts.unreadable)):
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            click.echo(f"  {heading:<10} {count:>9}  {reason}", err=True)

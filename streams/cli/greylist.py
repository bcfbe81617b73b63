"""`goaway greylist learn`: let clients pass that are known to deliver, before greylisting is switched on."""

import json
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Final

import click

from streams.audit.delivering import Delivering, delivering
from streams.cli.options import data_option, load_policy, now, policy_option, zone_option
from streams.cli.reach import reach
from streams.model.instant import MICROSECONDS, Instant
from streams.replay.sources import ReadCounts, events_in_time
from streams.sending import administrators_event, send_events

_DAY_US: Final = 86_400 * MICROSECONDS
_SHOWN: Final = 20


@click.group()
def greylist() -> None:
    """Teach greylisting who delivers."""


@greylist.command()
@click.argument("logs", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="Without LOGS: how far back ClickHouse is asked.",
)
@click.option(
    "--messages",
    type=click.IntRange(1, 1_000_000),
    default=2,
    show_default=True,
    help="Messages that a client must have had queued.",
)
@click.option("--dry-run", is_flag=True, help="Show who would be learnt, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one client a line.")
@data_option
@policy_option
@zone_option
def learn(
    logs: tuple[Path, ...],
    days: int,
    messages: int,
    dry_run: bool,
    as_json: bool,
    data: Path,
    policy_file: Path | None,
    zone: tzinfo,
) -> None:
    """Let clients pass that delivered mail, by the LOGS or, without any, by what ClickHouse keeps.

    They are learnt as if they had retried well: for as long as the policy's learnt_s says.
    """
    settings, at = reach(data), now()
    if logs:
        found = list(_of_logs(logs, policy_file, zone, messages))
    else:
        found = delivering(settings.clickhouse, since=Instant(at - days * _DAY_US), messages=messages)
    if as_json:
        for one in found:
            click.echo(json.dumps(one._asdict()))
    else:
        busiest = sorted(found, key=lambda one: (-one.messages, one.client))[:_SHOWN]
        for one in busiest:
            click.echo(f"{one.client:<40} {one.messages:>9,} messages  {ascii(one.ptr)[1:-1][:60]}")
        if len(found) > _SHOWN:
            click.echo(f"… and {len(found) - _SHOWN:,} more")
    if dry_run:
        click.echo(f"{len(found):,} clients would be learnt; nothing was changed", err=True)
        return
    learnt = (
        administrators_event("learnt", one.client, one.address, at, f"{one.messages} messages", one.ptr)
        for one in found
    )
    send_events(settings.kafka, learnt)
    click.echo(f"{len(found):,} clients learnt. Take one back: goaway forget ADDRESS", err=True)


def _of_logs(
    logs: tuple[Path, ...], policy_file: Path | None, zone: tzinfo, messages: int
) -> Iterator[Delivering]:
    prefixes, counts = load_policy(policy_file).clients, ReadCounts()
    found: dict[str, Delivering] = {}
    for log in logs:
        for event in events_in_time(log, zone=zone, reference=now(), prefixes=prefixes, counts=counts):
            if event.kind == "message":
                known = found.get(event.client)
                ptr, before = (known.ptr, known.messages) if known else ("", 0)
                found[event.client] = Delivering(event.client, event.address, event.ptr or ptr, before + 1)
    for client in sorted(found):
        if found[client].messages >= messages:
            yield found[client]

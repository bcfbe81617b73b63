"""`goaway capacity`: what the user's own traffic needs, with the formula shown."""

import gc
from dataclasses import asdict, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

import click

from streams.audit.clickhouse import ClickHouse
from streams.cli.copies import warn_of_copies
from streams.cli.options import data_option, zone_option
from streams.cli.policy_names import policy_name_option
from streams.cli.progress import shown
from streams.cli.replay_source import Asked, source_options
from streams.cli.tables import print_json, print_wrapped
from streams.config import ClickHouseSettings
from streams.errors import GoawayError, UsageError
from streams.replay.capacity import Need, Rates, Traffic, figure, needs
from streams.replay.covered import length, short_history
from streams.replay.measuring import measured_rates, traffic_of

_GIVEN: Final = {"parse": "parse_per_s", "engine": "engine_per_s", "worker": "worker_per_s"}
_SIZES: Final = """
SELECT sum(bytes_on_disk), sumIf(rows, table = 'events') FROM system.parts
WHERE active AND database = currentDatabase() AND table NOT LIKE 'sink%'
"""
_ENOUGH_ROWS: Final = 10_000
"""Of fewer, the size says little."""


@click.command()
@source_options
@policy_name_option
@zone_option
@click.option(
    "--rate",
    "given",
    multiple=True,
    metavar="NAME=N",
    help="Do not measure: parse=N lines, engine=N or worker=N events a second on one core.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@data_option
def capacity(
    files: tuple[Path, ...],
    start: str,
    end: str,
    kafka: bool,
    policy_name: str,
    zone: tzinfo,
    given: tuple[str, ...],
    as_json: bool,
    data: Path,
) -> None:
    """Say how many partitions and workers, how much disk and memory your traffic needs.

    The traffic is that of FILES or of a stored period, as for `goaway replay`; rates are measured on this
    machine, which takes some seconds.
    """
    asked = Asked(files, start, end, kafka, zone, data, policy_name)
    asked.check()
    warn_of_copies(files)
    wanted = dict(_rate(it) for it in given)
    policy = asked.policy()
    gc.disable()
    with shown(asked, "read"):
        traffic, wire_bytes = traffic_of(asked.batches(policy), policy)
    if not traffic.events:
        raise asked.nothing()
    asked.say_counts()
    traffic = replace(traffic, lines=_lines(asked))
    rates = replace(measured_rates(), **wanted)
    if wire_bytes:
        rates = replace(rates, wire_bytes=wire_bytes)
    stored = _stored_bytes(asked.settings.clickhouse)
    if stored is not None:
        rates = replace(rates, stored_bytes=stored, stored_measured=True)
    found = needs(traffic, rates)
    if as_json:
        print_json(
            {
                "traffic": asdict(traffic),
                "rates": asdict(rates),
                "needs": [asdict(it) for it in found],
                "notes": _cautions(traffic),
                "lines": asked.counts.facts(),
            }
        )
        return
    _print(traffic, rates, found)


def _lines(asked: Asked) -> int:
    """Log lines of the history; 0 where it is no log: JSON events and a stored period have one line, or row,
    an event."""
    counts = asked.counts
    told = counts.read - sum(counts.unreadable.values())
    return counts.read if asked.files and told != counts.events else 0


def _rate(text: str) -> tuple[str, Any]:
    name, _, number = text.partition("=")
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if name not in _GIVEN or not 0 < rate < 1e12:
        raise UsageError(f"--rate: {text[:64]!r} is no rate", try_next="--rate worker=100000")
    return _GIVEN[name], rate


def _stored_bytes(settings: ClickHouseSettings) -> float | None:
    """Bytes that one event takes in ClickHouse, all tables together; None where it cannot be asked."""
    clickhouse = ClickHouse(settings)
    try:
        size, rows = clickhouse.rows(_SIZES)[0]
    except GoawayError:
        return None
    finally:
        clickhouse.close()
    return int(size) / int(rows) if int(rows) >= _ENOUGH_ROWS else None


def _cautions(traffic: Traffic) -> list[str]:
    """What to bear in mind before believing it."""
    short = short_history(traffic.seconds, holes=traffic.holes_s > 0)
    return [f"{short} What is said of a day, a week or a month goes on as it did."] if short else []


def _print(traffic: Traffic, rates: Rates, found: list[Need]) -> None:
    print_wrapped(
        f"traffic  {traffic.events:,} events in {length(traffic.seconds)}: {figure(traffic.per_s)}/s, "
        f"busiest minute {figure(traffic.peak_per_s)}/s, {traffic.clients:,} clients remembered at once",
        hanging=" " * 9,
    )
    print_wrapped(
        f"rates    one core: {figure(rates.parse_per_s)} lines read, {figure(rates.engine_per_s)} events "
        f"decided by the engine, {figure(rates.worker_per_s)} by a worker, a second",
        hanging=" " * 9,
    )
    for line in _cautions(traffic):
        print_wrapped(f"note: {line}", hanging="  ", colour="yellow")
    click.echo()
    for need in found:
        click.secho(f"{need.name}: {figure(need.value)}{' ' + need.unit if need.unit else ''}", bold=True)
        for line in (need.formula, need.numbers):
            print_wrapped(line, indent="    ", hanging="    ")

"""`goaway stats`: what clients did over a period."""

from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

import click

from streams.audit.as_numbers import read_as_database, stats_by_as
from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import COUNTERS, Whose, countable, table_for
from streams.audit.grouping import Grouping
from streams.audit.kept import kept
from streams.audit.stats import PEAK_CONNECTIONS, SORTS, Row, Stats, are_too_many
from streams.audit.stats import stats as count
from streams.cli.kept import elsewhen
from streams.cli.options import data_option, exclusive
from streams.cli.period import local, networks_of, period, period_options
from streams.cli.reach import reach
from streams.cli.tables import print_csv, print_json, print_table
from streams.cli.waiting import asked
from streams.errors import UsageError
from streams.model.instant import Instant, rfc3339

_SHOWN: Final = ("connections", "requests", "messages", "refusals", "go_aways")
"""Counters of the table; CSV and JSON have all."""
_HEADINGS: Final = ("conns", "reqs", "msgs", "refused", "by us")
_SPARE: Final = {
    "first": "first",
    "peak": "peak",
    "last": "last",
    "reqs": "requests",
    "msgs": "messages",
    "by us": "go_aways",
}
"""What a narrow terminal can do without, least needed first: heading → `--sort`, which is not left out."""
COLUMNS: Final = ("name", *COUNTERS, "clients", "peak", "first", "last")
NAMELESS: Final = "(none)"
"""The group of those without a name, host or domain."""
TOTAL: Final = "total"
_KEPT: Final = {
    "events": "events",
    **{f"clients_by_{grain}": f"counts by {grain}" for grain in ("minute", "hour", "day", "month")},
}
"""What is counted from → what that is called."""
_BITS_V4: Final = click.IntRange(1, 32)
_BITS_V6: Final = click.IntRange(1, 64)


@click.command()
@click.argument("addresses", nargs=-1)
@click.option(
    "--by",
    type=click.Choice(["client", "network", "ptr", "host", "day", "hour", "as"]),
    default="client",
    show_default=True,
    help="What makes a group; ptr: the domain of the client's name; as: with --as-database.",
)
@period_options
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    help="What comes first: connections unless told; of days and hours the last.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Groups shown.")
@click.option("--host", default="", help="Only what this MTA logged.")
@click.option(
    "--network-v4",
    type=_BITS_V4,
    default=24,
    show_default=True,
    help="Bits of an IPv4 network for --by network.",
)
@click.option(
    "--network-v6",
    type=_BITS_V6,
    default=48,
    show_default=True,
    help="Bits of an IPv6 network for --by network.",
)
@click.option(
    "--as-database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of prefix,as,name for --by as.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@data_option
def stats(
    addresses: tuple[str, ...],
    by: Any,
    last: str,
    day: str,
    start: str,
    end: str,
    zone: tzinfo,
    sort: str | None,
    limit: int,
    host: str,
    network_v4: int,
    network_v6: int,
    as_database: Path | None,
    as_json: bool,
    as_csv: bool,
    data: Path,
) -> None:
    """Count connections, requests, messages and refusals of a period, of ADDRESSES or of all clients.

    The last line is the total of all groups, shown or not. Without a period: the last 7 days.
    """
    if (by == "as") != (as_database is not None):
        raise UsageError(
            "--by as and --as-database FILE go together", try_next="--by as --as-database prefixes.csv"
        )
    if by == "as" and sort == "peak":
        raise UsageError("--by as cannot be sorted by its peaks", try_next="--sort connections")
    exclusive(as_json=as_json, as_csv=as_csv)
    sort = sort or ("last" if by in ("day", "hour") else "connections")
    database = read_as_database(as_database) if as_database else None
    first, until = period(last, day, start, end, zone)
    whose = Whose(networks_of(addresses, "goaway stats"), host)
    with asked(reach(data).clickhouse) as clickhouse:
        asked_for, (first, until) = (first, until), countable(clickhouse, first, until, whose)
        grouping = Grouping(by, zone, network_v4, network_v6)
        if database is not None:
            found = stats_by_as(clickhouse, first, until, database, sort=sort, limit=limit, whose=whose)
        else:
            found = count(clickhouse, first, until, grouping, sort=sort, limit=limit, whose=whose)
        remark = _remark(clickhouse, found, first, until, grouping)
        if asked_for != (first, until):
            remark = f"counted by whole minutes; {remark}"
    if as_json:
        print_json(
            {
                "from": rfc3339(first),
                "to": rfc3339(until),
                "by": by,
                "groups": found.groups,
                "rows": [row_json(row, row.name or NAMELESS) for row in found.rows],
                "total": row_json(found.total, TOTAL) if found.total else None,
            }
        )
    elif as_csv:
        flat = [_flat(row, row.name or NAMELESS) for row in found.rows]
        print_csv(COLUMNS, [*flat, *([_flat(found.total, TOTAL)] if found.total else [])])
    else:
        _print(
            found,
            by,
            sort,
            zone,
            f"{local(first, zone, seconds=False)} to {local(until, zone, seconds=False)}",
        )
    if remark:
        click.echo(remark, err=True)


def _remark(clickhouse: ClickHouse, found: Stats, first: Instant, until: Instant, grouping: Grouping) -> str:
    """What is not stored of the period, or not any more, or too much for peaks, where that shows."""
    if found.total is None:
        table = table_for(first, until, grouping)
        return elsewhen(kept(clickhouse, table), first, until, grouping.zone, _KEPT[table])
    unknown = [row for row in (*found.rows, found.total) if row.peak is None]
    if not unknown:
        return ""
    if are_too_many(found.rows) or all(are_too_many([row]) for row in unknown):
        of = f"more than {PEAK_CONNECTIONS:,} connections"
        return f"peaks are not known (–) of {of}: take a shorter period"
    said = elsewhen(kept(clickhouse), first, until, grouping.zone)
    return f"peaks are not known (–): {said or 'not all events are stored any more'}"


def row_json(row: Row, name: str | None = None) -> dict[str, Any]:
    """A group: its name, every counter, clients, peak, first and last seen."""
    return {
        "name": row.name if name is None else name,
        **row.counts,
        "clients": row.clients,
        "peak": row.peak,
        "first": rfc3339(row.first),
        "last": rfc3339(row.last),
    }


def _flat(row: Row, name: str) -> list[object]:
    found = row_json(row, name)
    return [found[column] for column in COLUMNS]


def _print(found: Stats, by: str, sort: str, zone: tzinfo, period_text: str) -> None:
    if found.total is None:
        click.echo(f"nothing was seen from {period_text}")
        return
    heading = [by, *_HEADINGS, "peak", "first", "last"]
    rows = [_cells(row, row.name or NAMELESS, zone) for row in found.rows]
    total = _cells(found.total, f"all {found.groups}", zone)
    spare = [name for name, of in _SPARE.items() if of != sort]
    print_table(heading, rows, total=total, folded=1, spare=spare)
    click.echo(f"{period_text} {zone}; {len(found.rows)} of {found.groups} shown", err=True)


def _cells(row: Row, name: str, zone: tzinfo) -> list[object]:
    times = (local(at, zone, seconds=False)[5:] for at in (row.first, row.last))
    return [name, *(row.counts[it] for it in _SHOWN), "–" if row.peak is None else row.peak, *times]

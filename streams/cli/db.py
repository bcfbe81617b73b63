"""`goaway db`: the ClickHouse tables."""

import json
import sys
from pathlib import Path

import click

from streams.audit import retention as keeping
from streams.audit.cluster import for_cluster
from streams.audit.migrations import due, read_migrations
from streams.audit.migrations import migrate as apply_all
from streams.audit.migrations import status as standing
from streams.audit.rollups import settle
from streams.cli.options import data_option, settings
from streams.cli.reach import reach
from streams.cli.tables import print_table
from streams.cli.waiting import asked
from streams.errors import GoawayError, UsageError


@click.group()
def db() -> None:
    """Create and show the ClickHouse tables, and say how long they keep."""


@db.command()
@data_option
@click.option("--dry-run", is_flag=True, help="Say what would be applied, and change nothing.")
@click.option("--may-lose-data", is_flag=True, help="Apply also what takes away what is stored.")
@click.option(
    "--print", "as_sql", is_flag=True, help="Print the SQL of what would be applied; change nothing."
)
@click.option(
    "--cluster", metavar="NAME", help="With --print: the SQL for this cluster, replicated and sharded."
)
def migrate(data: Path, dry_run: bool, may_lose_data: bool, as_sql: bool, cluster: str | None) -> None:
    """Create the database and apply the migrations that are not applied yet."""
    if cluster is not None:
        if not as_sql:
            raise UsageError("--cluster prints SQL and applies nothing", try_next="--cluster NAME --print")
        database = settings().clickhouse.database
        _print_sql(list(for_cluster(read_migrations(), cluster=cluster, database=database)))
        return
    with asked(reach(data).clickhouse) as clickhouse:
        if dry_run or as_sql:
            planned = due(clickhouse)
            if as_sql:
                _print_sql([statement for each in planned for statement in each.statements])
                return
            for each in planned:
                loses = ", takes away what is stored" if each.losing else ""
                number = len(each.statements)
                click.echo(f"would apply {each.name}: {number} statement{'s' * (number != 1)}{loses}")
            if not planned:
                click.echo("all migrations are applied already")
            return
        done = apply_all(clickhouse, may_lose=may_lose_data)
        click.echo(
            "\n".join(f"applied {name}" for name in done) if done else "all migrations are applied already"
        )
        if done and settle(clickhouse) is None:
            click.echo("a sink is storing: rollups of older rows are made when it is started next", err=True)


def _print_sql(statements: list[str]) -> None:
    for statement in statements:
        click.echo(f"{statement};\n")


@db.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data: Path, as_json: bool) -> None:
    """List the migrations and when each was applied. Exit code 1: some are not."""
    with asked(reach(data).clickhouse) as clickhouse:
        found = standing(clickhouse)
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": one.name,
                        "checksum": one.checksum,
                        "applied": one.applied.isoformat() if one.applied else None,
                    }
                    for one in found
                ]
            )
        )
    else:
        applied = (f"{one.applied:%Y-%m-%d %H:%M:%S}Z" if one.applied else "not yet" for one in found)
        table = [(one.name, at, one.checksum[:12]) for one, at in zip(found, applied, strict=True)]
        print_table(("migration", "applied", "checksum"), table, folded=1, spare=("checksum",))
    if any(one.applied is None for one in found):
        raise click.exceptions.Exit(1)


@db.command()
@data_option
@click.option("--events", metavar="PERIOD", help="Events: 400d, or forever.")
@click.option("--decisions", metavar="PERIOD", help="Decisions.")
@click.option("--warnings", metavar="PERIOD", help="Warnings.")
@click.option("--deadletters", metavar="PERIOD", help="What could not be read.")
@click.option("--minutes", metavar="PERIOD", help="What each client did, by minute.")
@click.option("--hours", metavar="PERIOD", help="The same by hour.")
@click.option("--days", metavar="PERIOD", help="The same by day.")
@click.option("--months", metavar="PERIOD", help="The same by month.")
@click.option("--traffic", metavar="PERIOD", help="What all clients together did, by minute.")
@click.option("--yes", is_flag=True, help="Drop what is older without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def retention(data: Path, yes: bool, as_json: bool, **periods: str | None) -> None:
    """Show or set how long each table keeps its rows. The policy's history is kept for ever."""
    wanted = {name: keeping.parse_period(text) for name, text in periods.items() if text is not None}
    with asked(reach(data).clickhouse) as clickhouse:
        for name, days in wanted.items():
            gone = keeping.older(clickhouse, name, days) if days is not None else 0
            question = f"{name}: {gone:,} rows are older than {days} days and will be dropped. Go on?"
            if gone and not yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
                raise GoawayError(
                    f"{name}: {gone:,} rows are older than {days} days; not confirmed, and not changed",
                    try_next="--yes, which does it without asking",
                )
            keeping.keep(clickhouse, name, days)
        found = keeping.kept(clickhouse)
    if as_json:
        rows = [
            {
                "name": each.name,
                "table": each.table,
                "days": each.days,
                "rows": each.rows,
                "bytes": each.bytes,
            }
            for each in found
        ]
        click.echo(json.dumps(rows))
        return
    table = []
    for each in found:
        period = f"{each.days} days" if each.days else keeping.FOREVER
        table.append((each.name, each.table, period, each.rows, each.bytes / 1e6))
    print_table(("kept", "table", "for", "rows", "MB on disk"), table, spare=("table",))

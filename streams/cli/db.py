"""`goaway db`: the ClickHouse tables."""

import json

import click
from rich.console import Console
from rich.table import Table

from streams.audit.clickhouse import ClickHouse
from streams.audit.migrations import migrate as apply_all
from streams.audit.migrations import status as standing
from streams.cli.options import settings


@click.group()
def db() -> None:
    """Create and show the ClickHouse tables."""


@db.command()
def migrate() -> None:
    """Create the database and apply the migrations that are not applied yet."""
    clickhouse = ClickHouse(settings().clickhouse)
    try:
        done = apply_all(clickhouse)
    finally:
        clickhouse.close()
    click.echo(
        "\n".join(f"applied {name}" for name in done) if done else "all migrations are applied already"
    )


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """List the migrations and when each was applied. Exit code 1: some are not."""
    clickhouse = ClickHouse(settings().clickhouse)
    try:
        found = standing(clickhouse)
    finally:
        clickhouse.close()
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
        table = Table("migration", "applied", box=None, header_style="bold")
        for one in found:
            table.add_row(one.name, f"{one.applied:%Y-%m-%d %H:%M:%S}Z" if one.applied else "not yet")
        Console().print(table)
    if any(one.applied is None for one in found):
        raise click.exceptions.Exit(1)

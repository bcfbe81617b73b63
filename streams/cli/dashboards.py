"""`goaway dashboards`: into Grafana, into files, or onto a page."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click

from streams.audit.clickhouse import ClickHouse
from streams.cli.options import data_option, settings
from streams.cli.pages import check_page, write_page
from streams.cli.period import period, period_options
from streams.cli.reach import reach
from streams.cli.waiting import asked
from streams.config import ClickHouseSettings, parse_host_port
from streams.dashboards.export import PLACE
from streams.dashboards.export import export as write_files
from streams.dashboards.macros import Span
from streams.dashboards.preview import Answer, Shown
from streams.dashboards.preview import preview as drawn
from streams.dashboards.push import Grafana
from streams.dashboards.source import source_of
from streams.model.instant import MICROSECONDS


@click.group()
def dashboards() -> None:
    """Grafana dashboards and alert rules; a preview without Grafana."""


def _seen_by_grafana(clickhouse: str) -> ClickHouseSettings:
    """ClickHouse from the environment, at the address under which Grafana reaches it."""
    found = settings().clickhouse
    if clickhouse:
        host, port = parse_host_port(clickhouse, name="--clickhouse", default_port=9000)
        found = replace(found, host=host, port=port)
    return found


@dashboards.command()
@click.option(
    "--clickhouse",
    default="",
    metavar="HOST:PORT",
    help="ClickHouse as Grafana reaches it, where it differs.",
)
@click.option("--renew-password", is_flag=True, help="Send ClickHouse's password again: Grafana shows none.")
def push(clickhouse: str, renew_password: bool) -> None:
    """Put folder, data source, dashboards and alert rules into GOAWAY_GRAFANA.

    What is there already, as it should be, is left alone.
    """
    found = settings()
    grafana = Grafana(found.grafana.url, found.grafana.token)
    for one in grafana.push(source_of(_seen_by_grafana(clickhouse)), renew_password=renew_password):
        click.echo(f"{one.outcome:<9}  {one.kind:<11}  {one.name}")


@dashboards.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--clickhouse",
    default="",
    metavar="HOST:PORT",
    help="ClickHouse as Grafana reaches it, where it differs.",
)
@click.option(
    "--place", default=PLACE, show_default=True, metavar="DIR", help="Where Grafana will see that folder."
)
def export(folder: Path, clickhouse: str, place: str) -> None:
    """Write the same as files from which Grafana provisions itself, into FOLDER."""
    for path in write_files(folder, _seen_by_grafana(clickhouse), place=place):
        click.echo(path)


@dashboards.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@period_options
@click.option("--client", default="", metavar="CLIENT", help="The client shown; without one, the busiest.")
@click.option("--host", default="", metavar="HOST", help="The MTA shown; without one, all.")
@data_option
def preview(
    file: Path, last: str, day: str, start: str, end: str, zone: tzinfo, client: str, host: str, data: Path
) -> None:
    """Draw every dashboard from its own queries into FILE, one page of HTML (- is standard output).

    Without a period each shows the time it opens with.
    """
    first, after = period(last, day, start, end, zone)
    until = (after - 1) // MICROSECONDS
    given = bool(last or day or start)
    shown = Shown(
        until,
        Span(first // MICROSECONDS, until) if given else None,
        {name: value for name, value in (("client", client), ("host", host)) if value},
        zone,
    )
    to_stdout = str(file) == "-"
    check_page(None if to_stdout else file)
    with asked(reach(data).clickhouse) as store:
        text = drawn(lambda sql: _answer(store, sql), shown)
    if to_stdout:
        sys.stdout.buffer.write(text.encode())
        return
    write_page(file, text)


def _answer(store: ClickHouse, sql: str) -> Answer:
    """Names of the columns and rows of a query."""
    names: Sequence[tuple[Any, ...]] = store.rows(f"DESCRIBE ({sql})")
    return [str(name[0]) for name in names], store.rows(sql)

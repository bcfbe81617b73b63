"""`goaway dashboards`: into Grafana, into files, or onto a page."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

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
from streams.errors import InvalidValueError, SettingsError, UsageError
from streams.model.client import parse_network
from streams.model.client import shown as network_text
from streams.model.instant import MICROSECONDS

_HOST: Final = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
"""A name, or an address of either kind."""


@click.group()
def dashboards() -> None:
    """Grafana dashboards and alert rules; a preview without Grafana."""


def _seen_by_grafana(clickhouse: str | None) -> ClickHouseSettings:
    """ClickHouse from the environment, at the address under which Grafana reaches it."""
    found = settings().clickhouse
    if clickhouse is not None:
        try:
            host, port = parse_host_port(clickhouse, name="--clickhouse")
        except SettingsError:
            host, port = "", 0
        if not _HOST.fullmatch(host) or not port:
            raise UsageError(
                f"--clickhouse: {clickhouse[:99]!r} is not HOST:PORT", try_next="--clickhouse clickhouse:9000"
            )
        found = replace(found, host=host, port=port)
    return found


@dashboards.command()
@click.option(
    "--clickhouse",
    metavar="HOST:PORT",
    help="ClickHouse as Grafana reaches it, where it differs.",
)
@click.option("--renew-password", is_flag=True, help="Send ClickHouse's password again: Grafana shows none.")
def push(clickhouse: str | None, renew_password: bool) -> None:
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
    metavar="HOST:PORT",
    help="ClickHouse as Grafana reaches it, where it differs.",
)
@click.option(
    "--place", default=PLACE, show_default=True, metavar="DIR", help="Where Grafana will see that folder."
)
def export(folder: Path, clickhouse: str | None, place: str) -> None:
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
    if client:
        try:
            client = network_text(parse_network(client))
        except InvalidValueError as error:
            raise UsageError(f"--client: {error.what}", try_next="--client 192.0.2.7") from error
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
        for flag, table, value in (
            ("client", "clients_by_month", client),
            ("host", "traffic_by_minute", host),
        ):
            if value and not _stored(store, table, flag, value):
                click.echo(f"no event of {value} is stored: what is shown of it is empty", err=True)
        text = drawn(lambda sql: _answer(store, sql), shown)
    if to_stdout:
        sys.stdout.buffer.write(text.encode())
        return
    write_page(file, text)


def _stored(store: ClickHouse, table: str, column: str, value: str) -> bool:
    """Whether the rollup has a row with this value."""
    return bool(store.rows(f"SELECT 1 FROM {table} WHERE {column} = %(value)s LIMIT 1", {"value": value}))  # noqa: S608


def _answer(store: ClickHouse, sql: str) -> Answer:
    """Names of the columns and rows of a query."""
    names: Sequence[tuple[Any, ...]] = store.rows(f"DESCRIBE ({sql})")
    return [str(name[0]) for name in names], store.rows(sql)

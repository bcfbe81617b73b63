"""`goaway topics`: create them, show them."""

import json

import click
from rich.console import Console
from rich.table import Table

from streams.cli.options import settings
from streams.kafka import create_topics, partition_counts
from streams.topics import DEFAULT_PARTITIONS, TOPICS


@click.group()
def topics() -> None:
    """Create and show the Kafka topics."""


@topics.command()
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    default=DEFAULT_PARTITIONS,
    show_default=True,
    help="Partitions of smtp.events, and of what follows it.",
)
@click.option(
    "--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Replicas of each."
)
def create(partitions: int, replication: int) -> None:
    """Create the topics that are missing."""
    created = create_topics(settings().kafka, partitions=partitions, replication=replication)
    click.echo(f"created {', '.join(sorted(created))}" if created else "all topics are there already")


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """List the topics: what they carry, what is there."""
    counts = partition_counts(settings().kafka)
    rows = [
        {
            "topic": spec.name,
            "key": spec.key,
            "value": spec.value,
            "partitions": counts.get(spec.name, 0),
            "config": spec.config,
        }
        for spec in TOPICS
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("topic", "key", "value", "partitions", box=None, header_style="bold")
    for row in rows:
        table.add_row(
            str(row["topic"]), str(row["key"]), str(row["value"]), str(row["partitions"] or "missing")
        )
    Console().print(table)

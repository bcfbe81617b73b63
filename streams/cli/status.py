"""`goaway status`: what runs, what waits, who is refused."""

import json
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from streams.cli.options import data_option, now, settings
from streams.cli.reach import place_of
from streams.cli.screen import overview
from streams.embedded.up.plan import Part
from streams.embedded.up.refusals import recent
from streams.errors import GoawayError
from streams.kafka import partition_counts
from streams.model.instant import rfc3339
from streams.status import read_status


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data: Path, as_json: bool) -> None:
    """Show the stages of the `goaway up` on this data folder, and the latest refusals from Kafka.

    Exit code 4: Kafka does not answer.
    """
    kafka = settings().kafka
    if (place := place_of(data)) is not None:
        kafka = replace(kafka, bootstrap=place["kafka"])
    parts = []
    for file in sorted((data / "status").glob("*.json")):
        facts = read_status(file)
        pid = int(facts["pid"] or 0) if facts and "pid" in facts else None
        note = "" if facts else "said nothing for 10 s"
        parts.append(Part(file.stem, "runs" if facts else "ended", pid, 0, facts or {}, note))
    trouble: GoawayError | None = None
    try:
        partition_counts(kafka, timeout_s=3)
        decisions = recent(kafka, 10)
    except GoawayError as error:
        trouble, decisions = error, []
    if as_json:
        click.echo(
            json.dumps(
                {
                    "kafka": kafka.bootstrap,
                    "trouble": str(trouble) if trouble else None,
                    "parts": {part.name: {"state": part.state, **part.facts} for part in parts},
                    "refused": [
                        {
                            "at": rfc3339(one.at),
                            "until": rfc3339(one.until) if one.until else None,
                            "client": one.client,
                            "rule": one.rule,
                            "code": one.code,
                            "reason": one.reason,
                        }
                        for one in decisions
                    ],
                }
            )
        )
    else:
        hint = (
            "no stage reports here: goaway up, or --data DIR" if not parts else f"Kafka at {kafka.bootstrap}"
        )
        Console().print(overview(parts, decisions, total=len(decisions), now=now(), hints=[hint]))
    if trouble is not None:
        raise trouble

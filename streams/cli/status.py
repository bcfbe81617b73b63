"""`goaway status`: what runs, what waits, who is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from streams.cli.options import data_option, now, settings
from streams.cli.reach import place_of
from streams.cli.screen import overview, standing
from streams.embedded.up.plan import Part
from streams.embedded.up.refusals import READ_S, recent
from streams.errors import GoawayError
from streams.kafka import partition_counts
from streams.model.decision import Decision
from streams.model.instant import rfc3339
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.status import read_status

_LATEST: Final = 10
_CAUGHT_UP_S: Final = 2.0


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
    decisions, complete, at = list[Decision](), False, now()
    index: PolicyIndex | None = None
    try:
        partition_counts(kafka, timeout_s=3)
        follower = PolicyFollower(kafka, Policy())
        follower.start()
        try:
            decisions, complete = recent(kafka, _LATEST)
            follower.wait_until_caught_up(_CAUGHT_UP_S)
            if follower.current[0]:  # else the stages go by their file, which is not known here
                index = follower.current[1]
        finally:
            follower.stop()
    except GoawayError as error:
        trouble = error
    if as_json:
        click.echo(
            json.dumps(
                {
                    "kafka": kafka.bootstrap,
                    "trouble": str(trouble) if trouble else None,
                    "parts": {part.name: {"state": part.state, **part.facts} for part in parts},
                    "complete": complete,
                    "refused": [
                        {
                            "at": rfc3339(one.at),
                            "until": rfc3339(one.until) if one.until else None,
                            "client": one.client,
                            "rule": one.rule,
                            "code": one.code,
                            "reason": one.reason,
                            "shadow": one.shadow,
                            "refuses": not standing(one, index, at),
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
        counted = f"the latest {_LATEST}" if len(decisions) == _LATEST else str(len(decisions))
        if not complete:
            counted = f"not the latest: Kafka holds more than could be read in {READ_S:g} s"
        shown = overview(
            parts,
            decisions,
            counted=counted,
            index=index,
            now=at,
            hints=[hint],
            trouble=f"Kafka at {kafka.bootstrap} does not answer" if trouble else "",
        )
        Console().print(shown)
    if trouble is not None:
        raise trouble

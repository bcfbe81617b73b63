"""`goaway up`: run everything on this machine, watch over it, show it."""

import errno
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, RenderableType
from rich.live import Live

from streams.cli.options import (
    data_option,
    load_policy,
    metrics_option,
    now,
    policy_option,
    settings,
    start_logging,
)
from streams.cli.policy_options import operator
from streams.cli.screen import overview, refusal_line
from streams.cli.stages import stop_on_signals
from streams.embedded.up.pipeline import Pipeline
from streams.embedded.up.plan import Part, Plan
from streams.embedded.up.refusals import Refusals
from streams.errors import UsageError
from streams.holding import sole_owner
from streams.model.policy import Policy
from streams.policy_follower import PolicyFollower

if TYPE_CHECKING:
    from streams.metrics import Said

TEND_S = 0.2
LISTEN = "inet:127.0.0.1:10040"


@click.command()
@click.argument("logs", nargs=-1, type=click.Path(path_type=Path))
@data_option
@click.option(
    "--broker",
    default="tansu",
    show_default=True,
    metavar="tansu|apache|HOST:PORT",
    help="tansu: in memory, at once. apache: Apache Kafka on disk, needs Java. Or your own.",
)
@click.option(
    "--clickhouse",
    default="embedded",
    show_default=True,
    metavar="embedded|none|HOST:PORT",
    help="Where events and decisions are stored.",
)
@click.option(
    "--policy-listen",
    "listen",
    multiple=True,
    default=(LISTEN,),
    show_default=True,
    metavar="inet:HOST:PORT|unix:PATH",
    help="Where Postfix asks; may be given several times.",
)
@click.option("--socket-mode", default="0660", show_default=True, help="Permissions of a unix socket, octal.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers that decide."
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    default=4,
    show_default=True,
    help="Partitions of topics that are created.",
)
@click.option(
    "--timezone",
    default="local",
    show_default=True,
    metavar="ZONE",
    help="Time zone of stamps that name none, such as Europe/Berlin.",
)
@click.option(
    "--sample", is_flag=True, help="Feed the recorded sample log: its last minutes happen while you watch."
)
@click.option("--stop-after", type=float, metavar="SECONDS", help="Stop by itself, for trying things out.")
@policy_option
@metrics_option
def up(
    logs: tuple[Path, ...],
    data: Path,
    broker: str,
    clickhouse: str,
    listen: tuple[str, ...],
    socket_mode: str,
    workers: int,
    partitions: int,
    timezone: str,
    sample: bool,
    stop_after: float | None,
    policy_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Run the whole pipeline on this machine, following the Postfix LOGS that are named.

    Broker and ClickHouse are embedded unless you name your own. Stops cleanly on Ctrl-C and SIGTERM.
    """
    start_logging("WARNING")
    policy = load_policy(policy_file)  # one that cannot be used is said now, not by five stages
    if workers > partitions:
        raise UsageError(
            f"{workers} workers share {partitions} partitions", try_next=f"--partitions {workers}"
        )
    data = data.absolute()
    plan = Plan(
        data=data,
        broker=broker,
        clickhouse=clickhouse,
        listen=listen,
        socket_mode=socket_mode,
        policy=policy_file.absolute() if policy_file else None,
        by=operator(os.environ),
        logs=tuple(log.absolute() for log in logs),
        timezone=timezone,
        sample=sample,
        workers=workers,
        partitions=partitions,
    )
    stop = stop_on_signals()
    with sole_owner(data, taken="another goaway up runs on", flag="--data"):
        _run(plan, policy, stop, time.monotonic() + stop_after if stop_after else None, metrics_listen)


def _run(
    plan: Plan,
    policy: Policy,
    stop: threading.Event,
    deadline: float | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    console = Console()
    said: list[str] = []
    plain = not console.is_terminal

    def say(part: str, what: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {part:<11} {what}"
        said.append(line)
        if plain:
            click.echo(line)

    pipeline = Pipeline(plan, settings(), say=say)
    refusals: Refusals | None = None
    follower: PolicyFollower | None = None
    if metrics_listen is not None:
        from streams.metrics import serve

        say("metrics", serve(metrics_listen, lambda: map(_said, pipeline.parts())))
    try:
        if not plain:
            console.print("Starting; Ctrl-C stops everything.", style="dim")
        pipeline.start()
        refusals = Refusals(pipeline.kafka)
        refusals.start()
        logging.getLogger("streams.policy_follower").setLevel(logging.ERROR)  # the stages say it themselves
        follower = PolicyFollower(pipeline.kafka, policy)
        follower.start()
        shown = 0
        with Live(console=console, auto_refresh=False) as live:
            while not stop.wait(TEND_S) and (deadline is None or time.monotonic() < deadline):
                pipeline.tend()
                if plain:
                    for decision in refusals.since(shown):
                        click.echo(refusal_line(decision, follower.current[1].policy.replies))
                    shown = refusals.seen
                else:
                    hinted = [*said[-3:], *hints(plan)]
                    live.update(_fitting(console, pipeline, refusals, follower, hinted), refresh=True)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        _without_terminal()
    finally:
        with suppress(OSError):
            click.echo("stopping…" if plain else "\nStopping…")
        if refusals is not None:
            refusals.stop()
        if follower is not None:
            follower.stop()
        pipeline.stop()
        with suppress(OSError):
            click.echo("stopped; what was stored is in " + str(plan.data))


def _said(part: Part) -> "Said":
    """A part as its metrics are read from it."""
    from streams.metrics import Said

    return Said(part.name, part.state in ("runs", "done"), part.facts, part.restarts, part.pid)


def _fitting(
    console: Console, pipeline: Pipeline, refusals: Refusals, follower: PolicyFollower, hinted: list[str]
) -> RenderableType:
    """The screen with as many refusals, and then hints, as the terminal has lines for."""
    shown: RenderableType = ""
    away = "Kafka does not answer" if follower.state == "away" and not refusals.seen else ""
    for rows, said in (
        (12, hinted),
        (8, hinted),
        (5, hinted),
        (3, hinted),
        (3, hinted[-2:]),
        (2, []),
        (1, []),
    ):
        shown = overview(
            pipeline.parts(),
            refusals.latest(rows),
            counted=f"{refusals.refused} so far",
            index=follower.current[1],
            trouble=away,
            now=now(),
            hints=said,
            width=console.width,
        )
        if len(console.render_lines(shown, pad=False)) < console.height:
            break
    return shown


def _without_terminal() -> None:
    """The terminal was closed, SIGHUP ignored: what is still said goes nowhere, and the stop is in order."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def hints(plan: Plan) -> list[str]:
    """What to do next, as long as it is not done."""
    asked = plan.listen[0]
    found = [f"Postfix, main.cf: smtpd_client_restrictions = check_policy_service {asked}   (goaway doctor)"]
    if not plan.logs:
        found.append("No log is followed yet: goaway up /var/log/mail.log")
    return found

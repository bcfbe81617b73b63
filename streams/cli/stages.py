"""The stages, each a process that runs until SIGTERM: `ship`, `worker`, `shim`, `sink`."""

import os
import signal
import sys
import threading
from datetime import tzinfo
from pathlib import Path

import click

from streams.cli.options import (
    data_flags,
    data_option,
    load_policy,
    metrics_option,
    policy_option,
    reported,
    settings,
    start_logging,
    status_option,
    zone_option,
)
from streams.cli.reach import reach
from streams.errors import UsageError
from streams.model.standing import PolicyIndex


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # from a thread: the handler may interrupt this very event's `wait` while that holds its lock
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    return stop


@click.command()
@click.option(
    "--instance",
    default="",
    metavar="NAME",
    help="A name of its own for each worker: restarted under it, it takes its partitions again at once.",
)
@policy_option
@status_option
@metrics_option
def worker(
    instance: str,
    policy_file: Path | None,
    status_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Decide: read frames of events, write decisions and warnings.

    Start several to share the partitions. Killed at any moment, the next start goes on where it stopped.
    """
    start_logging()
    from streams.agents.run import run_worker

    run_worker(
        settings(),
        PolicyIndex(load_policy(policy_file)),
        status=reported("worker", status_file, metrics_listen),
        instance=instance,
    )


@click.command()
@click.option(
    "--policy-listen",
    "listen",
    multiple=True,
    default=("inet:127.0.0.1:10040",),
    show_default=True,
    metavar="inet:HOST:PORT|unix:PATH",
    help="Where Postfix asks; may be given several times.",
)
@click.option("--socket-mode", default="0660", show_default=True, help="Permissions of a unix socket, octal.")
@click.option("--allow-remote", is_flag=True, help="Allow listening on an address that is not loopback.")
@policy_option
@status_option
@metrics_option
def shim(
    listen: tuple[str, ...],
    socket_mode: str,
    allow_remote: bool,
    policy_file: Path | None,
    status_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Answer Postfix's policy requests from the decisions that stand."""
    start_logging()
    from streams.shim.run import run_shim

    try:
        mode = int(socket_mode, 8)
    except ValueError:
        raise UsageError(
            f"--socket-mode: {socket_mode[:16]!r} is not octal", try_next="--socket-mode 0660"
        ) from None
    run_shim(
        settings(),
        PolicyIndex(load_policy(policy_file)),
        listen,
        status=reported("shim", status_file, metrics_listen),
        socket_mode=mode,
        allow_remote=allow_remote,
    )


@click.command()
@click.option("--broker-instance", default="", hidden=True, help="Changes when the broker's memory was lost.")
@status_option
@metrics_option
def sink(broker_instance: str, status_file: Path | None, metrics_listen: tuple[str, int] | None) -> None:
    """Store what passes the topics in ClickHouse, without loss or doubles. Needs: goaway db migrate."""
    start_logging()
    from streams.audit.run import run_sink

    run_sink(
        settings(),
        status=reported("sink", status_file, metrics_listen),
        stop=stop_on_signals(),
        broker_instance=broker_instance,
    )


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--once", is_flag=True, help="Ship the files whole (.gz too, - is standard input), then end.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that remembers how far each file was shipped; without one, ship in that of --data.",
)
@data_option
@zone_option
@policy_option
@status_option
@metrics_option
@click.pass_context
def ship(
    context: click.Context,
    files: tuple[Path, ...],
    once: bool,
    state: Path | None,
    data: Path,
    zone: tzinfo,
    policy_file: Path | None,
    status_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Follow MTA log FILES into Kafka: through rotation, truncation, restarts and a Kafka that is away.

    Kafka is that of the goaway up on the folder of --data; without --data, GOAWAY_KAFKA comes first.
    """
    start_logging("WARNING" if once else "INFO")
    # goaway up names its Kafka to its stages by the environment: they must not find another's
    named = os.environ.get("GOAWAY_KAFKA") and not data_flags(context, data)
    found = settings() if named else reach(data)
    prefixes = load_policy(policy_file).clients
    if once:
        if metrics_listen is not None:
            raise UsageError(
                "--once ends before anybody can ask for metrics", try_next="without --metrics-listen"
            )
        from streams.ship.run import ship_once

        ship_once(found, files, zone=zone, prefixes=prefixes, progress=sys.stderr.isatty())
        return
    if any(str(file) == "-" for file in files):
        raise UsageError("standard input can only be shipped whole", try_next="goaway ship --once -")
    from streams.ship.run import follow

    follow(
        found,
        files,
        state=state or data / "ship",
        zone=zone,
        prefixes=prefixes,
        status=reported("ship", status_file, metrics_listen),
        stop=stop_on_signals(),
    )

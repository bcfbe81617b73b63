"""The shipper's two ways to run: follow for ever, or ship whole files and end."""

import logging
import sys
import threading
import time
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from streams.config import Settings
from streams.errors import GoawayError, UnavailableError, UsageError
from streams.holding import sole_owner
from streams.kafka import events_partitions, partition_counts
from streams.model.client import ClientPrefixes
from streams.ship.counts import ShipCounts
from streams.ship.following import Following, KafkaFailedError
from streams.ship.once import LogName, Meter, WholeFiles
from streams.ship.producer import Outbox
from streams.status import StatusFile
from streams.topics import EVENTS

RETRY_S: Final = 1.0
"""Pause before Kafka is tried again."""

FLUSH_S: Final = 10.0
"""How long the end waits for acknowledgements; what is missing then is shipped again at the next start."""

ONCE_PATIENCE_S: Final = 60.0
"""How long `--once` waits for a Kafka that takes nothing before it gives up."""

_log = logging.getLogger(__name__)


def follow(
    settings: Settings,
    files: Sequence[Path],
    *,
    state: Path,
    zone: tzinfo,
    prefixes: ClientPrefixes,
    status: StatusFile,
    stop: threading.Event,
) -> ShipCounts:
    """Ship Postfix logs as they grow, until `stop` is set; then flush, save the positions and return.

    A log seen for the first time is read from its beginning. Kafka away, at the start or later, means
    waiting; files that are missing are waited for. `state` is the folder of the saved positions, used by
    one shipper at a time (`UsageError`). `zone` is that of stamps without one.
    """
    paths = list(dict.fromkeys(Path(file).absolute() for file in files))
    if not paths:
        raise UsageError("no log file to follow", try_next="goaway ship /var/log/mail.log")
    counts, started = ShipCounts(), time.monotonic()
    with sole_owner(state, taken="another shipper keeps its positions in", flag="--state"):
        said = ""
        while not stop.is_set():
            try:
                partitions = _partitions_now(settings)
                if said:
                    _log.warning("Kafka at %s is back", settings.kafka.bootstrap)
                    said = ""
                following = Following(
                    settings.kafka,
                    paths,
                    state=state,
                    zone=zone,
                    prefixes=prefixes,
                    partitions=partitions,
                    counts=counts,
                )
                following.run(stop, status, flush_s=FLUSH_S)
            except (UnavailableError, KafkaFailedError) as error:
                cause = error.what.partition(" (")[0]  # what follows has milliseconds that differ each time
                if cause != said:
                    said = cause
                    _log.warning("Nothing is lost, it is tried again: %s", error)
                status.write({"files": len(paths), "kafka": False, "trouble": str(error)[:300]})
                stop.wait(RETRY_S)
    counts.seconds = time.monotonic() - started
    return counts


def ship_once(
    settings: Settings,
    files: Sequence[LogName],
    *,
    zone: tzinfo,
    prefixes: ClientPrefixes,
    progress: bool = True,
) -> ShipCounts:
    """Ship whole files (`.gz`, `.xz`, `.bz2` too; `-` is stdin), wait for Kafka, sum up on stderr.

    A file shipped twice gives the same ids, source and positions twice. Raises `UnavailableError` for a
    file that cannot be read and for a Kafka that is away or refuses; what was sent before stays sent.
    """
    if not files:
        raise UsageError("no file to ship", try_next="goaway ship --once /var/log/mail.log")
    names: list[LogName] = ["-" if str(file) == "-" else Path(file) for file in files]
    for name in names:
        if isinstance(name, Path) and not name.is_file():
            raise UnavailableError(f"{name} is not a file", try_next=f"ls -l {name}")
    counts, started = ShipCounts(), time.monotonic()
    partitions = events_partitions(settings.kafka)
    outbox = Outbox(settings.kafka)

    def room() -> None:
        outbox.poll()
        while outbox.full and not outbox.failure:
            outbox.poll(0.1)
            if outbox.away(time.monotonic() - ONCE_PATIENCE_S):
                break
        if outbox.failure or outbox.full:
            raise _not_taken(settings, outbox)

    with Meter(names, shown=progress and sys.stderr.isatty()) as meter:
        whole = WholeFiles(
            outbox,
            counts,
            partitions=partitions,
            zone=zone,
            prefixes=prefixes,
            meter=meter,
            room=room,
        )
        try:
            for name in names:
                whole.ship(name)
        except GoawayError:
            outbox.flush(FLUSH_S)  # the files before this one count
            raise
    counts.settled = outbox.flush(ONCE_PATIENCE_S)
    counts.seconds = time.monotonic() - started
    if not counts.settled:
        raise _not_taken(settings, outbox)
    sys.stderr.write(counts.summary() + "\n")
    return counts


def _partitions_now(settings: Settings) -> int:
    """As `events_partitions`, without keeping a stop waiting for long."""
    found = partition_counts(settings.kafka, timeout_s=2.0).get(EVENTS, 0)
    return found or events_partitions(settings.kafka)


def _not_taken(settings: Settings, outbox: Outbox) -> GoawayError:
    cause = outbox.failure or f"{outbox.records} records are not acknowledged after {ONCE_PATIENCE_S:.0f} s"
    outbox.discard()
    return UnavailableError(
        f"Kafka at {settings.kafka.bootstrap} did not take everything ({cause})",
        try_next="goaway doctor, then the same command again: doubles are recognised",
    )

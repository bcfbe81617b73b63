"""Several followed logs and one producer: read, send, note what was acknowledged, save."""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from streams.config import KafkaSettings
from streams.errors import GoawayError, UnavailableError
from streams.kafka import partition_counts
from streams.model.client import ClientPrefixes
from streams.model.instant import Instant, rfc3339
from streams.ship.counts import ShipCounts
from streams.ship.follow import FollowedLog
from streams.ship.framing import Frame
from streams.ship.position import Place, load_place, save_place
from streams.ship.producer import Outbox
from streams.status import StatusFile
from streams.wire.postfix import LogParser

ACTIVE_WAIT_S: Final = 0.01
IDLE_WAIT_S: Final = 0.025
"""Pauses between looks at the files; the idle one after `ACTIVE_FOR_S` without a line."""
ACTIVE_FOR_S: Final = 30.0
SAVE_EVERY_S: Final = 0.5
STATUS_EVERY_S: Final = 1.0
PROBE_EVERY_S: Final = 5.0
"""How often a Kafka that acknowledges nothing is asked whether it answers at all."""

_log = logging.getLogger(__name__)


class KafkaFailedError(GoawayError):
    """Kafka refused a record: start again from the saved places."""

    exit_code = 4


@dataclass(slots=True)
class _Saving:
    """One log's way to disk: noted, then acknowledged, then saved."""

    log: FollowedLog
    noted: tuple[int, Place] | None = None
    """A place, and the number of the last record that must be acknowledged before it is saved."""
    at_offset: int = -2
    """The log's offset when the place was noted."""
    writing: "Future[None] | None" = None
    due: float = 0.0


class Following:
    """One attempt: from the saved places until `stop`, or until Kafka refuses something."""

    def __init__(
        self,
        kafka: KafkaSettings,
        paths: list[Path],
        *,
        state: Path,
        zone: tzinfo,
        prefixes: ClientPrefixes,
        partitions: int,
        counts: ShipCounts,
    ) -> None:
        self._kafka = kafka
        self._state = state
        self._counts = counts
        self._outbox = Outbox(kafka)
        self._away = False
        self._next_probe = 0.0
        self._answered_at = 0
        self._save_trouble = ""
        self._last_read = time.monotonic()

        def make_parser(source: str, reference: Instant) -> LogParser:
            return LogParser(prefixes=prefixes, zone=zone, reference=reference, source=source)

        self._savings = [
            _Saving(
                FollowedLog(
                    path,
                    load_place(state, path),
                    make_parser=make_parser,
                    partitions=partitions,
                    emit=self._emit,
                    letters=self._outbox.send_letter,
                    counts=counts,
                )
            )
            for path in paths
        ]

    def _emit(self, frame: Frame) -> None:
        self._counts.frames += 1
        self._outbox.send_frame(frame)

    def run(self, stop: threading.Event, status: StatusFile, *, flush_s: float) -> None:
        """Ship until `stop`, then wait up to `flush_s` for Kafka and save; or raise `KafkaFailedError`."""
        # saving waits for the disk; shipping must not wait with it
        with ThreadPoolExecutor(1, thread_name_prefix="save") as writer:
            try:
                self._loop(stop, status, writer)
                for saving in self._savings:
                    self._save(saving, writer)
                    self._note(saving)
                self._counts.settled = self._outbox.flush(flush_s)
                if not self._counts.settled:
                    _log.warning(
                        "stopped with %d records unacknowledged; they are shipped again", self._outbox.records
                    )
                for saving in self._savings:
                    self._written(saving)
                    self._save(saving, writer)
                    self._written(saving)
            finally:
                for saving in self._savings:
                    saving.log.close()
                self._outbox.discard()
        status.write(self._facts())

    def _loop(self, stop: threading.Event, status: StatusFile, writer: ThreadPoolExecutor) -> None:
        next_status = 0.0
        while not stop.is_set():
            now = time.monotonic()
            more = self._step(now)
            self._outbox.poll()
            if self._outbox.failure:
                raise KafkaFailedError(
                    f"Kafka at {self._kafka.bootstrap} refused a record ({self._outbox.failure})",
                    try_next="goaway doctor",
                )
            for saving in self._savings:
                self._keep(saving, now, writer)
            self._say_away(now)
            self._probe(now)
            if now >= next_status:
                status.write(self._facts())
                next_status = now + STATUS_EVERY_S
            if self._outbox.full:
                self._outbox.poll(ACTIVE_WAIT_S)
            elif not more:
                active = now - self._last_read < ACTIVE_FOR_S
                stop.wait(ACTIVE_WAIT_S if active else IDLE_WAIT_S)

    def _step(self, now: float) -> bool:
        """One chunk of each log; whether any has more. Nothing is read while too much is unacknowledged."""
        more = False
        before = self._counts.read
        for saving in self._savings:
            if self._outbox.full:
                break
            more |= saving.log.step(now)
        if self._counts.read != before:
            self._last_read = now
        return more

    def _keep(self, saving: _Saving, now: float, writer: ThreadPoolExecutor) -> None:
        self._save(saving, writer)
        if now >= saving.due and saving.noted is None and saving.log.offset != saving.at_offset:
            self._note(saving)
            saving.due = now + SAVE_EVERY_S

    def _note(self, saving: _Saving) -> None:
        offset = saving.log.offset
        place = saving.log.place()
        if place is not None:
            saving.noted, saving.at_offset = (self._outbox.sent, place), offset

    def _save(self, saving: _Saving, writer: ThreadPoolExecutor) -> None:
        """Write the noted place if Kafka has all before it and no other write is under way."""
        if saving.writing is not None and saving.writing.done():
            self._written(saving)
        if saving.noted is not None and saving.writing is None and self._outbox.settled(saving.noted[0]):
            saving.writing = writer.submit(save_place, self._state, saving.noted[1])
            saving.noted = None

    def _written(self, saving: _Saving) -> None:
        """Wait for the write that is under way, if any, and note how it ended."""
        if saving.writing is None:
            return
        trouble = saving.writing.exception()
        saving.writing = None
        if trouble is not None and str(trouble) != self._save_trouble:
            _log.error("%s", trouble)
        self._save_trouble = str(trouble) if trouble else ""

    def _say_away(self, now: float) -> None:
        away = self._outbox.away(now)
        if away != self._away:
            self._away = away
            text = "takes nothing; waiting, nothing is lost" if away else "is back"
            _log.warning("Kafka at %s %s", self._kafka.bootstrap, text)

    def _probe(self, now: float) -> None:
        """Raise `KafkaFailedError` when Kafka answered twice and acknowledged nothing in between.

        A broker that has forgotten this producer (it lost its memory, or its topics were made anew) never
        takes what the producer has in hand, and librdkafka never gives it up.
        """
        if not self._away or now < self._next_probe:
            return
        self._next_probe = now + PROBE_EVERY_S
        try:
            partition_counts(self._kafka, timeout_s=1.0)
        except UnavailableError:
            self._answered_at = 0
            return
        self._outbox.poll()
        if self._answered_at == self._outbox.oldest != 0:
            raise KafkaFailedError(
                f"Kafka at {self._kafka.bootstrap} answers and acknowledges nothing", try_next="goaway doctor"
            )
        self._answered_at = self._outbox.oldest

    def _facts(self) -> dict[str, str | int | float | bool | None]:
        counts = self._counts
        return {
            "files": len(self._savings),
            "bytes_behind": sum(saving.log.behind for saving in self._savings),
            "lines_read": counts.read,
            "events": counts.events,
            "ignored": counts.ignored.total(),
            "unreadable": counts.unreadable,
            "frames": counts.frames,
            "records_in_flight": self._outbox.records,
            "bytes_in_flight": self._outbox.bytes,
            "last_event_at": None if counts.last_event_at is None else rfc3339(counts.last_event_at),
            "kafka": not self._away and not self._outbox.failure,
            "trouble": self._save_trouble[:300],
        }

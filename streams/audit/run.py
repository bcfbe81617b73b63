"""The sink as a process: goes on by itself when ClickHouse or Kafka were away, and says where it stands."""

import logging
import threading
import time
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.sink import Sink
from streams.audit.source import LogReader
from streams.audit.veil import Veil
from streams.config import Settings
from streams.errors import UnavailableError
from streams.status import StatusFile

_WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_STATUS_EVERY_S: Final = 1.0

_log = logging.getLogger(__name__)


def run_sink(
    settings: Settings, *, status: StatusFile, stop: threading.Event, broker_instance: str = ""
) -> None:
    """Store the topics until `stop`; what was read by then is stored.

    While Kafka or ClickHouse is away nothing is read (memory stays bounded), it is said once, and the sink
    goes on when both are back. Raises `StorageError` where waiting does not help: tables that are missing, an
    account that is refused. `broker_instance` names the run of a broker that keeps its log in memory; the
    sink must be started anew with another name when that broker is.
    """
    clickhouse, reader = ClickHouse(settings.clickhouse), LogReader(settings.kafka)
    sink = Sink(clickhouse, reader, broker_instance=broker_instance, veil=Veil(settings.storing))
    speaker = _Speaker(status, sink, reader)
    failures = 0
    try:
        while not stop.is_set():
            try:
                speaker.say("catching up")
                sink.catch_up()
                while not stop.is_set():
                    speaker.going_on()
                    sink.step()
                    failures = 0
                sink.flush()
            except UnavailableError as error:
                wait_s = _WAITS_S[min(failures, len(_WAITS_S) - 1)]
                failures += 1
                speaker.waiting(error)
                stop.wait(wait_s)
        speaker.say("stopped")
    finally:
        sink.close()
        reader.close()
        clickhouse.close()


class _Speaker:
    """The log's and the status file's side of it: each trouble is said once, and its end once."""

    def __init__(self, status: StatusFile, sink: Sink, reader: LogReader) -> None:
        self._status = status
        self._sink = sink
        self._reader = reader
        self._trouble = ""
        self._said: set[str] = set()
        self._written = 0.0

    def waiting(self, error: UnavailableError) -> None:
        """Trouble that passes by itself."""
        if error.what not in self._said:
            _log.warning("%s; the sink waits and tries again", error)
            self._said.add(error.what)
        self._trouble = error.what
        self.say("waiting")

    def going_on(self) -> None:
        """No trouble (any more)."""
        if self._trouble:
            _log.warning("the sink goes on")
            self._trouble = ""
            self._said.clear()
        if time.monotonic() - self._written >= _STATUS_EVERY_S:
            self.say("storing")

    def say(self, state: str) -> None:
        """Write the facts."""
        self._written = time.monotonic()
        figures = self._sink.figures
        self._status.write(
            {
                "stage": "sink",
                "state": state,
                "trouble": self._trouble,
                "rows": figures.rows,
                "batches": figures.batches,
                "unreadable": figures.unreadable,
                "redone": figures.redone,
                "repeated": figures.repeated,
                "mended": figures.mended,
                "lag": self._reader.behind(self._sink.positions),
            }
        )

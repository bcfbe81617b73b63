"""The client libraries' log lines, bounded: aiokafka says many times a second that Kafka is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

REPEAT_S: Final = 60.0
"""The same line of a library is let through once in this time."""

_LIBRARIES: Final = ("aiokafka", "faust", "mode")
_MAX_KNOWN: Final = 200
_AWAY: Final = (
    "Unable connect to",
    "Unable to update metadata",
    "Unable to request metadata",
    "Topic metadata could not be",
    "Failed fetch messages from",
    "Failed to connect",
    "Heartbeat failed",
    "Heartbeat session expired",
    "Marking the coordinator dead",
    "Error sending ",
    "Group Coordinator Request failed",
    "Connection at ",
    "Got error produce response",
    "OffsetCommit failed",
    "Unable to connect",
)
"""What aiokafka says while Kafka is away; the watchdog says that once, and once when it is back."""


class Quiet(logging.Filter):
    """A filter for handlers: lets every line of ours through, and of a library what is new."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.name.partition(".")[0] not in _LIBRARIES:
            return True
        template = str(record.msg)
        if record.name.startswith("aiokafka") and template.startswith(_AWAY):
            return False
        key, now = (record.name, template), self._clock()
        with self._lock:
            if now - self._said.get(key, -REPEAT_S) < REPEAT_S:
                return False
            if len(self._said) >= _MAX_KNOWN:
                self._said.clear()
            self._said[key] = now
        return True


def quiet_libraries() -> None:
    """Put the filter on every handler that there is now."""
    quiet = Quiet()
    for handler in logging.getLogger().handlers:
        handler.addFilter(quiet)

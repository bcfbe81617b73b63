"""Looks after the pipeline itself: does the worker keep up, does Kafka answer, do the stages report."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.agents.notify.trouble import PATIENCE_S, Backlog, Toggle
from streams.config import KafkaSettings
from streams.kafka import client_config
from streams.model.decision import LimitWarning, notice
from streams.model.instant import Instant
from streams.topics import EVENTS

DECIDE_GROUP: Final = "goaway-decide"
"""The worker's consumer group (`streams/agents/decide.py`, which would bring Faust with it)."""
LOOK_EVERY_S: Final = 5.0
AWAY_S: Final = 30.0
"""Kafka away for less is not told."""
SILENT_S: Final = 30.0
"""A stage writes its status file each second; one that is so old belongs to a stage that hangs or ended."""
_TIMEOUT_S: Final = 5.0
_MAX_STAGES: Final = 50

_log = logging.getLogger(__name__)


class Watch(threading.Thread):
    """Looks every few seconds, and gives `tell` a warning where something begins or ends to be wrong.

    `tell` is called in the thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        tell: Callable[[LimitWarning], None],
        *,
        data: Path | None = None,
        patience_s: float = PATIENCE_S,
        away_s: float = AWAY_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._settings = settings
        self._tell = tell
        self._data = data
        self._away_s = away_s
        self._look_every_s = look_every_s
        self._patience_s = patience_s
        self._backlog = Backlog(patience_s)
        self._toggle = Toggle()
        self._away_since: float | None = None
        self._stop_event = threading.Event()

    @property
    def waiting(self) -> int:
        """Records that wait for the worker, at the last look."""
        return self._backlog.waiting

    @property
    def away(self) -> bool:
        """Whether Kafka did not answer at the last look."""
        return self._away_since is not None

    def stop(self) -> None:
        """End at the next look."""
        self._stop_event.set()

    def run(self) -> None:
        """Look until stopped."""
        # it never subscribes, so it is no member of the group
        consumer = Consumer(client_config(self._settings, group_id=DECIDE_GROUP), logger=_log)
        while not self._stop_event.wait(self._look_every_s):
            try:
                self._look_at_kafka(consumer)
                self._look_at_stages()
            except Exception:
                # a look that fails must not be the last one
                _log.exception("looking after the pipeline failed; trying again")
        consumer.close()

    def _look_at_kafka(self, consumer: Consumer) -> None:
        now = time.monotonic()
        try:
            reach = self._reach(consumer)
        except KafkaException:
            self._away_since = now if self._away_since is None else self._away_since
            self._backlog.forget()
            if now - self._away_since >= self._away_s:
                self._say("kafka", self._away_since, "Kafka does not answer", "goaway doctor")
            return
        self._away_since = None
        self._say("kafka", None, "Kafka answers again", "")
        self._backlog.look(reach, now)
        self._say(
            "worker",
            self._backlog.stuck_since,
            f"{self._backlog.waiting} records wait on {EVENTS}, some for more than {self._patience_s:g} s, "
            "and they do not become fewer: the worker does not keep up, or none runs"
            if self._backlog.stuck_since is not None
            else f"the worker keeps up with {EVENTS} again",
            "goaway status",
        )

    def _reach(self, consumer: Consumer) -> dict[int, tuple[int, int]]:
        topics = consumer.list_topics(EVENTS, timeout=_TIMEOUT_S).topics
        places = [TopicPartition(EVENTS, number) for number in topics[EVENTS].partitions]
        found = {}
        for place in consumer.committed(places, timeout=_TIMEOUT_S) if places else ():
            low, end = consumer.get_watermark_offsets(place, timeout=_TIMEOUT_S, cached=False)
            found[place.partition] = (place.offset if place.offset >= 0 else low, end)
        return found

    def _look_at_stages(self) -> None:
        """Only while `goaway up` runs: after its end nobody is expected to report."""
        if self._data is None or not (self._data / "up.json").exists():
            return
        for file in sorted((self._data / "status").glob("*.json"))[:_MAX_STAGES]:
            if file.stem == "notify":
                continue
            try:
                age_s = time.time() - float(json.loads(file.read_text())["written"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            since = time.monotonic() - age_s if age_s > SILENT_S else None
            silent = f"stage {file.stem} has not reported for {age_s:.0f} s"
            said = silent if since is not None else f"stage {file.stem} reports again"
            self._say(
                file.stem, since, said, f"less {self._data}/log/{file.stem}.log", about=f"stage {file.stem}"
            )

    def _say(self, subject: str, since: float | None, text: str, try_next: str, *, about: str = "") -> None:
        """Tell it where it began or ended just now; `since` is a time of `time.monotonic`."""
        turned = self._toggle.turned(about or subject, since)
        if turned is None:
            return
        wrong, began = turned
        lasted_s = time.monotonic() - began
        if wrong and try_next:
            text = f"{text}. Try: {try_next}"
        elif not wrong:
            text = f"{text}, after {lasted_s:.0f} s"
        now = Instant(time.time_ns() // 1000)
        host = socket.gethostname()[:255]
        _log.log(logging.WARNING, "%s", text)
        self._tell(
            notice(
                "pipeline",
                subject[:64],
                text,
                named=(host, about or subject, str(wrong), str(now)),
                at=now,
                host=host,
            )
        )

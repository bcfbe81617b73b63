"""The notify stage as a process: records in, digests out, offsets committed after delivery."""

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from streams.agents.notify.courier import Courier
from streams.agents.notify.digest import Digest
from streams.agents.notify.notices import notice_of
from streams.agents.notify.progress import Place, Progress
from streams.agents.notify.records import Records
from streams.agents.notify.services import check, services_of
from streams.agents.notify.watch import Watch
from streams.config import Settings
from streams.errors import InvalidValueError
from streams.model.decision import Decision, LimitWarning
from streams.model.modules import Notify
from streams.model.policy import Policy
from streams.policy_follower import PolicyFollower
from streams.status import StatusFile
from streams.topics import DECISIONS
from streams.wire.frames import decode_decision, decode_warning

POLL_S: Final = 0.2
STATUS_S: Final = 1.0
LAST_DELIVERY_S: Final = 5.0
"""How long a stop waits for what is under way."""

_log = logging.getLogger(__name__)


def run_notify(
    settings: Settings,
    base_policy: Policy,
    *,
    status: StatusFile,
    stop: threading.Event,
    data: Path | None = None,
    patience_s: float = 60.0,
) -> None:
    """Tell people until `stop`; `GOAWAY_NOTIFY_URLS` says where.

    Killed at any moment, the next start tells what was not delivered; the message that was under way may come
    twice. `data` is the folder of a `goaway up` whose stages are looked after too. `SettingsError` where no
    service is named, or apprise does not know one.
    """
    services = services_of(settings.notify_urls)
    check(services)
    courier = Courier(services)
    stage = Stage(settings, base_policy, courier)
    watch = Watch(
        settings.kafka, lambda it: stage.own.append((it, watch.away)), data=data, patience_s=patience_s
    )
    follower = stage.follower
    _log.info("telling %s", ", ".join(service.name for service in services))
    courier.start()
    follower.start()
    watch.start()
    written = 0.0
    try:
        while not stop.is_set():
            stage.step(POLL_S)
            if time.monotonic() - written >= STATUS_S:
                written = time.monotonic()
                state = "away" if watch.away else "telling"
                status.write({**stage.facts(), "state": state, "records_waiting": watch.waiting})
    finally:
        watch.stop()
        follower.stop()
        courier.stop(LAST_DELIVERY_S)
        stage.close()
        status.write({**stage.facts(), "state": "stopped"})


class Stage:
    """What the loop works on. One thread calls `step`; `own` may be appended to from any."""

    def __init__(self, settings: Settings, base_policy: Policy, courier: Courier) -> None:
        self.own: deque[tuple[LimitWarning, bool]] = deque(maxlen=1000)
        """Warnings of the stage's own, to be put on record; and whether Kafka is away, so that it cannot wait
        until they come back from there like any other."""
        self.follower = PolicyFollower(settings.kafka, base_policy)
        self._progress = Progress()
        self._digest = Digest()
        self._courier = courier
        self._records = Records(settings.kafka, self._progress, self._digest.mark_told)
        self._read = 0
        self._unreadable = 0
        self._told = 0

    def step(self, timeout_s: float) -> None:
        """Read what is there, hand over what is due, commit what arrived."""
        policy = self.follower.current[1].policy.notify
        for place, offset, value in self._records.read(timeout_s):
            self._take(place, offset, value, policy)
        now = time.time_ns() // 1000
        while self.own:
            warning, at_once = self.own.popleft()
            notice = notice_of(warning, policy.about) if at_once else None
            if notice is not None:  # when it comes back it is known by its id
                self._digest.take(notice, now, policy)
            self._records.record(warning)
        if self._courier.free and (outgoing := self._digest.compose(now, policy)) is not None:
            number = self._courier.send(outgoing.message.title, outgoing.message.body)
            self._progress.sent(number, outgoing.lanes)
            self._told += sum(outgoing.message.counts.values())
        for number in self._courier.delivered():
            self._progress.delivered(number)
        self._records.commit(self._progress.commits())

    def close(self) -> None:
        """Commit what arrived meanwhile and leave Kafka."""
        for number in self._courier.delivered():
            self._progress.delivered(number)
        self._records.close(self._progress.commits())

    def facts(self) -> dict[str, str | int | float | bool | None]:
        """For the status file."""
        number, index = self.follower.current
        trouble = self._courier.trouble
        return {
            "stage": "notify",
            "trouble": trouble,
            "partitions": self._records.partitions,
            "read": self._read,
            "unreadable": self._unreadable,
            "notices_waiting": self._digest.waiting,
            "notices_told": self._told,
            "messages": self._courier.sent,
            "given_up": self._courier.given_up,
            "policy": index.version,
            "policy_change": number,
        }

    def _take(self, place: Place, offset: int, value: bytes, policy: Notify) -> None:
        self._read += 1
        try:
            source: Decision | LimitWarning = (
                decode_decision(value) if place[0] == DECISIONS else decode_warning(value)
            )
        except InvalidValueError as error:
            self._unreadable += 1
            if self._unreadable == 1:
                _log.warning("%s[%d] offset %d cannot be read: %s", *place, offset, error.what[:200])
        else:
            notice = notice_of(source, policy.about)
            if notice is not None:
                lane = self._digest.take(notice, time.time_ns() // 1000, policy)
                if lane is not None:
                    self._progress.hold(lane, place, offset, notice.id)
        self._progress.read(place, offset)

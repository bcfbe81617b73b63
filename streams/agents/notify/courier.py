"""Brings messages to every service: a thread each, so that one that is dead holds up nobody."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from streams.agents.notify.delivery import Outcome
from streams.agents.notify.services import Service, deliver

WAITS_S: Final = (5.0, 15.0, 60.0, 300.0)
"""Pauses before the next try, the last one from then on."""
GIVE_UP_S: Final = 600.0
"""A service that takes nothing for so long is waited for by nobody, as long as another one takes messages."""
MAX_WAITING: Final = 20
"""Messages that wait for one service; the oldest is given up for the next."""

Deliver = Callable[[Service, str, str], Outcome]

_log = logging.getLogger(__name__)


class Parcel(NamedTuple):
    """A message on its way."""

    number: int
    title: str
    body: str


class Courier:
    """Deliveries under way. All methods are for one thread, the stage's own, and none of them waits."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        waits_s: Sequence[float] = WAITS_S,
        give_up_s: float = GIVE_UP_S,
        deliver: Deliver = deliver,
    ) -> None:
        self._lock = threading.Condition()
        self._routes = [_Route(service, self._lock, waits_s, deliver) for service in services]
        self._give_up_s = give_up_s
        self._open: dict[int, set[int]] = {}
        """Message → the routes that it still has to take."""
        self._number = 0

    def start(self) -> None:
        """Begin."""
        for route in self._routes:
            route.start()

    def stop(self, timeout_s: float) -> None:
        """Wait for what is under way, at most so long; what waits for another try is left."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            for route in self._routes:
                route.stopping = True
            self._lock.notify_all()
        for route in self._routes:
            route.join(max(0.0, deadline - time.monotonic()))

    @property
    def free(self) -> bool:
        """Whether the latest message arrived somewhere, so that another one may follow.

        Until then notices gather in the digest, which is bounded, rather than in a queue.
        """
        with self._lock:
            return not self._number or any(self._number in route.taken for route in self._routes)

    @property
    def trouble(self) -> str:
        """Services that do not take messages now, with causes; empty where all do."""
        with self._lock:
            return "; ".join(
                f"{r.service.name}: {r.cause}" for r in self._routes if r.failing_since is not None
            )

    @property
    def given_up(self) -> int:
        """Messages that some service never got."""
        with self._lock:
            return sum(route.given_up for route in self._routes)

    @property
    def sent(self) -> int:
        """Messages handed over so far."""
        return self._number

    def send(self, title: str, body: str) -> int:
        """Send it to every service; its number."""
        with self._lock:
            self._number += 1
            for route in self._routes:
                route.put(Parcel(self._number, title, body))
            self._open[self._number] = set(range(len(self._routes)))
            self._lock.notify_all()
        return self._number

    def delivered(self) -> list[int]:
        """Messages that arrived since the last call: at each service not given up, and at least one."""
        now, done = time.monotonic(), []
        with self._lock:
            for number in list(self._open):
                takers = [route for route in self._routes if number in route.taken]
                rest = [route for route in self._routes if route.waits_for(number, now, self._give_up_s)]
                if takers and not rest:
                    done.append(number)
                    del self._open[number]
            oldest = min(self._open, default=self._number)
            for route in self._routes:
                route.taken = {number for number in route.taken if number >= oldest}
        return done


class _Route(threading.Thread):
    """The way to one service. Its attributes are guarded by the courier's lock."""

    def __init__(
        self, service: Service, lock: threading.Condition, waits_s: Sequence[float], deliver: Deliver
    ) -> None:
        super().__init__(name=f"notify-{service.name.partition(' ')[0]}", daemon=True)
        self.service = service
        self.taken: set[int] = set()
        self.failing_since: float | None = None
        self.cause = ""
        self.given_up = 0
        self.stopping = False
        self._queue: deque[Parcel] = deque()
        self._lock = lock
        self._waits_s = waits_s
        self._deliver = deliver
        self._failures = 0

    def put(self, parcel: Parcel) -> None:
        """Queue it; the oldest gives way where too many wait."""
        if len(self._queue) >= MAX_WAITING:
            self._queue.popleft()
            self.given_up += 1
        self._queue.append(parcel)

    def waits_for(self, number: int, now: float, give_up_s: float) -> bool:
        """Whether the message may still arrive here soon."""
        dead = self.failing_since is not None and now - self.failing_since > give_up_s
        return not dead and any(parcel.number == number for parcel in self._queue)

    def run(self) -> None:
        """Deliver in order, until stopped."""
        while True:
            with self._lock:
                while not self._queue and not self.stopping:
                    self._lock.wait()
                if self.stopping:
                    return
                parcel = self._queue[0]
            outcome = self._deliver(self.service, parcel.title, parcel.body)
            with self._lock:
                self._note(parcel, outcome)
                if not outcome.good and not self.stopping:
                    self._pause()

    def _note(self, parcel: Parcel, outcome: Outcome) -> None:
        name = self.service.name
        if outcome.good:
            self.taken.add(parcel.number)
            if self._queue and self._queue[0] is parcel:
                self._queue.popleft()
            if self.failing_since is not None:
                _log.warning("service %s takes messages again (%d given up so far)", name, self.given_up)
            self.failing_since, self.cause, self._failures = None, "", 0
            return
        if self.failing_since is None:
            self.failing_since = time.monotonic()
            _log.warning(
                "service %s does not take messages (%s); trying again. Try: goaway notify --test",
                name,
                outcome.cause,
            )
        self.cause = outcome.cause

    def _pause(self) -> None:
        """Wait before the next try, or until stopped; the lock is released meanwhile."""
        until = time.monotonic() + self._waits_s[min(self._failures, len(self._waits_s) - 1)]
        self._failures += 1
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self._lock.wait(left)

"""The shim as a process: the threads that follow decisions and policy, the policy service, a status each
second, a clean stop."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from streams.config import Settings
from streams.errors import UsageError
from streams.model.instant import rfc3339
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.shim.answers import Answers
from streams.shim.follower import DecisionFollower
from streams.shim.greylist import GreylistMemory
from streams.shim.known import Known, judged
from streams.shim.listen import open_listener, parse_listen, remove_socket_files
from streams.shim.server import MAX_CONNECTIONS, PolicyServer, Service
from streams.shim.table import DecisionTable
from streams.shim.waiting import Waiting
from streams.status import Fact, StatusFile

STATUS_S: Final = 1.0
SWITCH_S: Final = 0.0005
"""How long one thread may keep the interpreter while another waits: the default of 5 ms would be the
greater part of an answer's time while the follower reads a long history."""

GC_THRESHOLDS: Final = (5_000, 5, 1_000)
"""Memory that grows (addresses asked about) would make the collector walk all that is known: 90 ms at 100 000
decisions and 10 000 networks. So it walks what is new, and hardly ever the whole, which has no cycles."""

_log = logging.getLogger(__name__)


def wall_clock() -> int:
    """Microseconds since the epoch: what `until` is held against."""
    return time.time_ns() // 1000


def run_shim(
    settings: Settings,
    index: PolicyIndex,
    listen: Sequence[str],
    *,
    status: StatusFile,
    socket_mode: int = 0o660,
    allow_remote: bool = False,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Answer Postfix until SIGTERM or SIGINT; returns after a clean stop.

    `index`: the policy until `smtp.policy` has a change; from then on changes are in force as they come.

    `listen`: `inet:HOST:PORT` or `unix:PATH`, at least one. Raises `GoawayError` where it cannot start:
    an address that is in use, that is not loopback (without `allow_remote`), Kafka settings that are no
    settings. A Kafka that does not answer is no reason not to start.
    """
    if not listen:
        raise UsageError("nowhere to listen", try_next="--policy-listen inet:127.0.0.1:10040")
    shim = _Shim(settings, index, status)
    wheres = [parse_listen(text) for text in listen]
    listeners = [
        listener
        for where in wheres
        for listener in open_listener(where, socket_mode=socket_mode, allow_remote=allow_remote)
    ]
    server = PolicyServer(Service(shim.answers, max_connections, waiting=shim.waiting), listeners)
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(shim.serve(server))
    finally:
        shim.stop()
        remove_socket_files(server.addresses)


class _Shim:
    """The parts, and what connects them."""

    def __init__(self, settings: Settings, index: PolicyIndex, status: StatusFile) -> None:
        table, greylist = DecisionTable(), GreylistMemory(index.policy.greylist)
        self.answers = Answers(index, table, greylist)
        self.waiting = Waiting(partial(judged, table), self._connected)
        self.waiting.use(index)
        self._known = Known(table, greylist, self.waiting)
        self._status = status
        self._decisions = DecisionFollower(settings.kafka, self._known, wall_clock)
        self._policy = PolicyFollower(settings.kafka, index.policy, self._changed)
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def _connected(self) -> bool:
        return self._decisions.caught_up and self._decisions.state == "connected"

    def _changed(self, number: int, index: PolicyIndex) -> None:
        """In the thread that follows the policy: the loop's thread is the one that answers by it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._use, number, index)

    def _use(self, number: int, index: PolicyIndex) -> None:
        self.answers.use(index)
        self.waiting.use(index)
        self._number = number

    async def serve(self, server: PolicyServer) -> None:
        """Answer until SIGTERM or SIGINT."""
        stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stopping.set)
        await server.start()
        self._policy.start()
        self._decisions.start()
        _log.info("answering on %s", ", ".join(server.addresses))
        while not stopping.is_set():
            server.tend()
            self._status.write(self._facts(server))
            try:
                await asyncio.wait_for(stopping.wait(), STATUS_S)
            except TimeoutError:
                continue
        await server.stop()
        # while the loop still runs: both threads call into it
        await asyncio.to_thread(self.stop)
        self._status.write(self._facts(server))
        counts = server.service.counts
        _log.info("stopped: %d requests answered, %d of them refused", counts.requests, counts.refused)

    def stop(self) -> None:
        """End the threads."""
        self._policy.stop()
        self._decisions.stop()

    def _facts(self, server: PolicyServer) -> dict[str, Fact]:
        counts, decisions, known = server.service.counts, self._decisions, self._known
        last = decisions.last_decision_at
        return {
            "listening": ", ".join(server.addresses),
            "kafka": decisions.state,
            "caught_up": decisions.caught_up,
            "policy_number": self._number,
            "policy_version": self.answers.index.version,
            "policy_trouble": self._policy.trouble or None,
            "decisions_read": decisions.decisions,
            "decisions_standing": len(known.table),
            "decisions_unreadable": decisions.unreadable,
            "last_decision_at": None if last is None else rfc3339(last),
            "verdicts": known.verdicts,
            "greylist_known": known.greylist.triplets,
            "learnt": known.greylist.learnt,
            "connections": counts.connections,
            "requests": counts.requests,
            "refused": counts.refused,
            **{f"refused_by.{trigger}": count for trigger, count in counts.refused_by.items()},
            "greylisted": self.answers.session.greylisted,
            "shadowed": self.answers.session.in_shadow,
            "waited": self.waiting.started,
            "faults": counts.faults,
            "turned_away": counts.turned_away,
        }


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, asyncio's own elsewhere (None)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop

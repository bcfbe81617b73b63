"""The shim as a process: the follower's thread, the policy service, a status each second, a clean stop."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from streams.config import Settings
from streams.errors import UsageError
from streams.model.instant import rfc3339
from streams.model.standing import PolicyIndex
from streams.shim.answers import Answers
from streams.shim.follower import DecisionFollower
from streams.shim.listen import open_listener, parse_listen, remove_socket_files
from streams.shim.server import MAX_CONNECTIONS, PolicyServer, Service
from streams.shim.table import DecisionTable
from streams.status import Fact, StatusFile

STATUS_S: Final = 1.0
SWITCH_S: Final = 0.0005
"""How long one thread may keep the interpreter while another waits: the default of 5 ms would be the
greater part of an answer's time while the follower reads a long history."""

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

    `listen`: `inet:HOST:PORT` or `unix:PATH`, at least one. Raises `GoawayError` where it cannot start:
    an address that is in use, that is not loopback (without `allow_remote`), Kafka settings that are no
    settings. A Kafka that does not answer is no reason not to start.
    """
    if not listen:
        raise UsageError("nowhere to listen", try_next="--policy-listen inet:127.0.0.1:10040")
    wheres = [parse_listen(text) for text in listen]
    table = DecisionTable()
    service = Service(Answers(index, table), max_connections)
    follower = DecisionFollower(settings.kafka, table, wall_clock)
    listeners = [
        listener
        for where in wheres
        for listener in open_listener(where, socket_mode=socket_mode, allow_remote=allow_remote)
    ]
    server = PolicyServer(service, listeners)
    sys.setswitchinterval(SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(server, follower, table, status))
    finally:
        follower.stop()
        remove_socket_files(server.addresses)


async def _serve(
    server: PolicyServer, follower: DecisionFollower, table: DecisionTable, status: StatusFile
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await server.start()
    follower.start()
    _log.info("answering on %s", ", ".join(server.addresses))
    while not stopping.is_set():
        server.tend()
        status.write(_facts(server, follower, table))
        try:
            await asyncio.wait_for(stopping.wait(), STATUS_S)
        except TimeoutError:
            continue
    await server.stop()
    status.write(_facts(server, follower, table))
    counts = server.service.counts
    _log.info("stopped: %d requests answered, %d of them refused", counts.requests, counts.refused)


def _facts(server: PolicyServer, follower: DecisionFollower, table: DecisionTable) -> dict[str, Fact]:
    counts, last = server.service.counts, follower.last_decision_at
    return {
        "listening": ", ".join(server.addresses),
        "kafka": follower.state,
        "caught_up": follower.caught_up,
        "decisions_read": follower.decisions,
        "decisions_standing": len(table),
        "decisions_unreadable": follower.unreadable,
        "last_decision_at": None if last is None else rfc3339(last),
        "connections": counts.connections,
        "requests": counts.requests,
        "refused": counts.refused,
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

"""The policy service: bytes in, answers out, in the order of the requests, many per connection.

It answers from memory within the callback that received the bytes; nothing here waits for anything.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from socket import AF_UNIX, socket
from typing import Final, cast

from streams.shim.answers import Answers
from streams.shim.listen import BACKLOG, address_of
from streams.shim.refusal_log import RefusalLog
from streams.wire.policy_protocol import DUNNO, PolicyReader, ProtocolFault

MAX_CONNECTIONS: Final = 1000
IDLE_S: Final = 3600.0
"""A connection without a request for this long is closed; Postfix closes its own after 300 s."""

_STOP_S: Final = 5.0
_FAULTS_LOGGED: Final = 10
"""Faulty connections logged one by one between two status lines; the rest are only counted."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What the service has done since its start."""

    requests: int = 0
    refused: int = 0
    faults: int = 0
    """Connections dropped because of what was written into them."""
    turned_away: int = 0
    """Connections closed unread, since there were too many."""
    connections: int = 0
    """Open at this moment."""


@dataclass(slots=True)
class Service:
    """What all connections share."""

    answers: Answers
    max_connections: int = MAX_CONNECTIONS
    counts: Counts = field(default_factory=Counts)
    refusals: RefusalLog = field(default_factory=RefusalLog)
    open: set["PolicyConnection"] = field(default_factory=set)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last open connection was closed."""
    faults_logged: int = 0


class PolicyConnection(asyncio.Protocol):
    """One connection of the MTA."""

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._refusal = service.answers.refusal
        self._feed = PolicyReader().feed
        self.heard = time.monotonic()
        """When the last bytes came, on the monotonic clock."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self._transport = transport = cast("asyncio.Transport", transport)
        service = self._service
        if len(service.open) >= service.max_connections:
            if service.counts.turned_away % 1000 == 0:
                _log.warning(
                    "%d connections are open, so more are closed unread: raise --max-connections or lower "
                    "Postfix's smtpd process limit",
                    service.max_connections,
                )
            service.counts.turned_away += 1
            transport.abort()
            return
        service.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        now = time.time_ns() // 1000
        counts, refused = self._service.counts, self._service.refusals.refused
        out: list[bytes] = []
        for request in self._feed(data):
            if isinstance(request, ProtocolFault):
                self._drop(request, out)
                return
            counts.requests += 1
            refusal = self._refusal(request, now)
            if refusal is None:
                out.append(DUNNO)
                if refused and request.client_address in refused:
                    self._service.refusals.accepted(request.client_address)
            else:
                counts.refused += 1
                out.append(refusal.action)
                self._service.refusals.note(refusal, now)
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _drop(self, fault: ProtocolFault, answered: list[bytes]) -> None:
        """Close after the answers to what came before the fault: no answer is better than a wrong one."""
        service = self._service
        service.counts.faults += 1
        if service.faults_logged < _FAULTS_LOGGED:
            service.faults_logged += 1
            _log.warning("connection dropped: %s is not Postfix's policy protocol", fault.reason)
        self._transport.write(b"".join(answered))
        self._transport.close()

    def pause_writing(self) -> None:
        """The peer does not read its answers: nothing more is read from it until it does."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.open.discard(self)
        if not self._service.open:
            self._service.emptied.set()

    def close(self) -> None:
        """Close once the answers given so far are written."""
        self._transport.close()

    def abort(self) -> None:
        """Close now, whether the peer reads or not."""
        self._transport.abort()


class PolicyServer:
    """Listens, and closes what is idle. Use: `start`, `tend` every second or so, `stop`."""

    def __init__(self, service: Service, listeners: Iterable[socket], *, idle_s: float = IDLE_S) -> None:
        self.service = service
        self._listeners = list(listeners)
        self._idle_s = idle_s
        self._servers: list[asyncio.Server] = []
        self.addresses = [address_of(listener) for listener in self._listeners]

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            create = loop.create_unix_server if listener.family == AF_UNIX else loop.create_server
            self._servers.append(await create(self._connection, sock=listener, backlog=BACKLOG))

    def _connection(self) -> PolicyConnection:
        return PolicyConnection(self.service)

    def tend(self) -> None:
        """Close connections that were idle too long, bring the counts up to date."""
        service = self.service
        service.counts.connections = len(service.open)
        service.faults_logged = 0
        oldest = time.monotonic() - self._idle_s
        for connection in [it for it in service.open if it.heard < oldest]:
            connection.abort()

    async def stop(self) -> None:
        """Stop accepting, finish writing what was answered, close; peers that don't read are cut off."""
        for server in self._servers:
            server.close()
        for connection in list(self.service.open):
            connection.close()
        if self.service.open:
            self.service.emptied.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.service.emptied.wait(), _STOP_S)
        for connection in list(self.service.open):
            connection.abort()

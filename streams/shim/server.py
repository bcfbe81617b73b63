"""The policy service: bytes in, answers out, in the order of the requests, many per connection.

It answers from memory within the callback that received the bytes. Where the policy says so, a request waits
for the first verdict on its client; that holds up what comes behind it on its connection, and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from socket import AF_UNIX, socket
from typing import Final, cast, get_args

from streams.model.client import Client
from streams.model.decision import Trigger
from streams.shim.answers import Answers
from streams.shim.listen import BACKLOG, address_of
from streams.shim.refusal_log import RefusalLog
from streams.shim.session import RCPT
from streams.shim.waiting import Waiting
from streams.wire.policy_protocol import DUNNO, PolicyReader, PolicyRequest, ProtocolFault

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
    """With 5xx; who is put off (4xx) is counted by the greylist."""
    refused_by: dict[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(Trigger), 0))
    """The same by trigger."""
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
    waiting: Waiting = field(default_factory=lambda: Waiting(lambda *_: True, lambda: False))
    """As it is by default: for nobody."""
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
        self._full = False
        self._awaited: Client | None = None
        """Whom the first of `_behind` waits for; nothing is read meanwhile."""
        self._behind: list[PolicyRequest | ProtocolFault] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self._transport = transport = cast("asyncio.Transport", transport)
        service = self._service
        if len(service.open) >= service.max_connections:
            if service.counts.turned_away % 1000 == 0:
                _log.warning(
                    "%d connections are open, the most of one shim, so more are closed unread and Postfix's "
                    "default_action answers: lower its default_process_limit, or start another goaway shim",
                    service.max_connections,
                )
            service.counts.turned_away += 1
            transport.abort()
            return
        service.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        requests = self._feed(data)
        if self._awaited is None:
            self._answer(requests)
        else:
            self._behind += requests

    def _answer(self, requests: list[PolicyRequest | ProtocolFault], *, waited: bool = False) -> None:
        """Answer up to one that waits; `waited`: the first has done so."""
        service, now = self._service, time.time_ns() // 1000
        counts, refused, waits = service.counts, service.refusals.refused, service.waiting.wait_s
        out: list[bytes] = []
        for at, request in enumerate(requests):
            if isinstance(request, ProtocolFault):
                self._drop(request, out)
                return
            if (
                waits
                and request.protocol_state == RCPT
                and not (waited and at == 0)
                and self._begins_to_wait(request, now)
            ):
                self._behind = requests[at:]
                self._transport.pause_reading()
                break
            counts.requests += 1
            refusal = self._refusal(request, now)
            if refusal is None:
                out.append(DUNNO)
                if refused and request.client_address in refused:
                    service.refusals.accepted(request.client_address)
            else:
                if not refusal.puts_off:
                    counts.refused += 1
                    counts.refused_by[refusal.trigger] += 1
                out.append(refusal.action)
                service.refusals.note(refusal, now)
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _begins_to_wait(self, request: PolicyRequest, now: int) -> bool:
        client = self._service.answers.awaited(request, now)
        if client is None or not self._service.waiting.begin(client, self._go_on, now):
            return False
        self._awaited = client
        return True

    def _go_on(self) -> None:
        """The wait is over: answer the request that waited, and what came behind it."""
        self._awaited = None
        if self._transport.is_closing():
            return
        behind, self._behind = self._behind, []
        self._answer(behind, waited=True)
        self._read_on()

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
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._read_on()

    def _read_on(self) -> None:
        if not (self._full or self._awaited is not None or self._transport.is_closing()):
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._awaited is not None:
            self._service.waiting.leave(self._awaited, self._go_on)
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
        self.service.waiting.end_all()
        for connection in list(self.service.open):
            connection.close()
        if self.service.open:
            self.service.emptied.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.service.emptied.wait(), _STOP_S)
        for connection in list(self.service.open):
            connection.abort()

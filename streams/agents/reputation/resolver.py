"""Questions to the resolvers: sent again and to the next one within one time limit, over TCP when cut off."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import dns.exception
import dns.resolver

from streams.agents.reputation.answers import NoAnswerError
from streams.agents.reputation.messages import NOERROR, NXDOMAIN, answers, is_truncated, query, rcode_of
from streams.agents.reputation.sockets import Ports, Server
from streams.config import parse_host_port
from streams.errors import SettingsError

_ATTEMPTS: Final = 2
"""A question is asked at least so often within its time: a datagram can be lost."""
_PORT: Final = 53
_STOOD_STILL_S: Final = 0.25
"""A timer that is later than this says that we stood still, or the whole machine did: no reason to blame a
resolver, so the question is asked once more."""
_log = logging.getLogger(__name__)


def resolver_addresses(texts: Iterable[str]) -> list[Server]:
    """`HOST[:PORT]` of each, IPv6 in brackets where a port follows; those of resolv.conf where there is none.

    `SettingsError` where there is none at all, or a text cannot be read.
    """
    found = [_server(text) for text in texts]
    if found:
        return found
    try:
        machine = dns.resolver.Resolver(configure=True)
    except (dns.exception.DNSException, OSError) as error:
        raise SettingsError(
            f"no resolver: /etc/resolv.conf cannot be used ({error})",
            try_next='[reputation] resolvers = ["127.0.0.1"]',
        ) from error
    return [(str(server), machine.port) for server in machine.nameservers]


def _server(text: str) -> Server:
    if text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
        return text.strip("[]"), _PORT
    host, port = parse_host_port(text, name="[reputation] resolvers", default_port=_PORT)
    return host, port


async def open_resolver(texts: Iterable[str]) -> "Resolver":
    """A resolver for these texts; a name that does not resolve is left out, loudly."""
    loop, servers = asyncio.get_running_loop(), list[Server]()
    try:
        named = resolver_addresses(texts)
    except SettingsError as error:
        _log.error("%s", error)
        named = []
    for host, port in named:
        try:
            found = await loop.getaddrinfo(host, port)
            servers.append((str(found[0][4][0]), port))
        except OSError as error:
            _log.error("resolver %s: %s. Try: its address instead of its name", host, error)
    return Resolver(servers)


class Resolver:
    """Asks; knows nothing of what the answers mean. Lives inside one loop."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._ports = [Ports(server) for server in servers]
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._first = 0
        """The one that is asked first: the last that answered."""

    @property
    def shown(self) -> str:
        """Its servers, for people."""
        return ", ".join(f"{host}:{port}" for host, port in (ports.server for ports in self._ports))

    @property
    def mismatched(self) -> int:
        """Datagrams that answered nothing that was asked: late answers, or somebody guesses."""
        return sum(ports.mismatched for ports in self._ports)

    def ask(self, asked: bytes, timeout_s: float) -> "asyncio.Future[bytes]":
        """The whole reply to a question (`messages.question`), or `NoAnswerError` within the time."""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if self._ports:
            _Question(self, asked, timeout_s, answer).send()
        else:
            answer.set_exception(NoAnswerError("no resolver is known"))
        return answer

    def close(self) -> None:
        """Close every socket."""
        for ports in self._ports:
            ports.close()
        for task in self._tasks:
            task.cancel()


class _Question:
    """One question on its way: which resolvers were asked, and when the next is."""

    __slots__ = (
        "_answer",
        "_asked",
        "_deadline",
        "_excused",
        "_gave_up",
        "_resolver",
        "_said",
        "_slice_s",
        "_timer",
        "_tries",
    )

    def __init__(
        self, resolver: Resolver, asked: bytes, timeout_s: float, answer: "asyncio.Future[bytes]"
    ) -> None:
        self._resolver = resolver
        self._asked = asked
        self._answer = answer
        self._deadline = resolver._loop.time() + timeout_s
        self._slice_s = timeout_s / max(_ATTEMPTS, len(resolver._ports))
        self._tries = 0
        self._excused = False
        self._said = ""
        self._timer: asyncio.TimerHandle | None = None
        self._gave_up: list[Callable[[], None]] = []
        answer.add_done_callback(self._done)

    def send(self) -> None:
        """Ask the next resolver; after the last, wait until the time is over."""
        resolver = self._resolver
        loop, ports = resolver._loop, resolver._ports
        if self._timer is not None:
            self._timer.cancel()
        left_s = self._deadline - loop.time()
        if left_s < -_STOOD_STILL_S and not self._excused:
            self._excused = True
            self._tries -= 1
            self._deadline, left_s = loop.time() + self._slice_s, self._slice_s
        if left_s <= 0:
            self._fail(self._said or "no answer in time")
            return
        if self._tries >= max(_ATTEMPTS, len(ports)):
            self._timer = loop.call_later(left_s, self.send)
            return
        place = (resolver._first + self._tries) % len(ports)
        self._tries += 1
        self._timer = loop.call_later(min(self._slice_s, left_s), self.send)
        chosen = ports[place]
        try:
            self._gave_up.append(chosen.ask(self._asked, lambda message: self._take(place, message)))
        except OSError as error:
            self._unusable(f"{chosen.server[0]}: {error.strerror}")

    def _take(self, place: int, message: bytes | None) -> None:
        if self._answer.done():
            return
        resolver = self._resolver
        if message is None:
            self._unusable(f"nothing listens at {resolver._ports[place].server[0]}")
        elif is_truncated(message):
            task = resolver._loop.create_task(self._over_tcp(resolver._ports[place].server))
            resolver._tasks.add(task)
            task.add_done_callback(resolver._tasks.discard)
        elif rcode_of(message) not in (NOERROR, NXDOMAIN) and self._tries < len(resolver._ports):
            self.send()
        else:
            resolver._first = place
            self._answer.set_result(message)

    def _unusable(self, why: str) -> None:
        """This resolver did not take the question: another does at once, or there is none."""
        self._said = why
        if self._tries < len(self._resolver._ports):
            self.send()
        else:
            self._fail(why)

    async def _over_tcp(self, server: Server) -> None:
        writer = None
        try:
            async with asyncio.timeout_at(self._deadline):
                reader, writer = await asyncio.open_connection(*server)
                message = query(secrets.randbits(16), self._asked)
                writer.write(len(message).to_bytes(2, "big") + message)
                reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            if not answers(reply, self._asked) or reply[:2] != message[:2]:
                raise ValueError("an answer to another question over TCP")
            if not self._answer.done():
                self._answer.set_result(reply)
        except (OSError, ValueError, EOFError, TimeoutError) as error:
            self._fail(f"no whole answer over TCP ({type(error).__name__})")
        finally:
            if writer is not None:
                writer.close()

    def _fail(self, why: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(NoAnswerError(why))

    def _done(self, answer: "asyncio.Future[bytes]") -> None:
        if self._timer is not None:
            self._timer.cancel()
        for give_up in self._gave_up:
            give_up()
        if not answer.cancelled():
            answer.exception()  # retrieved: a question that nobody waits for any more is no error

"""UDP sockets to one resolver, and the questions in flight on them.

Ports and numbers are hard to guess: each question takes one of several sockets by chance, a number by chance,
and a socket is replaced by one on another port after some thousand questions. A connected socket takes
nothing from any other address; what does not answer its very question is not looked at.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable
from typing import Final

from streams.agents.reputation.messages import answers, query

SOCKETS: Final = 4
QUESTIONS: Final = 5000
"""A socket's port is used for so many."""
_IN_FLIGHT: Final = 20_000
"""On one socket; beyond it numbers would no longer be by chance."""
_READS: Final = 200
"""Datagrams taken from one socket before others have their turn."""
_MAX_DATAGRAM: Final = 4096
_BUFFER: Final = 1 << 20

Server = tuple[str, int]
OnReply = Callable[[bytes | None], None]
"""Called once with the reply; with None where the resolver's machine refuses (nothing listens there)."""


class _Socket:
    """One port of ours."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked: dict[int, tuple[bytes, OnReply]] = {}
        self.questions = 0
        self.mismatched = 0
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.connect(server)
        except OSError:
            self._socket.close()
            raise
        loop.add_reader(self._socket, self._read)

    def ask(self, asked: bytes, on_reply: OnReply) -> int:
        number = secrets.randbits(16)
        while number in self.asked:
            number = secrets.randbits(16)
        self.asked[number] = (asked, on_reply)
        self.questions += 1
        try:
            self._socket.send(query(number, asked))
        except BlockingIOError:
            pass  # as if lost on the way: it is sent again
        except OSError:
            self._loop.call_soon(self._refused)
        return number

    def _read(self) -> None:
        for _ in range(_READS):
            try:
                message = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._refused()
                return
            number = int.from_bytes(message[:2], "big")
            waiting = self.asked.get(number)
            if waiting is None or not answers(message, waiting[0]):
                self.mismatched += 1
                continue
            del self.asked[number]
            waiting[1](message)

    def _refused(self) -> None:
        """The kernel says that nothing listens there; it does not say to which question.

        The socket is not used again: libuv, and so uvloop, stops watching one that had an error.
        """
        self.questions = QUESTIONS
        waiting, self.asked = self.asked, {}
        for _, on_reply in waiting.values():
            on_reply(None)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()


class Ports:
    """Our sockets to one resolver. Must be made, used and closed inside the loop."""

    def __init__(self, server: Server) -> None:
        self.server: Final = server
        self.mismatched_before = 0
        self._loop = asyncio.get_running_loop()
        self._open: list[_Socket | None] = [None] * SOCKETS
        self._retired: list[_Socket] = []

    @property
    def mismatched(self) -> int:
        """Datagrams that answered nothing that was asked."""
        sockets = [*(one for one in self._open if one), *self._retired]
        return self.mismatched_before + sum(one.mismatched for one in sockets)

    def ask(self, asked: bytes, on_reply: OnReply) -> Callable[[], None]:
        """Send the question; the way to give it up. `OSError`: there is no way to the resolver from here."""
        place = secrets.randbelow(SOCKETS)
        ours = self._open[place]
        if ours is None or ours.questions >= QUESTIONS or len(ours.asked) >= _IN_FLIGHT:
            if ours is not None:
                self._retired.append(ours)
            self._sweep()
            ours = self._open[place] = _Socket(self.server, self._loop)
        chosen, number = ours, ours.ask(asked, on_reply)

        def give_up() -> None:
            with contextlib.suppress(KeyError):
                if chosen.asked[number][1] is on_reply:
                    del chosen.asked[number]

        return give_up

    def _sweep(self) -> None:
        """Close retired sockets on which nothing is waited for."""
        for ours in self._retired:
            if not ours.asked:
                self.mismatched_before += ours.mismatched
                ours.close()
        self._retired = [ours for ours in self._retired if ours.asked]

    def close(self) -> None:
        """Close all; what is in flight is not answered any more."""
        for ours in (*self._open, *self._retired):
            if ours is not None:
                ours.close()
        self._open, self._retired = [None] * SOCKETS, []

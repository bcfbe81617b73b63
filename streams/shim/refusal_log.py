"""One log line per refused client now and then: what a client does must not fill the disk."""

import logging
from typing import Final

from streams.model.client import Client
from streams.model.instant import MICROSECONDS
from streams.shim.reply import Refusal, printable

QUIET_S: Final = 10
"""A client's refusals are logged at most once in this many seconds."""

MAX_CLIENTS: Final = 2000
"""Clients logged per `QUIET_S`; beyond, refusals are only counted."""

_log = logging.getLogger(__name__)


class RefusalLog:
    """Logs refusals at INFO, says how many it kept to itself."""

    def __init__(self) -> None:
        self._since = 0
        self._unlogged: dict[Client, int] = {}
        """Clients that were logged in this period, with how often they were refused since."""
        self._beyond = 0
        self.refused: set[bytes] = set()
        """Addresses refused and not accepted since, as Postfix wrote them; bounded. Only those refused
        at every stage: the others' connections are accepted again and again."""

    def accepted(self, address: bytes) -> None:
        """Log that an address which was refused is let in again: what an administrator waits to see."""
        self.refused.discard(address)
        _log.info("Connection accepted: %s, which was refused before", printable(address, 64))

    def note(self, refusal: Refusal, now: int) -> None:
        """Log the refusal, or count it where its client was logged in this period."""
        if len(self.refused) < MAX_CLIENTS and refusal.everywhere:
            self.refused.add(refusal.request.client_address)
        if now >= self._since + QUIET_S * MICROSECONDS or now < self._since:
            self._new_period(now)
        if refusal.client in self._unlogged:
            self._unlogged[refusal.client] += 1
        elif len(self._unlogged) >= MAX_CLIENTS:
            self._beyond += 1
        else:
            self._unlogged[refusal.client] = 0
            _log.info("%s", refusal)

    def _new_period(self, now: int) -> None:
        repeated = sum(self._unlogged.values())
        if repeated or self._beyond:
            _log.info(
                "refused %d more requests of the clients above and %d of others", repeated, self._beyond
            )
        self._since, self._beyond = now, 0
        self._unlogged.clear()

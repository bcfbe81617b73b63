"""A connection that postscreen hands to smtpd: one connection, though both log it.

postscreen logs that a client passed, then gives the socket away; an smtpd process then logs a connect
from the same address. What is not taken up within `EXPIRY` has ended without a trace.
"""

from typing import Final

from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.wire.postfix.line import Line
from streams.wire.postfix.memory import MAX_HANDOVERS, MAX_HANDOVERS_OF_ADDRESS, HandOver
from streams.wire.postfix.who import Who

EXPIRY: Final = 60 * MICROSECONDS
_EXPIRED: Final = "passed by postscreen, never served"
_OWN_DOOR: Final = ("submission", "smtps")
"""Services of this name are reached without postscreen: they take nothing over."""


def offer(line: Line, who: Who, session: str) -> list[Event]:
    """postscreen let the client pass. Returned are the disconnects of what had to make room."""
    handovers = line.memory.handovers
    key = _key(line, who)
    waiting = handovers.get(key)
    made_room: list[Event] = []
    if waiting is None:
        if len(handovers) >= MAX_HANDOVERS:
            oldest = handovers.pop(next(iter(handovers)))
            made_room = [line.owed(entry, _EXPIRED) for entry in oldest]
        waiting = handovers[key] = []
    elif len(waiting) >= MAX_HANDOVERS_OF_ADDRESS:
        made_room = [line.owed(waiting.pop(0), _EXPIRED)]
    waiting.append(HandOver(session, line.host, line.service, who.address, who.port, int(line.at), line.id))
    return made_room


def take(line: Line, who: Who) -> str | None:
    """The session that this connect goes on with: the longest waiting of its address (and its port,
    where smtpd logs one), or None."""
    if not line.memory.handovers or line.service.startswith(_OWN_DOOR):
        return None
    waiting = line.memory.handovers.get(_key(line, who))
    for index, entry in enumerate(waiting or ()):
        if not who.port or who.port == entry.port:
            return _remove(line, who, index)
    return None


def withdraw(line: Line, who: Who) -> None:
    """postscreen logged the end itself, after all: a client that passed only the tests after the SMTP
    handshake is told to come back."""
    for index, entry in enumerate(line.memory.handovers.get(_key(line, who), ())):
        if entry.port == who.port:
            _remove(line, who, index)
            return


def expired(line: Line) -> list[Event]:
    """Disconnects of what has waited for longer than `EXPIRY`."""
    ended: list[Event] = []
    handovers = line.memory.handovers
    while handovers:
        key = next(iter(handovers))
        waiting = handovers[key]
        if line.at - waiting[0].at <= EXPIRY:
            break
        ended.append(line.owed(waiting.pop(0), _EXPIRED))
        del handovers[key]
        if waiting:
            handovers[key] = waiting
    return ended


def _key(line: Line, who: Who) -> str:
    return f"{line.host}/{line.instance} {who.address}"


def _remove(line: Line, who: Who, index: int) -> str:
    """Take one entry out; the rest of its address stands again behind all others."""
    key = _key(line, who)
    waiting = line.memory.handovers.pop(key)
    entry = waiting.pop(index)
    if waiting:
        line.memory.handovers[key] = waiting
    return entry.session

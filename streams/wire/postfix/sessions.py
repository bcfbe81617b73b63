"""Connections to smtpd: opened, closed, and closed because the process was seen serving somebody else."""

from streams.model.event import Event
from streams.wire.postfix import handover
from streams.wire.postfix.line import Line, bounded
from streams.wire.postfix.memory import MAX_SESSIONS, Session, forget_oldest
from streams.wire.postfix.requests import owed_at_disconnect
from streams.wire.postfix.result import NO_ADDRESS, UNKNOWN_SMTPD, Ignored
from streams.wire.postfix.who import Who, who_at

HANDED_OVER = Ignored("handed over by postscreen: the same connection")
_MAIL_COMMANDS = ("mail=", "rcpt=", "data=", "bdat=", "auth=")


def connect(line: Line) -> list[Event] | Ignored:
    """`connect from name[address]`."""
    who = who_at(line.text, len("connect from "))
    if who is None:
        return NO_ADDRESS
    if who.end != len(line.text):
        return UNKNOWN_SMTPD
    sessions = line.memory.sessions
    process = line.process
    events: list[Event] = []
    old = sessions.pop(process, None)
    if old is not None:
        events.append(line.also("disconnect", old, detail="superseded"))
    taken = handover.take(line, who)
    session = taken or _session_id(line, who)
    forget_oldest(sessions, MAX_SESSIONS)
    sessions[process] = Session(session, who.address, who.ptr, line.service)
    if taken is None:
        events.append(line.main("connect", who, session))
    return events or HANDED_OVER


def disconnect(line: Line) -> list[Event] | Ignored:
    """`disconnect from name[address] ehlo=1 mail=0/2 commands=1/3`; before Postfix 3.0 without counts."""
    who = who_at(line.text, len("disconnect from "))
    if who is None:
        return NO_ADDRESS
    counts = line.text[who.end :]
    if counts and counts[0] != " ":
        return UNKNOWN_SMTPD
    events: list[Event] = []
    session = session_of(line, who, events)
    del line.memory.sessions[line.process]
    for _ in range(owed_at_disconnect(session, counts)):
        events.append(line.also("mail", session, detail="counted at disconnect"))
    if _missing_helo(counts):
        events.append(line.also("violation", session, violation="missing HELO"))
    events.append(line.main("disconnect", who, session.session, detail=bounded(counts[1:])))
    return events


def session_of(line: Line, who: Who, events: list[Event]) -> Session:
    """The session that this process serves. Where it was known to serve another address, that session's
    disconnect is added to `events`; where its connect was not seen, it begins here without one."""
    sessions = line.memory.sessions
    process = line.process
    session = sessions.get(process)
    if session is not None:
        if session.address == who.address:
            return session
        del sessions[process]
        events.append(line.also("disconnect", session, detail="superseded"))
    forget_oldest(sessions, MAX_SESSIONS)
    session = sessions[process] = Session(_session_id(line, who), who.address, who.ptr, line.service)
    return session


def _session_id(line: Line, who: Who) -> str:
    return f"{line.host}/{line.pid}/{who.port}" if who.port else f"{line.host}/{line.pid}"


def _missing_helo(counts: str) -> bool:
    """A mail command was tried, successfully or not, and HELO or EHLO never was."""
    if "helo=" in counts or "ehlo=" in counts:
        return False
    return any(
        word.startswith(_MAIL_COMMANDS) and word.partition("=")[2].strip("0/") != ""
        for word in counts.split(" ")
    )

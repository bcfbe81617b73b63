"""postscreen's lines, by their first word. It names a client `[address]:port`, never by name."""

from collections.abc import Callable
from typing import Final

from streams.model.event import Event
from streams.wire.postfix import handover, requests
from streams.wire.postfix.line import Line, bounded
from streams.wire.postfix.memory import MAX_SESSIONS, Session, forget_oldest
from streams.wire.postfix.refusal import NO_QUEUE_ID, refusal_at
from streams.wire.postfix.result import (
    COME_BACK,
    DNSBL_RANK,
    HOUSEKEEPING,
    NOT_PASSED,
    PASSED,
    SYSLOG_REPEATS,
    TLS,
    UNKNOWN_POSTSCREEN,
    WARNING,
    Ignored,
)
from streams.wire.postfix.who import Who, who_at


def read_postscreen(line: Line) -> list[Event] | Ignored:
    """The events of one line of postscreen."""
    text = line.text
    reader = _FIRST_WORDS.get(text[: text.find(" ")])
    if reader is None:
        return UNKNOWN_POSTSCREEN
    return reader if isinstance(reader, Ignored) else reader(line)


def _client(line: Line, start: int) -> Who | None:
    """`[address]:port` exactly at `start`."""
    who = who_at(line.text, start)
    return who if who is not None and who.port and line.text[start] == "[" else None


def _session_id(line: Line, who: Who) -> str:
    return f"{line.host}/{line.pid}/{who.port}"


def _key(line: Line, who: Who) -> str:
    return f"{line.host}/{line.pid}/{who.port} {who.address}"


def _connect(line: Line) -> list[Event] | Ignored:
    """`CONNECT from [address]:port to [address]:port`."""
    who = _client(line, len("CONNECT from "))
    if who is None or not line.text.startswith("CONNECT from "):
        return UNKNOWN_POSTSCREEN
    line.memory.sessions.pop(_key(line, who), None)
    return [line.main("connect", who, _session_id(line, who))]


def _disconnect(line: Line) -> list[Event] | Ignored:
    """`DISCONNECT [address]:port`."""
    who = _client(line, len("DISCONNECT "))
    if who is None:
        return UNKNOWN_POSTSCREEN
    line.memory.sessions.pop(_key(line, who), None)
    if line.memory.handovers:
        handover.withdraw(line, who)
    return [line.main("disconnect", who, _session_id(line, who))]


def _pass(line: Line) -> list[Event] | Ignored:
    """`PASS OLD [address]:port`, `PASS NEW …`."""
    if not line.text.startswith(("PASS OLD [", "PASS NEW [")):
        return UNKNOWN_POSTSCREEN
    return _hand_over(line, len("PASS OLD "))


def _listed(line: Line) -> list[Event] | Ignored:
    """`WHITELISTED [address]:port`, since Postfix 3.6 `ALLOWLISTED`."""
    return _hand_over(line, len("WHITELISTED "))


def _hand_over(line: Line, start: int) -> list[Event] | Ignored:
    who = _client(line, start)
    if who is None:
        return UNKNOWN_POSTSCREEN
    if _key(line, who) in line.memory.sessions:
        return COME_BACK
    return handover.offer(line, who, _session_id(line, who)) or PASSED


def _violation(violation: str, *openings: str) -> Callable[[Line], list[Event] | Ignored]:
    """A violation whose client is named after the first ` from `; only Postfix's words stand before."""

    def read(line: Line) -> list[Event] | Ignored:
        text = line.text
        word = text.find(" from [", 0, 60)
        who = _client(line, word + 6) if word >= 0 else None
        if who is None or not text.startswith(openings):
            return UNKNOWN_POSTSCREEN
        detail = text[:word] + text[who.end :]
        return [
            line.main("violation", who, _session_id(line, who), violation=violation, detail=bounded(detail))
        ]

    return read


_PIPELINING: Final = _violation("pipelining", "COMMAND PIPELINING from ")
_LIMIT: Final = _violation(
    "command limit", "COMMAND TIME LIMIT from ", "COMMAND COUNT LIMIT from ", "COMMAND LENGTH LIMIT from "
)


def _command(line: Line) -> list[Event] | Ignored:
    return _PIPELINING(line) if line.text.startswith("COMMAND PIPELINING") else _LIMIT(line)


def _no_queue(line: Line) -> list[Event] | Ignored:
    """`NOQUEUE: reject: RCPT from [address]:port: 550 …`, or `CONNECT` with the reason alone."""
    opening = "NOQUEUE: reject: "
    found = refusal_at(line.text, len(opening), NO_QUEUE_ID) if line.text.startswith(opening) else None
    if found is None or not found[0].port:
        return UNKNOWN_POSTSCREEN
    who, refusal = found
    sessions = line.memory.sessions
    key = _key(line, who)
    session = sessions.get(key)
    if session is None:
        session = Session(_session_id(line, who), who.address, "", line.service)
        if refusal.stage != "CONNECT":
            forget_oldest(sessions, MAX_SESSIONS)
            sessions[key] = session
    outcome = requests.refused(line, who, session, refusal)
    return outcome if isinstance(outcome, Ignored) else [outcome]


_FIRST_WORDS: Final[dict[str, Callable[[Line], list[Event] | Ignored] | Ignored]] = {
    "CONNECT": _connect,
    "DISCONNECT": _disconnect,
    "PASS": _pass,
    "WHITELISTED": _listed,
    "ALLOWLISTED": _listed,
    "PREGREET": _violation("pregreet", "PREGREET "),
    "HANGUP": _violation("hangup", "HANGUP after "),
    "COMMAND": _command,
    "NON-SMTP": _violation("non-SMTP command", "NON-SMTP COMMAND from "),
    "BARE": _violation("bare newline", "BARE NEWLINE from "),
    "NOQUEUE:": _no_queue,
    "DNSBL": DNSBL_RANK,
    "BLACKLISTED": NOT_PASSED,
    "DENYLISTED": NOT_PASSED,
    "WHITELIST": NOT_PASSED,
    "ALLOWLIST": NOT_PASSED,
    "warning:": WARNING,
    "fatal:": WARNING,
    "panic:": WARNING,
    "error:": WARNING,
    "message": SYSLOG_REPEATS,
    "cache": HOUSEKEEPING,
    "close": HOUSEKEEPING,
    "entering": HOUSEKEEPING,
    "leaving": HOUSEKEEPING,
    "table": HOUSEKEEPING,
    "terminating": HOUSEKEEPING,
    "TLS": TLS,
}

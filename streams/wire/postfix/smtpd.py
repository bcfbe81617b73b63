"""smtpd's lines (submission and smtps are smtpd too), by their first word."""

from collections.abc import Callable
from typing import Final

from streams.model.event import Event
from streams.wire.postfix import requests
from streams.wire.postfix.line import Line, bounded
from streams.wire.postfix.memory import MAX_QUEUE_IDS, Queued, forget_oldest
from streams.wire.postfix.queue import queue_key
from streams.wire.postfix.refusal import NO_QUEUE_ID, REFUSING, read, refusal_at
from streams.wire.postfix.result import (
    CONNECTION_LOST,
    HOUSEKEEPING,
    NO_ADDRESS,
    NO_REFUSAL,
    ONLY_WARNED,
    SYSLOG_REPEATS,
    TLS,
    TRACE,
    UNKNOWN_SMTPD,
    WARNING,
    Ignored,
)
from streams.wire.postfix.sessions import connect, disconnect, session_of
from streams.wire.postfix.who import Who, who_at

_LIMIT: Final = " limit exceeded: "
_LIMITS: Final = (
    "Connection concurrency",
    "Connection rate",
    "Message delivery request rate",
    "Recipient address rate",
    "New TLS session rate",
    "AUTH command rate",
)
_NO_REFUSAL: Final = frozenset(
    {"filter:", "hold:", "redirect:", "prepend:", "replace:", "info:", "warn:", "bcc:", "delay:", "permit:"}
    | {"client-ip:", "proxy-accept:", "dunno:", "trace:"}
)
_SASL_ENDS: Final = (", sasl_sender=", ", orig_queue_id=", ", orig_client=")


def read_smtpd(line: Line) -> list[Event] | Ignored:
    """The events of one line of smtpd."""
    text = line.text
    first = text[: text.find(" ")]
    reader = _FIRST_WORDS.get(first)
    if reader is not None:
        return reader(line) if not isinstance(reader, Ignored) else reader
    if first[-1:] == ":" and first[:-1].isalnum():
        return _of_queue_id(line, first[:-1])
    if "]: " in text[:330] and ("certificate" in text or "subject_CN=" in text or "fingerprint" in text):
        return TLS
    return UNKNOWN_SMTPD


def _connect(line: Line) -> list[Event] | Ignored:
    return connect(line) if line.text.startswith("connect from ") else UNKNOWN_SMTPD


def _disconnect(line: Line) -> list[Event] | Ignored:
    return disconnect(line) if line.text.startswith("disconnect from ") else UNKNOWN_SMTPD


def _of_queue_id(line: Line, queue_id: str) -> list[Event] | Ignored:
    """`QUEUEID: client=…`, `QUEUEID: reject: …`, `NOQUEUE: …`."""
    text = line.text
    start = len(queue_id) + 2
    if text.startswith("client=", start):
        return _client(line, queue_id, start + 7)
    space = text.find(" ", start)
    action = text[start:space]
    if action in REFUSING or action == "discard:":
        if action == "proxy-reject:":
            return _proxy_refusal(line)
        found = refusal_at(text, space + 1, queue_id, discarded=action == "discard:")
        if found is None:
            return NO_ADDRESS if "[unknown]" in text else UNKNOWN_SMTPD
        who, refusal = found
        events: list[Event] = []
        session = session_of(line, who, events)
        outcome = requests.refused(line, who, session, refusal)
        if isinstance(outcome, Ignored):
            return events or outcome
        events.append(outcome)
        return events
    if action == "reject_warning:":
        return ONLY_WARNED
    return NO_REFUSAL if action in _NO_REFUSAL else UNKNOWN_SMTPD


def _client(line: Line, queue_id: str, start: int) -> list[Event] | Ignored:
    """`client=name[address], sasl_method=…, sasl_username=…`."""
    who = who_at(line.text, start)
    if who is None:
        return NO_ADDRESS
    rest = line.text[who.end :]
    if rest and not rest.startswith(", "):
        return UNKNOWN_SMTPD
    events: list[Event] = []
    session = session_of(line, who, events)
    events.append(requests.accepted(line, who, session, queue_id, _sasl_user(rest)))
    if queue_id != NO_QUEUE_ID:
        queue = line.memory.queue
        key = queue_key(line, queue_id)
        queue.pop(key, None)
        forget_oldest(queue, MAX_QUEUE_IDS)
        queue[key] = Queued(who.address, who.ptr, session.session, line.service)
    return events


def _sasl_user(rest: str) -> str:
    value = rest.partition(", sasl_username=")[2]
    for end in _SASL_ENDS:
        value = value.partition(end)[0]
    return bounded(value)


def _proxy_refusal(line: Line) -> list[Event] | Ignored:
    """`proxy-reject: END-OF-MESSAGE: 554 …`, in front of it `NOQUEUE: ` or nothing: it names no client,
    but the process serves one at a time."""
    session = line.memory.sessions.get(line.process)
    if session is None:
        return NO_ADDRESS
    body = line.text.partition("proxy-reject: END-OF-MESSAGE: ")[2]
    refusal = read(body, NO_QUEUE_ID, "END-OF-MESSAGE")
    if session.transaction is not None:  # what the proxy refuses is the open transaction, whatever it quotes
        session.transaction.sender = refusal.sender
        session.transaction.refused.clear()
    outcome = requests.refused(line, Who(session.address, session.ptr, "", 0), session, refusal)
    return outcome if isinstance(outcome, Ignored) else [outcome]


def _after(violation: str) -> Callable[[Line], list[Event] | Ignored]:
    """`… after COMMAND from name[address]`, with `: text` after some."""

    def read_after(line: Line) -> list[Event] | Ignored:
        text = line.text
        word = text.find(" from ", 0, 100)
        if " after " not in text[: max(word, 0)]:
            return UNKNOWN_SMTPD
        who = who_at(text, word + 6)
        if who is None:
            return NO_ADDRESS
        return _violation(line, who, violation, text[: who.end])

    return read_after


def _violation(line: Line, who: Who, violation: str, detail: str) -> list[Event]:
    events: list[Event] = []
    session = session_of(line, who, events)
    events.append(line.main("violation", who, session.session, violation=violation, detail=bounded(detail)))
    return events


def _lost(line: Line) -> list[Event] | Ignored:
    """`lost connection after X from …`, `timeout after X from …`."""
    return CONNECTION_LOST if " after " in line.text[:30] else UNKNOWN_SMTPD


def _warning(line: Line) -> list[Event] | Ignored:
    """`warning: name[address]: SASL LOGIN authentication failed: …` and its relatives."""
    text = line.text
    start = len("warning: ")
    if text.startswith("non-SMTP command from ", start):
        who = who_at(text, start + len("non-SMTP command from "))
        if who is None:
            return NO_ADDRESS
        return _violation(line, who, "non-SMTP command", text[who.end + 2 :])
    limit = text.find(_LIMIT, start, start + 60)
    if limit >= 0 and text[start:limit] in _LIMITS:
        return _limit(line, limit)
    who = who_at(text, start)
    if who is None or not text.startswith(": SASL ", who.end):
        return WARNING
    if text.find(" authentication failed", who.end, who.end + 80) < 0:
        return WARNING
    reason, _, user = text[who.end + 2 :].rpartition(", sasl_username=")
    events: list[Event] = []
    session = session_of(line, who, events)
    detail = reason or user
    events.append(
        line.main(
            "auth_failure",
            who,
            session.session,
            sasl_user=bounded(user) if reason else "",
            detail=bounded(detail),
        )
    )
    return events


def _limit(line: Line, limit: int) -> list[Event] | Ignored:
    """`warning: Connection rate limit exceeded: 31 from name[address] for service smtpd`."""
    text = line.text
    word = text.find(" from ", limit, limit + 60)
    who = who_at(text, word + 6) if word >= 0 else None
    if who is None:
        return NO_ADDRESS
    events: list[Event] = []
    session = session_of(line, who, events)
    events.append(line.main("refusal", who, session.session, code=421, detail=bounded(text[9 : who.end])))
    return events


_FIRST_WORDS: Final[dict[str, Callable[[Line], list[Event] | Ignored] | Ignored]] = {
    "connect": _connect,
    "disconnect": _disconnect,
    "lost": _lost,
    "timeout": _lost,
    "too": _after("too many errors"),
    "improper": _after("pipelining"),
    "bare": _after("bare newline"),
    "warning:": _warning,
    "Anonymous": TLS,
    "Untrusted": TLS,
    "Trusted": TLS,
    "Verified": TLS,
    "SSL_accept": TLS,
    "SSL3": TLS,
    "TLS": TLS,
    "setting": TLS,
    "initializing": TLS,
    "discarding": HOUSEKEEPING,
    "proxy-accept:": NO_REFUSAL,
    "proxy-reject:": _proxy_refusal,
    "message": SYSLOG_REPEATS,
    "table": HOUSEKEEPING,
    "terminating": HOUSEKEEPING,
    "fatal:": WARNING,
    "panic:": WARNING,
    "error:": WARNING,
    "<": TRACE,
    ">": TRACE,
}

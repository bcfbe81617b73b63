"""What cleanup, qmgr and dnsblog say: messages joined to the client that opened their queue id, refusals
of content, DNSBL listings."""

from typing import Final

from streams.model.event import Event
from streams.wire.postfix.line import Line, bounded
from streams.wire.postfix.memory import Queued
from streams.wire.postfix.refusal import read
from streams.wire.postfix.result import LOCAL_QUEUE_ID, NO_CLIENT, QUEUE, WARNING, Ignored
from streams.wire.postfix.who import who_at

_REFUSALS: Final = ("reject: ", "milter-reject: ")


def queue_key(line: Line, queue_id: str) -> str:
    """Queue ids are unique within one Postfix instance of one host."""
    return f"{line.host}/{line.instance}/{queue_id}"


def read_qmgr(line: Line) -> list[Event] | Ignored:
    """`QUEUEID: from=<sender>, size=1234, nrcpt=1 (queue active)`, `QUEUEID: removed`."""
    queue_id, colon, rest = line.text.partition(": ")
    if not colon or not queue_id.isalnum():
        return NO_CLIENT
    queue = line.memory.queue
    key = queue_key(line, queue_id)
    queued = queue.get(key)
    if rest == "removed":
        queue.pop(key, None)
        return QUEUE
    if not rest.startswith("from=<"):
        return QUEUE if queue_id.lower() not in {"warning", "fatal", "error", "panic"} else WARNING
    if queued is None:
        return LOCAL_QUEUE_ID
    sender, mark, numbers = rest[6:].rpartition(">, size=")
    size = numbers.partition(",")[0]
    if not mark or queued.announced or not (size.isascii() and size.isdigit() and len(size) < 18):
        return QUEUE
    queued.announced = True
    detail = f"message-id={queued.message_id}" if queued.message_id else ""
    return [_message(line, queued, queue_id, bounded(sender), int(size), detail)]


def _message(line: Line, queued: Queued, queue_id: str, sender: str, size: int, detail: str) -> Event:
    return line.main(
        "message", queued, queued.session, queue_id=queue_id, sender=sender, size=size, detail=bounded(detail)
    )


def read_cleanup(line: Line) -> list[Event] | Ignored:
    """`QUEUEID: message-id=<…>`, `QUEUEID: milter-reject: END-OF-MESSAGE from …: 5.7.1 …`."""
    queue_id, colon, rest = line.text.partition(": ")
    if not colon or not queue_id.isalnum():
        return NO_CLIENT
    queued = line.memory.queue.get(queue_key(line, queue_id))
    if queued is None:
        return WARNING if queue_id == "warning" else LOCAL_QUEUE_ID
    if rest.startswith("message-id="):
        queued.message_id = bounded(rest[len("message-id=") :])
        return QUEUE
    if not rest.startswith(_REFUSALS):
        return QUEUE
    return [_content_refusal(line, queued, queue_id, rest.partition(": ")[2])]


def _content_refusal(line: Line, queued: Queued, queue_id: str, text: str) -> Event:
    """The client is the one that opened the queue id: the text may quote a header that the client wrote."""
    stage, _, body = text.partition(" from ")
    who = who_at(body, 0)
    after = body[who.end :].removeprefix(": ") if who is not None else body
    refusal = read(after, queue_id, stage)
    return line.main(
        "rcpt",
        queued,
        queued.session,
        queue_id=queue_id,
        code=550 if refusal.code == 421 else refusal.code,
        sender=bounded(refusal.sender),
        recipient=bounded(refusal.recipient),
        helo=bounded(refusal.helo),
        detail=bounded(text),
    )


def read_dnsblog(line: Line) -> list[Event] | Ignored:
    """`addr ADDRESS listed by domain ZONE as RESULT`."""
    words = line.text.split(" ")
    if len(words) != 8 or words[0] != "addr" or words[2:5] != ["listed", "by", "domain"]:
        return WARNING if line.text.startswith("warning: ") else NO_CLIENT
    who = who_at(f"[{words[1]}]", 0)
    if who is None:
        return NO_CLIENT
    return [line.main("reputation", who, "", detail=bounded(f"{words[5]} {words[7]}"))]

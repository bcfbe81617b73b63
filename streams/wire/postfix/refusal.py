"""A refusal: `QUEUEID: reject: STAGE from CLIENT: CODE reason; from=<…> to=<…> proto=… helo=<…>`."""

from typing import Final

import msgspec

from streams.wire.postfix.who import Who, who_at

NO_QUEUE_ID: Final = "NOQUEUE"
REFUSING: Final = frozenset({"reject:", "milter-reject:", "proxy-reject:"})
_MAX_STAGE: Final = 40
_TAIL: Final = ("; from=<", "; to=<", "; proto=")


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """What was refused, at which stage, how and why."""

    queue_id: str
    stage: str
    code: int
    """0 where the message is accepted and thrown away (`discarded`)."""
    reason: str
    sender: str
    recipient: str
    helo: str
    discarded: bool = False


def refusal_at(
    text: str, start: int, queue_id: str, *, discarded: bool = False
) -> tuple[Who, Refusal] | None:
    """Read `STAGE from CLIENT: …` at `start`. The client stands before anything that the client wrote."""
    word = text.find(" from ", start, start + _MAX_STAGE)
    if word < 0:
        return None
    who = who_at(text, word + 6)
    if who is None or text[who.end : who.end + 2] != ": ":
        return None
    return who, read(text[who.end + 2 :], queue_id, text[start:word], discarded=discarded)


def read(body: str, queue_id: str, stage: str, *, discarded: bool = False) -> Refusal:
    """Read what follows the client. The envelope can hold anything, so the fields are a best effort."""
    ends = [found for mark in _TAIL if (found := body.find(mark)) >= 0]
    cut = min(ends, default=len(body))
    reason, tail = body[:cut], body[cut:]
    envelope, helo = _split_helo(tail)
    code = 0 if discarded else reply_code(reason)
    sender, recipient = _envelope(envelope)
    return Refusal(queue_id, stage, code, reason, sender, recipient, helo, discarded)


def reply_code(reason: str) -> int:
    """`550 5.1.1 …` → 550; a bare `5.7.1 …` or `4.7.1 …` → 550 or 450; neither → 421, since what Postfix
    logs without a code is a connection that it drops."""
    code = reason[:3]
    if code.isascii() and code.isdigit() and code[0] in "2345" and reason[3:4] in {" ", "", "-"}:
        return int(code)
    return {"5.": 550, "4.": 450}.get(reason[:2], 421)


def _split_helo(tail: str) -> tuple[str, str]:
    """`; from=<a> to=<b> proto=ESMTP helo=<c>` → what is before `proto`, and `c`. The last ` proto=` is
    Postfix's own: it lets no space stand in a HELO that it quotes behind an envelope."""
    start = tail.rfind(" proto=")
    envelope, after = (tail, "") if start < 0 else (tail[:start], tail[start:])
    value = after.partition("helo=<")[2].partition("> sasl_")[0]
    return envelope, value.removesuffix(">")


def _envelope(text: str) -> tuple[str, str]:
    """Sender and recipient of `; from=<a> to=<b>`; postscreen separates them by `, `."""
    first = text.removeprefix("; ").rstrip(" ,;").removesuffix(">")
    if first.startswith("to=<"):
        return "", first[4:]
    for separator in ("> to=<", ">, to=<"):
        sender, found, recipient = first.rpartition(separator)
        if found:
            return sender.removeprefix("from=<"), recipient
    return first.removeprefix("from=<"), ""

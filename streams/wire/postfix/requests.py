"""Requests counted once each: a request is one MAIL transaction.

What the log tells is a queue id for each transaction with an accepted recipient, and one line for each
refusal. Rules:

- a queue id opens a transaction, unless the open one has had nothing but refusals: then it is that one
  going on, and the event is `rcpt`;
- a refusal opens a transaction where none is open, the sender differs, the same recipient was refused
  already, or MAIL itself was refused; else it is one more `rcpt` of the open one;
- where these rules took two for one, the count of accepted MAIL commands at the disconnect corrects them,
  except for what was put off with 451: a mailing list that is greylisted has asked for nothing yet.
"""

from typing import Final

from streams.model.event import Event
from streams.wire.postfix.line import Line, bounded
from streams.wire.postfix.memory import MAX_RECIPIENTS, Session, Transaction
from streams.wire.postfix.refusal import NO_QUEUE_ID, Refusal
from streams.wire.postfix.result import SAME_TRANSACTION, Ignored
from streams.wire.postfix.who import Who

_STAGES: Final = frozenset({"MAIL", "RCPT", "DATA", "BDAT", "END-OF-MESSAGE"})
"""Where a refusal is of a transaction; elsewhere it is of the connection or of one command."""
_PUT_OFF: Final = 451


def accepted(line: Line, who: Who, session: Session, queue_id: str, sasl_user: str) -> Event:
    """`QUEUEID: client=…`: the first accepted recipient of a transaction."""
    transaction = session.transaction
    logged = "" if queue_id == NO_QUEUE_ID else queue_id
    if transaction is None or transaction.queue_id:
        session.transaction = Transaction(queue_id=queue_id)
        session.accepted += 1
        return line.main("mail", who, session.session, queue_id=logged, sasl_user=sasl_user)
    transaction.queue_id = queue_id
    session.uncertain += 1
    return line.main(
        "rcpt",
        who,
        session.session,
        queue_id=logged,
        sasl_user=sasl_user,
        detail="accepted after a refusal",
    )


def refused(line: Line, who: Who, session: Session, refusal: Refusal) -> Event | Ignored:
    """`NOQUEUE: reject: STAGE from …` or the same with a queue id."""
    queue_id = "" if refusal.queue_id == NO_QUEUE_ID else refusal.queue_id
    if refusal.stage not in _STAGES:
        opens = False
        kind = "refusal"
    else:
        opens = not queue_id and _opens(session, refusal)
        kind = "mail" if opens else "rcpt"
        _remember(session, refusal, opens=opens, known=bool(queue_id))
    if refusal.discarded and not opens:
        return SAME_TRANSACTION
    return line.main(
        kind,  # type: ignore[arg-type]  # one of three literals
        who,
        session.session,
        helo=bounded(refusal.helo),
        sender=bounded(refusal.sender),
        recipient=bounded(refusal.recipient),
        queue_id=queue_id,
        code=refusal.code,
        detail=bounded(refusal.reason),
    )


def _opens(session: Session, refusal: Refusal) -> bool:
    """Whether this refusal without a queue id is the first of its transaction."""
    transaction = session.transaction
    if transaction is None or refusal.stage == "MAIL":
        return True
    if transaction.queue_id not in {"", NO_QUEUE_ID}:
        return True  # within a transaction that has a queue id, refusals name it
    if transaction.sender is not None and transaction.sender != refusal.sender:
        return True
    return _key(refusal) in transaction.refused


def _remember(session: Session, refusal: Refusal, *, opens: bool, known: bool) -> None:
    if opens:
        session.transaction = Transaction(sender=refusal.sender, refused=[_key(refusal)])
        if refusal.stage != "MAIL":
            session.accepted += 1
    elif session.transaction is not None and not known:
        transaction = session.transaction
        transaction.sender = refusal.sender
        if len(transaction.refused) < MAX_RECIPIENTS:
            transaction.refused.append(_key(refusal))
        # what is only put off may be more of the transaction: greylisting must consume no limit
        session.uncertain += refusal.code != _PUT_OFF
    if refusal.stage in {"MAIL", "END-OF-MESSAGE"}:
        session.transaction = None  # neither leaves a transaction open


def _key(refusal: Refusal) -> str:
    return bounded(f"{refusal.stage} {refusal.recipient}")


def owed_at_disconnect(session: Session, counts: str) -> int:
    """How many more transactions there were than were told apart: no more than the accepted MAIL
    commands say (`mail=2/3`: two of three), and no more than lines that may have been one."""
    if not session.uncertain:
        return 0
    start = counts.find(" mail=")
    if start < 0:
        return 0
    number = counts[start + 6 :].partition(" ")[0].partition("/")[0]
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return 0
    return max(0, min(session.uncertain, int(number) - session.accepted))

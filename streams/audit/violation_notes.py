"""What a client wrote into a decision about it: a violation's note, stored with no more than its event."""

from typing import Final

from msgspec.structs import astuple, replace

from streams.audit.event_lines import Veiling
from streams.model.decision import MOST_NOTED, Decision
from streams.model.event import Event

_DETAIL: Final = Event.__struct_fields__.index("detail")


def veiled(decision: Decision, veiling: Veiling) -> Decision:
    """Of a violation the note is its event's text, and stored as that is. Others are an administrator's."""
    evidence = decision.evidence
    if (decision.trigger, decision.action) != ("protocol", "block") or not evidence.note:
        return decision
    # the engine may have cut it: the last word may be the beginning of an address
    note = evidence.note if len(evidence.note) < MOST_NOTED else evidence.note.rpartition(" ")[0]
    violation = Event(
        id=decision.event,
        at=decision.at,
        kind="violation",
        client=decision.client,
        address=decision.address,
        session=decision.session,
        host=decision.host,
        detail=note,
    )
    return replace(decision, evidence=replace(evidence, note=veiling(astuple(violation))[_DETAIL]))

"""What a replay decides, for a person at a terminal: one line each."""

from streams.cli.screen import refusal_line, why
from streams.engine.step import Outcome
from streams.model.decision import Decision
from streams.model.instant import rfc3339
from streams.model.policy import Replies
from streams.wire.policy_words import escaped


def line_of(outcome: Outcome, replies: Replies) -> str:
    """A refusal as `goaway up` prints it, other decisions and warnings alike; `replies` are the policy's."""
    if not isinstance(outcome, Decision):
        said = outcome.text or f"{outcome.rule}: {outcome.evidence.count}, limit {outcome.evidence.limit}"
        return escaped(f"{rfc3339(outcome.at)} WARNING {outcome.client}: {said}")
    if outcome.action == "block":
        return escaped(refusal_line(outcome, replies))
    what = f"{rfc3339(outcome.at)} {outcome.action.upper()} {outcome.client}: {outcome.trigger}"
    until = f"; until {rfc3339(outcome.until)}" if outcome.until is not None else ""
    return escaped(f"{what} ({why(outcome)}{until})")

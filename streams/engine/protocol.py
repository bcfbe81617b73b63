"""Trigger `protocol`: violations of SMTP that the log shows."""

from array import array

from streams.engine.outcome import Outcome, decision, in_shadow, lets_off, shadow_end
from streams.engine.state import ClientState
from streams.engine.windows import held, slide
from streams.model.decision import MOST_NOTED, Evidence
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.modules import VIOLATIONS
from streams.model.standing import PolicyIndex, Standing


def judged(index: PolicyIndex, standing: Standing, event: Event) -> bool:
    """Whether this violation by this address counts."""
    protocol = index.policy.protocol
    return (
        protocol.judges(event.violation)
        and standing.blocked(event.at) is None
        and (not standing.internal or protocol.internal)
        and not lets_off(index, standing, "protocol", event.at)
    )


def note(index: PolicyIndex, client: ClientState, event: Event) -> int:
    """Count the violation; how many lie in the window. Those of rules in shadow count for rules in shadow
    alone."""
    record, now = client.on_record(), client.clock
    length_us = index.policy.protocol.window_s * MICROSECONDS
    if record.violations is None:
        record.violations = array("q")
    if not in_shadow(index, "protocol", VIOLATIONS[event.violation]):
        return slide(record.violations, event.at, now, length_us)
    if record.shadow_violations is None:
        record.shadow_violations = array("q")
    return slide(record.shadow_violations, event.at, now, length_us) + held(record.violations, now, length_us)


def judge(index: PolicyIndex, client: ClientState, event: Event, count: int) -> list[Outcome]:
    """A block where the violations reach the threshold."""
    protocol, replies = index.policy.protocol, index.policy.replies
    rule = VIOLATIONS[event.violation]
    if count < protocol.threshold or client.clock < shadow_end(index, client, "protocol", rule):
        return []
    return [
        decision(
            index,
            client,
            event,
            "protocol",
            rule,
            until=client.clock + protocol.block_s * MICROSECONDS,
            code=replies.connect_code,
            reason=f"{replies.protocol}: {event.violation}",
            evidence=Evidence(
                count=count,
                limit=protocol.threshold,
                window_s=protocol.window_s,
                note=event.detail[:MOST_NOTED],
            ),
        )
    ]

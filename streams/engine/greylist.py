"""Trigger `greylist`: who is put off and never comes back; and who came back, and passes from then on.

The shim defers by itself. Here its deferrals are read back from the MTA's log, put on record (`defer`), and
held against what the client did next.

- A first attempt is *pending* until a message of the client is queued, a day at most. If that is a retry of
  it (same sender, `delay_s` later), the client is learnt; if not, it is at least no client that never
  delivers, and its pending attempts are dropped.
- `no_retry_count` pending attempts, each older than `no_retry_after_s`, show that the client does not retry.
"""

from typing import Final

from streams.engine.outcome import Outcome, decision, lets_off, shadow_end
from streams.engine.state import ClientState
from streams.model.decision import Action, Decision, Evidence
from streams.model.event import MAX_TEXT, Event
from streams.model.greylist import greylist_triplet, pool_of, sender_part
from streams.model.instant import MICROSECONDS
from streams.model.standing import PolicyIndex, Standing

_RENEW_US: Final = 86_400 * MICROSECONDS
"""A learnt client that delivers is learnt anew when this much of its time is gone, or half of all where that
is less: one record a day."""
_MAX_PENDING: Final = 256


def is_deferral(index: PolicyIndex, event: Event) -> bool:
    """Whether the shim's own 451 put this attempt off.

    Postfix writes our text last, behind what the client wrote. A line that was cut may end in the client's
    words instead: so one of full length is not believed, nor one whose client wrote our text itself.
    """
    detail = event.detail
    if event.code != 451 or not detail.endswith(" s") or len(detail) >= MAX_TEXT:
        return False
    replies = index.policy.replies
    ours = f"{replies.opening}: {replies.greylisted} "
    _, found, seconds = detail[:-2].rpartition(ours)
    if not (found and seconds.isascii() and seconds.isdigit()):
        return False
    return not any(ours in written for written in (event.sender, event.recipient, event.helo))


def judged(index: PolicyIndex, standing: Standing, event: Event) -> bool:
    """Whether first attempts of this address count."""
    greylist = index.policy.greylist
    return (
        greylist.enabled
        and (not standing.internal or greylist.internal)
        and not lets_off(index, standing, "greylist", event.at)
    )


def first_attempt(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """Put a first attempt on record; one that is pending, or of a learnt client, is no first attempt."""
    policy, now, record = index.policy.greylist, client.clock, client.record
    triplet = greylist_triplet(event.sender, event.recipient)
    window_us = policy.retry_window_s * MICROSECONDS
    if record is not None:
        first = record.attempts(now).get(triplet)
        if now < record.learnt or (first is not None and now < first + window_us):
            return []
    return [
        decision(
            index,
            client,
            event,
            "greylist",
            "first_attempt",
            until=now + window_us,
            code=451,
            reason=index.policy.replies.greylisted,
            evidence=Evidence(window_s=policy.delay_s),
            action="defer",
            triplet=triplet,
            pool=pool_of(event.ptr, event.address),
        )
    ]


def no_retry(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """A block where the pending attempts show that the client does not retry. Asked where `judged`."""
    policy, record, now = index.policy.greylist, client.record, client.clock
    if record is None or len(record.pending) < policy.no_retry_count:
        return []
    if now < max(record.blocks.get("greylist", 0), shadow_end(index, client, "greylist", "no_retry")):
        return []
    overdue = now - policy.no_retry_after_s * MICROSECONDS
    count = sum(at <= overdue for at in record.attempts(now).values())
    if count < policy.no_retry_count:
        return []
    replies = index.policy.replies
    return [
        decision(
            index,
            client,
            event,
            "greylist",
            "no_retry",
            until=now + policy.no_retry_block_s * MICROSECONDS,
            code=replies.session_code,
            reason=replies.greylist,
            evidence=Evidence(count=count, limit=policy.no_retry_count, window_s=policy.no_retry_after_s),
        )
    ]


def delivered(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """A message of the client was queued. It only ever lets through, so it also counts where the address is
    exempt or the module suspended: who delivered meanwhile must not be said never to retry."""
    policy, record, now = index.policy.greylist, client.record, client.clock
    if record is None or not policy.enabled:
        return []
    if now < record.learnt:
        learnt_us = policy.learnt_s * MICROSECONDS
        renew = record.learnt <= now + learnt_us - min(_RENEW_US, learnt_us // 2)
        return [_learnt(index, client, event, "renewed")] if renew else []
    pending = record.attempts(now)
    if not pending:
        return []
    part, due = sender_part(event.sender) + ":", now - policy.delay_s * MICROSECONDS
    if any(name.startswith(part) and at <= due for name, at in pending.items()):
        return [_learnt(index, client, event, "retried")]
    return [_greylist(index, client, event, "delivered", now, "release")]


def known_to_deliver(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """`goaway greylist learn` says so."""
    return [_learnt(index, client, event, "learnt")]


def _learnt(index: PolicyIndex, client: ClientState, event: Event, rule: str) -> Outcome:
    until = client.clock + index.policy.greylist.learnt_s * MICROSECONDS
    pool = pool_of(event.ptr, event.address)
    return _greylist(index, client, event, rule, until, "pass", pool)


def _greylist(
    index: PolicyIndex,
    client: ClientState,
    event: Event,
    rule: str,
    until: int,
    action: Action,
    pool: str = "",
) -> Decision:
    return decision(
        index,
        client,
        event,
        "greylist",
        rule,
        until=until,
        code=0,
        reason="",
        evidence=Evidence(),
        action=action,
        pool=pool,
    )


def stand(client: ClientState, taken: Decision) -> None:
    """Take a greylist decision into the client's record."""
    record = client.on_record()
    if taken.action == "defer":
        pending = record.pending
        if len(pending) >= _MAX_PENDING:
            del pending[min(pending, key=lambda name: (pending[name], name))]
        pending[taken.triplet] = taken.at
        return
    record.pending.clear()
    if taken.action == "block":
        record.blocks["greylist"] = taken.until or 0
        return
    record.blocks.pop("greylist", None)
    record.learnt = (taken.until or 0) if taken.action == "pass" else 0

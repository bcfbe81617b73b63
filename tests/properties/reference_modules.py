"""The reference's modules beside the limits: greylist, reputation, protocol, and the administrator's events.

Each function takes one event; None where the event says nothing to this module.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final

from streams.model.decision import Decision, Evidence, derived_id
from streams.model.event import Event
from streams.model.modules import VIOLATIONS
from streams.model.policy import Policy
from tests.properties.reference import DAY, HOUR, SECOND, Answer, History, Reference, Said
from tests.properties.reference_policy import judged, shadowed

REDUCED = re.compile(r"\d+")
ERRORS = ip_network("127.255.255.0/24")
LOCAL = ip_network("127.0.0.0/8")


def is_ours(policy: Policy, event: Event) -> bool:
    """Whether the shim put the attempt off."""
    ours = f"{policy.replies.opening}: {policy.replies.greylisted} "
    return (
        event.code == 451
        and len(event.detail) < 512
        and re.search(re.escape(ours) + r"[0-9]+ s\Z", event.detail) is not None
        and ours not in event.sender + "\n" + event.recipient + "\n" + event.helo
    )


def sender_of(event: Event) -> str:
    """Lower case, no tag, numbers alike."""
    local, at, domain = event.sender.lower().rpartition("@")
    return REDUCED.sub("#", local.split("+")[0]) + at + domain if at else event.sender.lower()


def pool_of(event: Event) -> str:
    return event.ptr.split(".", 1)[1] if event.ptr else ""


def firsts_of(history: History) -> dict[tuple[str, str], tuple[int, str]]:
    """First attempts of the last day."""
    return {key: it for key, it in history.firsts.items() if history.clock < it[0] + DAY}


def deferred(reference: Reference, event: Event) -> Said:
    history, greylist = reference.client(event), reference.policy.greylist
    reference.sessions(history, event)
    if reference.refused(history, event) or not judged(reference.policy, "greylist", event):
        return []
    said = no_retry(reference, history, event)
    if any(isinstance(it, Decision) and not it.shadow for it in said) or history.clock < history.learnt:
        return said
    key = sender_of(event), event.recipient.lower()
    window, first = greylist.retry_window_s * SECOND, firsts_of(history).get(key)
    if first is not None and history.clock < first[0] + window:
        return said
    history.firsts[key] = history.clock, key[0]
    triplet = f"{derived_id('sender', key[0])}:{derived_id('recipient', key[1])}"
    return [
        *said,
        reference.say(
            event,
            history,
            "greylist",
            "first_attempt",
            until=history.clock + window,
            code=451,
            reason=reference.policy.replies.greylisted,
            evidence=Evidence(window_s=greylist.delay_s),
            action="defer",
            triplet=triplet,
            pool=pool_of(event),
        ),
    ]


def no_retry(reference: Reference, history: History, event: Event) -> Said:
    policy, greylist, now = reference.policy, reference.policy.greylist, history.clock
    if not judged(policy, "greylist", event) or now < history.stands.get("greylist", 0):
        return []
    shadow = shadowed(policy, "greylist", "no_retry")
    overdue = [at for at, _ in firsts_of(history).values() if at + greylist.no_retry_after_s * SECOND <= now]
    if len(overdue) < greylist.no_retry_count or (shadow and now < history.spoken.get("no_retry", 0)):
        return []
    until = now + greylist.no_retry_block_s * SECOND
    if shadow:
        history.spoken["no_retry"] = until
    else:
        history.stands["greylist"] = until
        history.firsts = {}
    evidence = Evidence(count=len(overdue), limit=greylist.no_retry_count, window_s=greylist.no_retry_after_s)
    return [
        reference.say(
            event,
            history,
            "greylist",
            "no_retry",
            until=until,
            code=policy.replies.session_code,
            reason=policy.replies.greylist,
            evidence=evidence,
        )
    ]


def queued(reference: Reference, event: Event) -> Said | None:
    """A message was queued."""
    history, greylist = reference.known(event), reference.policy.greylist
    if history is None:
        return None
    reference.sessions(history, event)
    now, learnt = history.clock, greylist.learnt_s * SECOND
    if not greylist.enabled:
        return []
    if now < history.learnt:
        gone = now + learnt - history.learnt
        return [pass_on(reference, history, event, "renewed")] if gone >= min(DAY, learnt // 2) else []
    firsts = firsts_of(history)
    if any(
        sender == sender_of(event) and at + greylist.delay_s * SECOND <= now for at, sender in firsts.values()
    ):
        return [pass_on(reference, history, event, "retried")]
    if not firsts:
        return []
    history.firsts, history.learnt = {}, 0
    history.stands.pop("greylist", None)
    return [reference.say(event, history, "greylist", "delivered", until=now, action="release")]


def known_to_deliver(reference: Reference, event: Event) -> Said:
    return [pass_on(reference, reference.client(event), event, "learnt")]


def pass_on(reference: Reference, history: History, event: Event, rule: str) -> Decision:
    history.learnt = history.clock + reference.policy.greylist.learnt_s * SECOND
    history.firsts = {}
    history.stands.pop("greylist", None)
    return reference.say(
        event, history, "greylist", rule, until=history.learnt, action="pass", pool=pool_of(event)
    )


def weight_of(policy: Policy, domain: str, codes: str) -> tuple[str, int]:
    """Display name and weight of what a zone answered; of several codes the heaviest counts."""
    for zone in policy.zones:
        if zone.domain != domain or not zone.enabled:
            continue
        weights = [0]
        for text in codes.split(","):
            try:
                code = ip_address(text.strip())
            except ValueError:
                continue
            if code not in LOCAL or code in ERRORS:
                continue
            named = [(it.prefixlen, weight) for it, weight in zone.codes if code in it]
            if zone.codes:
                weights.append(max(named)[1] if named else 0)
            else:
                weights.append(zone.weight)
        return zone.name or zone.domain, max(weights)
    return "", 0


def answered(reference: Reference, event: Event) -> Said | None:
    """DNSBLs answered."""
    policy = reference.policy
    if not judged(policy, "dnsbl", event):
        return None
    history, bounds, whole = reference.client(event), policy.reputation, event.service == "reputation"
    reference.sessions(history, event)
    now = history.clock
    ttl = min(max(event.ttl_s or 3600, bounds.ttl_min_s), bounds.ttl_max_s) * SECOND
    new = []
    for part in filter(None, event.detail.split("; ")):
        domain, _, codes = part.partition(" ")
        shown, weight = weight_of(policy, domain, codes)
        if weight:
            new.append(Answer(event.address, domain, shown, weight, event.at, event.at + ttl))
    same = {(it.address, it.zone) for it in new}
    history.answers = [
        it
        for it in history.answers
        if not (whole and it.address == event.address) and (it.address, it.zone) not in same
    ]
    history.answers += {(it.address, it.zone): it for it in new}.values()
    live = [it for it in history.answers if now < min(it.until, it.at + HOUR)]
    zones = sorted({it.zone for it in live})
    best = {zone: max(it.weight for it in live if it.zone == zone) for zone in zones}
    weight, stands = sum(best.values()), history.stands.get("reputation", 0)
    shadow = shadowed(policy, "reputation", "")
    judged_now = history.blamed == event.address and whole
    if live and weight >= bounds.threshold:
        until, address = max((it.until, it.address) for it in live)
        handed_over = judged_now and now < stands and all(it.address != event.address for it in live)
        if not handed_over and until <= max(stands, history.spoken.get("reputation", 0) if shadow else 0):
            return []
        names = [next(it.shown for it in live if it.zone == zone) for zone in zones]
        if shadow:
            history.spoken["reputation"] = until
        else:
            history.stands["reputation"], history.blamed = until, address
        return [
            reference.say(
                event,
                history,
                "reputation",
                zones[0],
                until=until,
                code=policy.replies.connect_code,
                reason=f"{policy.replies.reputation}: " + ", ".join(f"[{name}]" for name in names),
                evidence=Evidence(count=weight, limit=bounds.threshold, note=event.detail[:256]),
                address=address,
            )
        ]
    evidence = Evidence(count=weight, limit=bounds.threshold)
    if now < stands:
        if not judged_now:
            return []
        del history.stands["reputation"]
        fields = {"reason": "no longer listed", "action": "release", "evidence": evidence}
        return [reference.say(event, history, "reputation", "delisted", until=now, **fields)]
    if bounds.wait_ms and whole and event.at + ttl > now:
        fields = {"reason": "not listed", "action": "pass", "evidence": evidence}
        return [reference.say(event, history, "reputation", "verdict", until=event.at + ttl, **fields)]
    return []


def violated(reference: Reference, event: Event) -> Said | None:
    policy, protocol = reference.policy, reference.policy.protocol
    if not judged(policy, "protocol", event):
        return None
    history = reference.client(event)
    reference.sessions(history, event)
    if reference.refused(history, event):
        return []
    now, rule = history.clock, VIOLATIONS[event.violation]
    shadow = shadowed(policy, "protocol", rule)
    history.violations.append((event.at, shadow))
    count = sum(
        now - protocol.window_s * SECOND < at and (shadow or not in_shadow)
        for at, in_shadow in history.violations
    )
    if count < protocol.threshold or (shadow and now < history.spoken.get(rule, 0)):
        return []
    until = now + protocol.block_s * SECOND
    if shadow:
        history.spoken[rule] = until
    else:
        history.stands["protocol"] = until
    return [
        reference.say(
            event,
            history,
            "protocol",
            rule,
            until=until,
            code=policy.replies.connect_code,
            reason=f"{policy.replies.protocol}: {event.violation}",
            evidence=Evidence(
                count=count, limit=protocol.threshold, window_s=protocol.window_s, note=event.detail[:256]
            ),
        )
    ]


def forget(reference: Reference, event: Event) -> Said:
    """An administrator has all dropped but that an entry of the block list is on record."""
    history = reference.client(event)
    reference.clients[event.client] = History(history.clock, listed=history.listed)
    return [
        reference.say(
            event,
            history,
            trigger,
            "forgotten",
            until=history.clock,
            reason="dropped by an administrator",
            evidence=Evidence(note=event.detail[:256]),
            action="release",
        )
        for trigger in ("rate", "reputation", "greylist", "protocol")
    ]


SPECIAL: Final[dict[str, Callable[[Reference, Event], Said | None]]] = {
    "reputation": answered,
    "violation": violated,
    "message": queued,
    "learnt": known_to_deliver,
    "forget": forget,
}

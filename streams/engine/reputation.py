"""Trigger `reputation`: what DNSBLs answered, weighed by the policy.

A reputation event carries raw return codes; the policy says what they weigh. So a history can be judged again
by other weights. An event of the reputation stage (`service` = `reputation`) is a finished round over all
zones and takes the place of what was known of its address; one from a log (dnsblog) tells of one zone.
"""

from ipaddress import IPv4Address
from typing import Final

from streams.engine.outcome import Outcome, decision, lets_off
from streams.engine.state import ClientState
from streams.model.decision import Evidence
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.modules import ERROR_CODES, Zone
from streams.model.standing import PolicyIndex, Standing

ROUND: Final = "reputation"
_MAX_LISTINGS: Final = 64
_LISTING_CODES: Final = "127."


def judged(index: PolicyIndex, standing: Standing, event: Event) -> bool:
    """Whether answers about this address count."""
    return (
        bool(index.zones)
        and (not standing.internal or index.policy.reputation.internal)
        and not lets_off(index, standing, "dnsbl", event.at)
    )


def note(index: PolicyIndex, client: ClientState, event: Event) -> None:
    """Take the answers in."""
    found = _answers(index, event.detail)
    if not found and client.record is None:
        return
    listings, mark = client.on_record().listings, f"{event.address} "
    if event.service == ROUND:
        for name in [name for name in listings if name.startswith(mark)]:
            del listings[name]
    for name in [name for name, (_, until, _) in listings.items() if until <= client.clock]:
        del listings[name]
    until = event.at + _ttl_us(index, event)
    for zone, weight in found:
        if len(listings) < _MAX_LISTINGS and until > client.clock:
            listings[mark + zone.domain] = weight, until, zone.shown


def judge(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """A block where the weights reach the threshold, its release where they no longer do."""
    record, policy, now = client.record, index.policy.reputation, client.clock
    live = sorted(record.listings.items()) if record else []
    weight = sum(weight for _, (weight, _, _) in live)
    standing_until = record.blocks.get("reputation", 0) if record else 0
    if live and weight >= policy.threshold:
        until = max(until for _, (_, until, _) in live)
        shadow_until = record.shadows.get("reputation", 0) if record else 0
        if until <= max(standing_until, shadow_until):
            return []
        names = ", ".join(f"[{name}]" for _, (_, _, name) in live)
        evidence = Evidence(count=weight, limit=policy.threshold, note=event.detail[:256])
        reason = f"{index.policy.replies.reputation}: {names}"[:400]
        rule = live[0][0].partition(" ")[2]
        return [_decided(index, client, event, rule, until, reason, evidence)]
    if standing_until > now:
        return [
            decision(
                index,
                client,
                event,
                "reputation",
                "delisted",
                until=now,
                code=0,
                reason="no longer listed",
                evidence=Evidence(count=weight, limit=policy.threshold),
                action="release",
            )
        ]
    until = event.at + _ttl_us(index, event)
    if policy.wait_ms and event.service == ROUND and until > now:
        evidence = Evidence(count=weight, limit=policy.threshold)
        return [
            decision(
                index,
                client,
                event,
                "reputation",
                "verdict",
                until=until,
                code=0,
                reason="not listed",
                evidence=evidence,
                action="pass",
            )
        ]
    return []


def _decided(
    index: PolicyIndex,
    client: ClientState,
    event: Event,
    rule: str,
    until: int,
    reason: str,
    evidence: Evidence,
) -> Outcome:
    code = index.policy.replies.connect_code
    return decision(
        index,
        client,
        event,
        "reputation",
        rule,
        until=until,
        code=code,
        reason=reason,
        evidence=evidence,
    )


def _ttl_us(index: PolicyIndex, event: Event) -> int:
    """How long the answers hold; an hour where the source did not say, within the policy's bounds."""
    policy = index.policy.reputation
    return min(max(event.ttl_s or 3600, policy.ttl_min_s), policy.ttl_max_s) * MICROSECONDS


def _answers(index: PolicyIndex, detail: str) -> list[tuple[Zone, int]]:
    """`zen.example 127.0.0.2,127.0.0.4; bl.example 127.0.0.2` → zones of the policy with what they weigh."""
    found = []
    for part in detail.split("; "):
        domain, _, codes = part.partition(" ")
        zone = index.zones.get(domain.lower().rstrip("."))
        if zone is not None and (weight := weight_of(zone, codes)) > 0:
            found.append((zone, weight))
    return found


def weight_of(zone: Zone, codes: str) -> int:
    """What a zone's answer weighs: of several codes the heaviest; errors and what is no code, nothing."""
    heaviest = 0
    for text in codes.split(","):
        try:
            code = IPv4Address(text.strip())
        except ValueError:
            continue
        if code in ERROR_CODES or not str(code).startswith(_LISTING_CODES):
            continue
        if not zone.codes:
            weight = zone.weight
        else:
            weight = next((weight for network, weight in zone.codes if code in network), 0)
        heaviest = max(heaviest, weight)
    return heaviest

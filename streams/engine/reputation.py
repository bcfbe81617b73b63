"""Trigger `reputation`: what DNSBLs answered, weighed by the policy.

A reputation event carries raw return codes; the policy says what they weigh. So a history can be judged again
by other weights. An event of the reputation stage (`service` = `reputation`) is a finished round over all
zones and takes the place of what was known of its address; one from a log (dnsblog) tells of one zone.
"""

from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace

from streams.engine.outcome import Outcome, decision, lets_off, shadow_end
from streams.engine.state import ClientState, Listing
from streams.model.client import Address
from streams.model.decision import MOST_NOTED, Action, Decision, Evidence
from streams.model.event import Event
from streams.model.instant import MICROSECONDS
from streams.model.modules import ERROR_CODES, Zone
from streams.model.standing import PolicyIndex, Standing

ROUND: Final = "reputation"
_MAX_LISTINGS: Final = 64
_MAX_REASON: Final = 400
_SUMMED_US: Final = 3600 * MICROSECONDS
"""An answer adds to what others say of the client for this long, which a restarted worker reads back."""
_LISTING_CODES: Final = "127."


def judged(index: PolicyIndex, standing: Standing, event: Event) -> bool:
    """Whether answers about this address count."""
    return (
        bool(index.zones)
        and standing.blocked(event.at) is None
        and (not standing.internal or index.policy.reputation.internal)
        and not lets_off(index, standing, "dnsbl", event.at)
    )


def note(index: PolicyIndex, client: ClientState, event: Event) -> None:
    """Take the answers in."""
    found, now = _answers(index, event.detail), client.clock
    if not found and client.record is None:
        return
    listings = client.on_record().listings
    for key in [
        key
        for key, it in listings.items()
        if it.summed_until <= now or (event.service == ROUND and key[0] == event.address)
    ]:
        del listings[key]
    until = event.at + _ttl_us(index, event)
    summed_until = min(until, event.at + _SUMMED_US)
    for zone, weight in found:
        if len(listings) < _MAX_LISTINGS and summed_until > now:
            listings[event.address, zone.domain] = Listing(weight, until, summed_until, zone.shown)


def judge(index: PolicyIndex, client: ClientState, event: Event) -> list[Outcome]:
    """A block where the weights reach the threshold; its release by a finished round about the address that
    brought it about, where they no longer do.

    A zone counts once, by its heaviest listing, however many addresses of the client it lists.
    """
    record, policy, now = client.record, index.policy.reputation, client.clock
    listings = record.listings if record else {}
    heaviest: dict[str, Listing] = {}
    for (_, domain), it in sorted(listings.items(), key=lambda found: found[0][::-1]):
        if domain not in heaviest or it.weight > heaviest[domain].weight:
            heaviest[domain] = it
    weight = sum(it.weight for it in heaviest.values())
    ends = record.blocks.get("reputation", 0) if record else 0
    about_blamed = record is not None and event.service == ROUND and event.address == record.blamed
    gone = all(address != event.address for address, _ in listings)
    if heaviest and weight >= policy.threshold:
        until, address = max((it.until, address) for (address, _), it in listings.items())
        spoken = max(ends, shadow_end(index, client, "reputation", ""))
        handed_over = about_blamed and gone and ends > now
        if until <= spoken and not handed_over:
            return []
        return [_block(index, client, event, address, until, heaviest)]
    evidence = Evidence(count=weight, limit=policy.threshold)
    if ends > now:
        if not about_blamed:
            return []
        return [_lets_in(index, client, event, "delisted", now, "no longer listed", "release", evidence)]
    until = event.at + _ttl_us(index, event)
    if policy.wait_ms and event.service == ROUND and until > now:
        return [_lets_in(index, client, event, "verdict", until, "not listed", "pass", evidence)]
    return []


def _block(
    index: PolicyIndex,
    client: ClientState,
    event: Event,
    address: Address,
    until: int,
    heaviest: dict[str, Listing],
) -> Decision:
    names = ", ".join(f"[{it.name}]" for it in heaviest.values())
    found = decision(
        index,
        client,
        event,
        "reputation",
        next(iter(heaviest)),
        until=until,
        code=index.policy.replies.connect_code,
        reason=f"{index.policy.replies.reputation}: {names}"[:_MAX_REASON],
        evidence=Evidence(
            count=sum(it.weight for it in heaviest.values()),
            limit=index.policy.reputation.threshold,
            note=event.detail[:MOST_NOTED],
        ),
    )
    return found if address == event.address else replace(found, address=address)


def _lets_in(
    index: PolicyIndex,
    client: ClientState,
    event: Event,
    rule: str,
    until: int,
    reason: str,
    action: Action,
    evidence: Evidence,
) -> Decision:
    return decision(
        index,
        client,
        event,
        "reputation",
        rule,
        until=until,
        code=0,
        reason=reason,
        evidence=evidence,
        action=action,
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

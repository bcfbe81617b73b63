"""Warnings about zones and partners, in words, with what to do."""

from collections.abc import Iterable

from streams.agents.reputation.answers import Trouble
from streams.model.decision import LimitWarning, notice
from streams.model.instant import Instant, rfc3339
from streams.model.modules import Partner, Zone


def names_of(zones: Iterable[Zone]) -> str:
    """`[Spamhaus], [SpamCop]`"""
    return ", ".join(f"[{zone.shown}]" for zone in zones)


def zone_text(zone: Zone, trouble: Trouble | None) -> str:
    """What happened to a zone."""
    if trouble is None:
        return f"zone [{zone.shown}] ({zone.domain}) works again and is asked again"
    return (
        f"zone [{zone.shown}] ({zone.domain}) is out: {trouble.text}. It is not asked about clients until it "
        f"works again, which is tried by itself. What to do: {trouble.advice}"
    )


def zone_warning(zone: Zone, trouble: Trouble | None, *, at: Instant, policy: str, host: str) -> LimitWarning:
    """The warning that a zone went out or is back."""
    kind = trouble.kind if trouble else "back"
    named = (zone.domain, kind, rfc3339(at), host)
    text = zone_text(zone, trouble)
    return notice("zone", zone.domain, text, named=named, at=at, host=host, policy=policy)


def partner_text(partner: Partner, listed: Iterable[Zone], cleared: Iterable[Zone]) -> str:
    """What changed about a partner: the zones that list it now and did not, and the other way round."""
    who = f"partner {partner.name} ({partner.address})" if partner.name else f"partner {partner.address}"
    said = []
    if listed := list(listed):
        pages = ", ".join(
            f"delisting page {zone.delisting}" if zone.delisting else f"ask the operator of {zone.domain}"
            for zone in listed
        )
        said.append(f"is listed in {names_of(listed)}: {pages}")
    if cleared := list(cleared):
        said.append(f"is no longer listed in {names_of(cleared)}")
    return f"{who} {'; it '.join(said)}"


def partner_warning(
    partner: Partner, listed: Iterable[Zone], cleared: Iterable[Zone], *, at: Instant, policy: str, host: str
) -> LimitWarning:
    """The warning that a partner became listed or was cleared."""
    text = partner_text(partner, listed, cleared)
    address, named = partner.address, (partner.address, rfc3339(at), text)
    return notice("partner", address, text, named=named, at=at, host=host, policy=policy, address=address)

"""The policy's tables of entries (`[[networks]]`, `[[zones]]`, …): rows read into values.

A reader takes what names the entry (`192.0.2.0/24`) and its row; it raises `RowError`, without a place.
"""

from ipaddress import IPv4Network
from typing import Any, Final

import msgspec

from streams.errors import InvalidValueError
from streams.model.client import Network, parse_address
from streams.model.modules import ERROR_CODES, Partner, Zone
from streams.model.policy import MODULES, Block, Exemption, Module, Suspension
from streams.model.schedule import Schedule
from streams.wire import policy_values as v
from streams.wire.policy_settings import LIMITS, limit_values
from streams.wire.policy_values import Row, RowError

MAX_WEIGHT: Final = 1000
MAX_CODES: Final = 256
MAX_SCHEDULED_NETWORKS: Final = 1000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class NetworkPart(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[networks]]` entry before `[limits]` is put under it."""

    network: Network
    name: str
    internal: bool
    overrides: tuple[tuple[str, int | float], ...]


def network(name: str, row: Row) -> NetworkPart:
    v.only_known(row, ("name", "internal", *LIMITS))
    return NetworkPart(
        network=v.network("cidr", name),
        name=v.text("name", row.get("name", "")),
        internal=v.switch("internal", row.get("internal", False)),
        overrides=tuple(limit_values(row).items()),
    )


def _common(row: Row) -> dict[str, Any]:
    """Note, expiry and who added it."""
    expires = row.get("expires")
    return {
        "note": v.text("note", row.get("note", "")),
        "expires": None if expires is None else v.instant("expires", expires),
        "by": v.text("by", row.get("by", "")),
    }


def module(name: object) -> Module:
    """The module of this name."""
    for known in MODULES:
        if known == name:
            return known
    raise RowError(f"module = {v.shown(name)} is none of {', '.join(MODULES)}")


def exemption(name: str, row: Row) -> Exemption:
    v.only_known(row, ("note", "expires", "by"))
    which, _, address = name.partition("/")
    return Exemption(module=module(which), network=v.network("address", address), **_common(row))


def block(name: str, row: Row) -> Block:
    v.only_known(row, ("note", "expires", "by"))
    return Block(network=v.network("address", name), **_common(row))


def zone(name: str, row: Row) -> Zone:
    v.only_known(row, [known for known in Zone.__struct_fields__ if known != "domain"])
    changed: dict[str, Any] = {}
    for key, value in row.items():
        if key == "weight":
            changed[key] = v.whole(key, value, 0, MAX_WEIGHT)
        elif key == "codes":
            changed[key] = _codes(value)
        elif key == "delisting":
            changed[key] = v.page(key, value)
        elif key == "name":
            changed[key] = v.text(key, value, most=64)
            if not (value.isascii() and value.isprintable()):
                raise RowError("name must be printable ASCII: it stands in the reply (RFC 5321, 4.2)")
        else:
            changed[key] = v.switch(key, value)
    return Zone(domain=v.domain("domain", name), **changed)


def _codes(value: object) -> tuple[tuple[IPv4Network, int], ...]:
    if not isinstance(value, dict) or len(value) > MAX_CODES:
        raise RowError(
            f'codes = {v.shown(value)} must be a table such as {{ "127.0.0.2" = 1 }}, up to {MAX_CODES}'
        )
    found: dict[IPv4Network, int] = {}
    for code, weight in value.items():
        covered = v.network("codes", code)
        if not isinstance(covered, IPv4Network) or not covered.subnet_of(IPv4Network("127.0.0.0/8")):
            raise RowError(f"codes: {v.shown(code)} must lie in 127.0.0.0/8 (RFC 5782, 2.1)")
        if covered.subnet_of(ERROR_CODES):
            raise RowError(
                f"codes: {v.shown(code)} is how a zone says that it does not answer, never a listing"
            )
        found[covered] = v.whole(f"codes: {code}", weight, 0, MAX_WEIGHT)
    return tuple(sorted(found.items(), key=lambda item: (-item[0].prefixlen, item[0])))


def partner(name: str, row: Row) -> Partner:
    v.only_known(row, ("name",))
    try:
        return Partner(address=parse_address(name), name=v.text("name", row.get("name", "")))
    except InvalidValueError as error:
        raise RowError(f"address = {error.what}") from error


def suspension(name: str, row: Row) -> Suspension:
    v.only_known(row, ("until", "note", "by"))
    common = _common({key: value for key, value in row.items() if key != "until"})
    del common["expires"]
    return Suspension(module=module(name), until=v.instant("until", row.get("until")), **common)


def schedule(name: str, row: Row) -> Schedule:
    v.only_known(row, ("timezone", "months", "days", "weekdays", "from", "to", "networks", *LIMITS))
    overrides = limit_values(row)
    if not overrides:
        raise RowError("changes nothing: name a key of [limits]")
    start, end = v.minute("from", row.get("from", "00:00")), v.minute("to", row.get("to", "24:00"))
    if start == 1440:
        raise RowError("from = '24:00' must be a time of day up to '23:59'")
    months = {v.whole("months", it, 1, 12) for it in v.listed("months", row.get("months", []), 12)}
    days = {v.whole("days", it, -31, 31) for it in v.listed("days", row.get("days", []), 62)}
    if 0 in days:
        raise RowError("days = 0 must be from 1 to 31, or from -1 (the last day) to -31")
    weekdays = {
        WEEKDAYS.index(v.one_of("weekdays", it, WEEKDAYS))
        for it in v.listed("weekdays", row.get("weekdays", []), 7)
    }
    return Schedule(
        name=v.schedule_name("name", name),
        timezone=v.timezone("timezone", row.get("timezone", "UTC")),
        months=tuple(sorted(months)),
        days=tuple(sorted(days)),
        weekdays=tuple(sorted(weekdays)),
        from_minute=start,
        to_minute=end or 1440,
        networks=tuple(
            v.network("networks", it)
            for it in v.listed("networks", row.get("networks", []), MAX_SCHEDULED_NETWORKS)
        ),
        overrides=tuple(sorted(overrides.items())),
    )

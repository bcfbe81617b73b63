"""The name under which a DNSBL is asked about an address, and back (RFC 5782, 2.1 and 2.4)."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from streams.model.client import Address
from streams.model.modules import Zone

LISTED_IPV4: Final = IPv4Address("127.0.0.2")
"""Test entry that every IPv4 zone has (RFC 5782, 5)."""
UNLISTED_IPV4: Final = IPv4Address("127.0.0.1")
LISTED_IPV6: Final = IPv6Address("::ffff:7f00:2")
"""Test entry of a zone that knows IPv6 only."""
UNLISTED_IPV6: Final = IPv6Address("::ffff:7f00:1")

_NIBBLES: Final = 32


def reversed_labels(ip: IPv4Address | IPv6Address) -> str:
    """`7.2.0.192` for 192.0.2.7; the 32 nibbles of an IPv6 address, last first."""
    if isinstance(ip, IPv4Address):
        return ".".join(reversed(str(ip).split(".")))
    return ".".join(reversed(ip.exploded.replace(":", "")))


def zone_name(address: Address, domain: str) -> str:
    """Where the zone is asked about the address."""
    if ":" not in address:  # canonical already; a flood of new clients would notice ipaddress
        a, b, c, d = address.split(".")
        return f"{d}.{c}.{b}.{a}.{domain}"
    return f"{reversed_labels(IPv6Address(address))}.{domain}"


def address_of(name: str, domain: str) -> Address | None:
    """The address that this name asks the zone about; None where it is no such name."""
    front = name.lower().removesuffix(f".{domain}")
    labels = front.split(".")[::-1]
    if front == name.lower():
        return None
    try:
        if len(labels) == _NIBBLES and all(len(label) == 1 for label in labels):
            digits = "".join(labels)
            return Address(str(ip_address(":".join(digits[n : n + 4] for n in range(0, _NIBBLES, 4)))))
        return Address(str(IPv4Address(".".join(labels))))
    except ValueError:
        return None


def known_entries(zone: Zone) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """What must be listed, and what must not."""
    return (LISTED_IPV4, UNLISTED_IPV4) if zone.ipv4 else (LISTED_IPV6, UNLISTED_IPV6)

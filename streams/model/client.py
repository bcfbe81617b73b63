"""Who counters hang on: addresses, and the client (a network of addresses) each belongs to."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import Final, NewType

from streams.errors import InvalidValueError

Address = NewType("Address", str)
"""One IP address in canonical text; an IPv4-mapped IPv6 address is the IPv4 address it carries."""

Client = NewType("Client", str)
"""The key that counters hang on: `192.0.2.7` for a single address, `2001:db8::/64` for a network."""

Network = IPv4Network | IPv6Network

_MAX_TEXT: Final = 64


def _ip(text: str) -> IPv4Address | IPv6Address:
    """Read an address as an MTA writes it, with `IPv6:` prefix and zone index tolerated."""
    if len(text) > _MAX_TEXT:
        raise ValueError("too long")
    bare = text[5:] if text[:5].lower() == "ipv6:" else text
    found = ip_address(bare.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


@lru_cache(maxsize=65_536)
def parse_address(text: str) -> Address:
    """The canonical address, or `InvalidValueError`."""
    try:
        return Address(str(_ip(text)))
    except ValueError as error:
        raise InvalidValueError(f"{text[:_MAX_TEXT]!r} is not an IP address") from error


def parse_network(text: str) -> Network:
    """An address or a CIDR as a network; host bits must be zero. A range `a-b` is refused with its CIDRs."""
    if "-" in text:
        raise InvalidValueError(
            f"{text[:99]!r} is a range, not an address or CIDR", try_next=_range_advice(text)
        )
    address, slash, length = text.strip().partition("/")
    try:
        ip = _ip(address)
        if not slash:
            return ip_network(ip)
        if isinstance(ip, IPv4Address) and ":" in address:
            return ip_network(f"{ip}/{int(length) - 96}")
        return ip_network(f"{ip}/{length}")
    except ValueError as error:
        raise InvalidValueError(
            f"{text[:_MAX_TEXT]!r} is not an address or CIDR ({error})", try_next="192.0.2.7 or 192.0.2.0/24"
        ) from error


def shown(network: Network) -> str:
    """A network as people write it: a single address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _range_advice(text: str) -> str:
    """The CIDRs that cover `a-b`, to be typed behind a command; an example where a and b are no range."""
    first, _, last = text.partition("-")
    try:
        low, high = _ip(first.strip()), _ip(last.strip())
        return " ".join(str(network) for network in summarize_address_range(low, high))
    except (ValueError, TypeError):
        return "192.0.2.0/24"


@dataclass(frozen=True, slots=True)
class ClientPrefixes:
    """How many leading bits of an address make a client. One IPv4 address; a /64 in IPv6, since a
    single subscriber is given at least that much (RFC 6177)."""

    ipv4: int = 32
    ipv6: int = 64

    def __post_init__(self) -> None:
        if not (8 <= self.ipv4 <= 32 and 16 <= self.ipv6 <= 128):
            raise InvalidValueError(
                f"client prefixes {self.ipv4}/{self.ipv6} are out of range", try_next="8 to 32 and 16 to 128"
            )

    def client_of(self, address: Address) -> Client:
        """The client that this address belongs to."""
        return _client_of(address, self.ipv4, self.ipv6)


@lru_cache(maxsize=65_536)
def _client_of(address: Address, ipv4: int, ipv6: int) -> Client:
    is_ipv6 = ":" in address
    length, whole = (ipv6, 128) if is_ipv6 else (ipv4, 32)
    if length == whole:
        return Client(address)
    return Client(str(ip_network(f"{address}/{length}", strict=False)))

"""How a greylist attempt is named: shim and engine must call the same attempt the same."""

import re
from functools import lru_cache
from ipaddress import ip_network
from typing import Final

from streams.model.client import Address
from streams.model.decision import derived_id
from streams.model.modules import Greylist

_DIGITS: Final = re.compile(r"\d+")
_MIN_POOL_LABELS: Final = 2


def normal_sender(sender: str) -> str:
    """The sender as triplets know it: lower case, without a tag (`+x`) or a number that changes with each
    message (VERP, SRS, BATV), since a retry may bear another."""
    local, at, domain = sender.lower().rpartition("@")
    if not at:
        return sender.lower()
    local = local.partition("+")[0]
    return f"{_DIGITS.sub('#', local)}@{domain}"


@lru_cache(maxsize=65_536)
def greylist_network(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The network whose addresses may retry for each other."""
    length = ipv6_prefix if ":" in address else ipv4_prefix
    return str(ip_network(f"{address}/{length}", strict=False))


def pool_of(name: str, address: Address) -> str:
    """The domain that a verified name shares with its neighbours, or nothing.

    Names that hold the address's own numbers are those of an access network: there neighbours are strangers.
    """
    rest = name.lower().rstrip(".").partition(".")[2]
    labels = rest.split(".")
    if len(labels) < _MIN_POOL_LABELS or (len(labels) == 2 and len(labels[1]) == 2 and len(labels[0]) <= 3):
        return ""  # `co.uk` is nobody's own
    if "." in address:
        numbers = _DIGITS.findall(name)
        if sum(part in numbers for part in address.split(".")) >= 2:
            return ""
    return rest


def sender_part(sender: str) -> str:
    """First part of a triplet's name: who sends."""
    return derived_id("sender", normal_sender(sender))


def greylist_triplet(sender: str, recipient: str) -> str:
    """Name of (sender, recipient); with the client's greylist network, or its pool, it makes the triplet."""
    return f"{sender_part(sender)}:{derived_id('recipient', recipient.lower())}"


def network_of(address: Address, policy: Greylist) -> str:
    """The greylist network of an address under this policy."""
    return greylist_network(address, policy.ipv4_prefix, policy.ipv6_prefix)

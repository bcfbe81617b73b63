"""Violations of SMTP that only the policy service sees: pure functions of what the client said."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_MAX_NAME: Final = 255
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII).fullmatch


def is_helo_name(name: str) -> bool:
    """Whether it is a domain or an address literal (RFC 5321, 4.1.1.1, 4.1.2 and 4.1.3).

    A bare address is neither: literals stand in brackets, and no top-level domain is a number. As Postfix
    does, an underscore is let pass: many a Windows server has one in its name; and one dot at the end.
    """
    if name.startswith("[") and name.endswith("]"):
        return _is_literal(name[1:-1])
    labels = name.removesuffix(".").split(".")
    return len(name) <= _MAX_NAME and all(map(_LABEL, labels)) and not labels[-1].isdigit()


def _is_literal(text: str) -> bool:
    try:
        if text[:5].lower() == "ipv6:":
            IPv6Address(text[5:])
        else:
            IPv4Address(text)
    except ValueError:
        return False
    return "%" not in text


def is_forged(sender: str, login: str) -> bool:
    """Whether the sender's domain is another than the SASL login's.

    Only where both have a domain: a login without one (`jane`) belongs to no domain, the null sender and a
    bare name have none to be forged. Subdomains are other domains.
    """
    own, said = _domain(login), _domain(sender)
    return bool(own and said) and own != said


def _domain(address: str) -> str:
    """The domain in lower case, its international form as the DNS has it; empty where there is none."""
    domain = address.rpartition("@")[2].rstrip(".").lower() if "@" in address else ""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain

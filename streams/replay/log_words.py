"""What texts of events say for or against a client: only what the MTA or a DNSBL wrote in them is read."""

import re
from typing import Final

_NO_LOGIN: Final = re.compile(r"\bauth=0/(\d{1,4})\b", re.ASCII)
_BLOCKED: Final = re.compile(
    r"(?:\d{3}[ -])?(?:\d\.\d{1,3}\.\d{1,3} )?Service unavailable; (?:Client host|client) "
    r"\[(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40})\] "
    r"blocked using ([A-Za-z0-9._-]{1,253})(?:; (.*)|$)",
    re.ASCII | re.DOTALL,
)
_MAX_ZONE: Final = 64


def failed_logins(commands: str) -> int:
    """`ehlo=1 auth=0/2 commands=1/3` → 2; 0 where a login succeeded, or none was tried."""
    found = _NO_LOGIN.search(commands)
    return int(found[1]) if found else 0


def answered_zones(detail: str) -> list[str]:
    """`zen.example 127.0.0.2,127.0.0.4; bl.example 127.0.0.2` → zones that list, errors left out."""
    found = []
    for part in detail.split("; "):
        zone, _, codes = part.partition(" ")
        if any(it.startswith("127.") and not it.startswith("127.255.255.") for it in codes.split(",")):
            found.append(zone[:_MAX_ZONE])
    return found


def refusing_zone(detail: str) -> str:
    """The zone of `554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.example; https://…`.

    In the words of smtpd (`reject_rbl_client`) and postscreen. Empty for any others, for lists of names, and
    where the zone's text tells of an error, which Postfix takes for a listing: `; Error: open resolver; …`.
    """
    found = _BLOCKED.match(detail) if " blocked using " in detail else None
    if found is None or (found[2] or "").startswith("Error: "):
        return ""
    return found[1][:_MAX_ZONE].rstrip(".").lower()

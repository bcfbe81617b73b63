"""Sender and recipient as they are stored: whole, as a domain, or with a keyed hash for the local part.

| mode | `anna@example.org` becomes | what is lost |
|---|---|---|
| `whole` | `anna@example.org` | nothing |
| `hash` | `3f0c9a41be55d207@example.org` | who it was, unless one has the key and a guess |
| `domain` | `@example.org` | who it was, and whether two were the same |

An empty sender stays empty. Where the text of an event names its sender or recipient, it is replaced there
too. Nothing else is: message ids, login names, HELO names, dead letters, and Kafka, which keeps the whole
event.
"""

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from streams.config import StoringSettings
from streams.model.event import Event

_FIELDS: Final = Event.__struct_fields__
_SENDER, _RECIPIENT, _DETAIL = map(_FIELDS.index, ("sender", "recipient", "detail"))
_DIGITS: Final = 16


class Veil:
    """Says how an address is stored; with the same settings always the same."""

    def __init__(self, settings: StoringSettings) -> None:
        key = settings.key.encode()

        def whole(address: str) -> str:
            return address

        def domain(address: str) -> str:
            return "@" + address.rpartition("@")[2].lower() if "@" in address else "@"

        def hashed(address: str) -> str:
            local, _, of_domain = address.rpartition("@")
            name = f"{local}@{of_domain.lower()}".encode("utf-8", "surrogatepass")
            digest = hmac.digest(key, name, "sha256").hex()[:_DIGITS]
            return f"{digest}@{of_domain.lower()}" if local else digest

        known: dict[str, Callable[[str], str]] = {"whole": whole, "domain": domain, "hash": hashed}
        self.sees_all: Final = settings.addresses == "whole"
        self._veiled: Final = lru_cache(maxsize=65_536)(known[settings.addresses])

    def veiled(self, address: str) -> str:
        """The address as it is stored."""
        return self._veiled(address) if address else ""

    def event(self, fields: tuple[Any, ...]) -> tuple[Any, ...]:
        """An event's fields, in their order, with the addresses in them as they are stored."""
        sender, recipient, detail = fields[_SENDER], fields[_RECIPIENT], fields[_DETAIL]
        if not (sender or recipient):
            return fields
        found = list(fields)
        found[_SENDER] = self.veiled(sender)
        found[_RECIPIENT] = self.veiled(recipient)
        found[_DETAIL] = self._detail(detail, sender, recipient)
        return tuple(found)

    def _detail(self, detail: str, sender: str, recipient: str) -> str:
        # the longer one first: it may hold the other
        for address in sorted((sender, recipient), key=len, reverse=True):
            if address and address in detail:
                detail = detail.replace(address, self.veiled(address))
        return detail

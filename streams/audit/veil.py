"""Sender and recipient as they are stored: whole, as a domain, or with a keyed hash for the local part.

| mode | `anna@example.org` becomes | what is lost |
|---|---|---|
| `whole` | `anna@example.org` | nothing |
| `hash` | `3f0c9a41be55d207@example.org` | who it was, unless one has the key and a guess |
| `domain` | `@example.org` | who it was, and whether two were the same |

An empty sender stays empty. In the text of an event whatever reads as an address is replaced: sender and
recipient in any case of their letters, what stands in `<…>` with an `@`, what was said behind `MAIL FROM:` or
`RCPT TO:`, and a bare `local@domain`. Nothing else is: message ids, login and HELO names in their own fields,
the notes of decisions, dead letters, and Kafka, which keeps the whole event.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from streams.audit.stored import NO_CLIENTS_DOING
from streams.config import StoringSettings
from streams.model.event import MAX_TEXT, Event

_FIELDS: Final = Event.__struct_fields__
_KIND, _SENDER, _RECIPIENT, _DETAIL = map(_FIELDS.index, ("kind", "sender", "recipient", "detail"))
_DIGITS: Final = 16

_ATOM: Final = r'[^\s<>()\[\],;:"]'
_DOMAIN: Final = r"(?:\[[^\]\s<>]*\]?|[\w.-]*)"
_BARE: Final = rf'(?:"[^"<>]*"|{_ATOM}+)@{_DOMAIN}'
_PLAIN: Final = re.compile(_BARE)
_ADDRESS: Final = re.compile(
    rf"""(?P<before> \A message-id= | (?:MAIL\ FROM|RCPT\ TO): \s* )? < (?P<inside> [^<>]*) (?P<end> > | \Z )
    | (?P<command> (?:MAIL\ FROM|RCPT\ TO): \s* ) (?P<said> [^\s<>]+ )
    | (?<! {_ATOM} ) (?P<label> (?:(?:sasl_username|orig_to|from|to|user)=)? '? ) (?P<bare> {_BARE} )""",
    re.VERBOSE | re.IGNORECASE,
)
"""Where one may stand: `MAIL FROM:<a@example.org>`, `<a@example.org`, `RCPT TO:a`, `to=a@example.org`."""
_CLEAN: Final = re.compile(_DOMAIN)
_CUT: Final = MAX_TEXT - 2
"""From here on a text may have lost its end, and its refusal is not taken for ours (`sql/0012_ours.sql`)."""


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
        if self.sees_all or fields[_KIND] in NO_CLIENTS_DOING or not (sender or recipient or detail):
            return fields
        found = list(fields)
        found[_SENDER] = self.veiled(sender)
        found[_RECIPIENT] = self.veiled(recipient)
        veiled = self._detail(detail, [address for address in (sender, recipient) if address])
        found[_DETAIL] = veiled if len(detail) < _CUT else veiled.ljust(_CUT, "…")
        return tuple(found)

    def _detail(self, detail: str, addresses: list[str]) -> str:
        known = {address.casefold(): self.veiled(address) for address in addresses}
        # what does not look like an address is known by being one of these; the longer may hold the other
        odd = sorted((one for one in addresses if not _PLAIN.fullmatch(one)), key=len, reverse=True)
        if not odd:
            return self._text(detail, known)
        either = "|".join(map(re.escape, odd))
        parts = re.split(rf"(?<![\w@])({either})(?![\w@])", detail, flags=re.IGNORECASE)
        return "".join(
            self._one(part, known) if place % 2 else self._text(part, known)
            for place, part in enumerate(parts)
        )

    def _text(self, text: str, known: Mapping[str, str]) -> str:
        """A text with every address in it as it is stored."""
        if not any(mark in text for mark in "@<:"):  # most have none, and the search below takes its time
            return text

        def replaced(found: re.Match[str]) -> str:
            if found["bare"] is not None:
                return found["label"] + self._one(found["bare"], known)
            if found["said"] is not None:
                return found["command"] + self._one(found["said"], known)
            before, inside, end = found["before"] or "", found["inside"], found["end"]
            if not end and (blank := re.search(r"\s", inside)):  # never closed: it ends with its first word
                inside, end = inside[: blank.start()], self._text(inside[blank.start() :], known)
            return f"{before}<{self._inside(before, inside, known, cut=not end)}{end}"

        return _ADDRESS.sub(replaced, text)

    def _inside(self, before: str, inside: str, known: Mapping[str, str], *, cut: bool) -> str:
        """What stands in `<…>`: an address, a host, a message's id; `cut`: the beginning of one."""
        if before.lower().startswith("message-id"):
            return known.get(inside.casefold(), inside)
        is_address = before or cut or "@" in inside or inside.casefold() in known
        return self._one(inside, known) if inside and is_address else inside

    def _one(self, address: str, known: Mapping[str, str]) -> str:
        """One address; what follows its domain, as `SIZE=100` does, is left out."""
        if (same := known.get(address.casefold())) is not None:
            return same
        local, at, domain = address.rpartition("@")
        clean = _CLEAN.match(domain)
        return self.veiled(f"{local}@{clean[0]}" if at and clean else address)

"""Sender and recipient as they are stored: whole, as a domain, or with a keyed hash for the local part.

| mode | `anna@example.org` becomes | what is lost |
|---|---|---|
| `whole` | `anna@example.org` | nothing |
| `hash` | `3f0c9a41be55d207@example.org` | who it was, unless one has the key and a guess |
| `domain` | `@example.org` | who it was, and whether two were the same |

An empty sender stays empty. In the text of an event whatever reads as an address is replaced: sender and
recipient in any case of their letters, what stands in `<…>` with an `@`, what was said behind `MAIL FROM:` or
`RCPT TO:`, and a bare `local@domain`. Nothing else is: message ids, login and HELO names in their own fields,
administrators' notes, dead letters, and Kafka, which keeps the whole event.

Whose refusal it is can be told as before (`streams/wire/postfix/ours.py`), whatever the client wrote.
"""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import replace

from streams.audit.stored import NO_CLIENTS_DOING
from streams.config import StoringSettings
from streams.model.event import Event
from streams.wire.postfix.ours import MAX_OURS, OPENING, SPOKEN, cannot_be_told, is_ours

_FIELDS: Final = Event.__struct_fields__
_KIND, _SENDER, _RECIPIENT = map(_FIELDS.index, ("kind", "sender", "recipient"))
_CODE, _DETAIL, _HELO = map(_FIELDS.index, ("code", "detail", "helo"))
_DIGITS: Final = 16
_SHORT: Final = MAX_OURS // 4
"""So few characters have fewer bytes than `MAX_OURS`, whichever they are."""
_MAX_DOMAIN_BYTES: Final = 255
"""No domain is longer (RFC 1035), and no address as it is stored is as long as `MAX_OURS`."""

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
_BRACKETS: Final = re.compile("[<>]")
_TEXTS: Final = tuple(text for texts in SPOKEN.values() for text in texts)
_GLUED: Final = re.compile(r"[\w@]")
"""Beside a word that is an address only as a whole: part of another."""


class Veil:
    """Says how an address is stored; with the same settings always the same."""

    def __init__(self, settings: StoringSettings) -> None:
        key = settings.key.encode()

        def whole(address: str) -> str:
            return address

        def domain(address: str) -> str:
            return "@" + _shown(address.rpartition("@")[2]) if "@" in address else "@"

        def hashed(address: str) -> str:
            local, _, of_domain = address.rpartition("@")
            name = f"{local}@{of_domain.lower()}".encode("utf-8", "surrogatepass")
            digest = hmac.digest(key, name, "sha256").hex()[:_DIGITS]
            return f"{digest}@{_shown(of_domain)}" if local else digest

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
        addresses = [address for address in (sender, recipient) if address]
        if fields[_CODE] < 400:
            found[_DETAIL] = self._detail(detail, addresses)
        elif OPENING not in detail and max(map(len, (detail, *addresses, fields[_HELO]))) <= _SHORT:
            found[_DETAIL] = _cut(self._detail(detail, addresses), MAX_OURS - 1)
        else:
            found[_DETAIL] = self._refusal(_event(fields), addresses)
        return tuple(found)

    def _refusal(self, event: Event, addresses: list[str]) -> str:
        """The text of a refusal of which it has to be asked whose it is: as it is stored, it is the same."""
        if is_ours(event):
            return self._answer(event.detail, addresses)
        detail = self._detail(event.detail, addresses)
        if not cannot_be_told(event):
            return _cut(detail, MAX_OURS - 1)
        stored = replace(
            event, sender=self.veiled(event.sender), recipient=self.veiled(event.recipient), detail=detail
        )
        # where what made it doubtful is hidden, it has the length of one that was cut
        return detail if cannot_be_told(stored) else detail.ljust(MAX_OURS, "…")

    def _answer(self, detail: str, addresses: list[str]) -> str:
        """Our own answer: Goaway's words stay, the client's and an address in a note do not."""
        before, _, reason = detail.partition(OPENING)
        head, opened, rest = before.partition("<")
        words, closed, behind = rest.rpartition(">: ")
        said = next((it for it in _TEXTS if detail.startswith(it, len(before))), OPENING)
        note = reason[len(said) - len(OPENING) :]
        # a word of the note may be a local part as well; what has an @ is nothing but an address
        hidden = self._detail(note, [address for address in addresses if "@" in address])
        # each of the two has at least the room that it had
        room = MAX_OURS - 1 - _bytes(head + opened + closed + behind + said)
        words = _cut(self._words(words, addresses), room - min(_bytes(note), _bytes(hidden)))
        return f"{head}{opened}{words}{closed}{behind}{said}{_cut(hidden, room - _bytes(words))}"

    def _words(self, words: str, addresses: list[str]) -> str:
        """What the MTA put in `<…>`: all that the client wrote in one place."""
        known = self._known(addresses)
        if words.casefold() in known or ("@" in words and not _BRACKETS.search(words)):
            return self._one(words, known)
        return self._detail(words, addresses)

    def _known(self, addresses: list[str]) -> dict[str, str]:
        return {address.casefold(): self.veiled(address) for address in addresses}

    def _detail(self, detail: str, addresses: list[str]) -> str:
        # what does not look like an address is known by being one of these
        odd = [_folded(one) for one in addresses if not _PLAIN.fullmatch(one)]
        # the longer may hold the other
        wanted = sorted((one for one in addresses if any(it in _folded(one) for it in odd)), key=len)
        return self._apart(detail, wanted, self._known(addresses))

    def _apart(self, text: str, wanted: list[str], known: Mapping[str, str]) -> str:
        """A text with these, the last first, and then every other address in it as it is stored."""
        if not wanted:
            return self._text(text, known)
        *others, address = wanted
        parts = _parts(text, address)
        return known[address.casefold()].join([self._apart(part, others, known) for part in parts])

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


def _event(fields: Sequence[Any]) -> Event:
    return Event(**dict(zip(_FIELDS, fields, strict=True)))


def _shown(domain: str) -> str:
    """What is stored of what stands behind the `@`: a domain, and nothing that reads as a log's words."""
    clean = _CLEAN.match(domain)
    return _cut(clean[0].lower(), _MAX_DOMAIN_BYTES) if clean else ""


def _folded(text: str) -> str:
    """A text without capitals, each letter in its place: `İ` would become two, `Σ` one or another."""
    return text.replace("İ", "i").replace("Σ", "σ").lower()


def _parts(text: str, address: str) -> list[str]:
    """What is around the places where the address stands by itself, in any case of its letters.

    Found without a pattern: to compile one costs ten times as much as all the rest.
    """
    folded, wanted = _folded(text), _folded(address)
    parts, start, at = [], 0, folded.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        if not (_GLUED.match(text[at - 1 : at]) or _GLUED.match(text[end : end + 1])):
            parts.append(text[start:at])
            start = end
        at = folded.find(wanted, max(start, at + 1))
    return [*parts, text[start:]]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _cut(text: str, most_bytes: int) -> str:
    if 4 * len(text) <= most_bytes or _bytes(text) <= most_bytes:
        return text
    return text.encode("utf-8", "surrogatepass")[:most_bytes].decode("utf-8", "ignore")

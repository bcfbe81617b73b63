"""What leaves the house is looked through first: secrets and names of people are taken out of a text.

Secrets are known in two ways: by value, from where this machine keeps them (settings, environment, files of
the data folder), in every spelling that a log or JSON gives them; and by their looks (a URL's credentials,
`password=…`, a DNSBL customer's key), for those that are kept elsewhere.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final
from urllib.parse import quote, quote_plus

from streams.cli.client_text import credentials, quoted, replaced
from streams.cli.known_secrets import SHORT
from streams.cli.people import People

REMOVED: Final = "[removed]"

_TELLING: Final = re.compile(r"(?=.*\d)[^\s\[\]]{8,4096}|[^\s\[\]]{20,4096}")
"""What a secret looks like that is no word of a language, as `wrong` in `password: wrong` is."""

_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_URL: Final = re.compile(
    r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,30}):(?:\\?/){2}"
    r"((?:[^\s/\"\\@]{0,256}@)*(?:[^\s\"'<>`|]|['|](?=[\w/?=&%#.~-]))+)"
)
_AUTHORITY: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[\w.-]*)(?::\d{0,5})?[.,;:)\]}]*")
_PLAIN_SCHEMES: Final = frozenset({"http", "https"})
_HEADERS: Final = re.compile(
    r"(authorization[\"']?\s*[=:]\s*[\"']?(?:\w+\s+)?|\bbearer\s+|\bresp=)[^\s\"',;]+", re.IGNORECASE
)
_SENTENCES: Final = re.compile(r"(\bgiven password: |' pass `)[^\n]*?(?='?$|\)(?:[\s,]|$))", re.MULTILINE)
"""What Dovecot and smtp say of a password where they were told to."""
_WORD_FOR_IT: Final = (
    r"(?:password|passwd|passphrase|\bpass(?![a-z])|pwd(?![a-z])|secret|token|api[_-]?key|private[_-]?key"
    r"|credential)"
)
_NAMED: Final = re.compile(
    rf"({_WORD_FOR_IT}[\w.-]{{0,64}}(?<!_lookup)\\?[\"']?\]?\s{{0,8}}[=:]\s{{0,8}})"
    r"(\\\"(?:(?!\\\")[^\n])*\\\"|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|(?![{\[\"'\\])[^\s,;&}\])\"'\\]+)",
    re.IGNORECASE,
)
_SECRET_KEY: Final = re.compile(_WORD_FOR_IT, re.IGNORECASE)
_OF_PROVIDER: Final = re.compile(
    r"(?<![a-z0-9_-])([a-z0-9_-]+)(?=\.(?:[a-z0-9-]+\.)?(?:dq\.spamhaus\.net|mail\.abusix\.zone)\b)",
    re.IGNORECASE,
)
_KEY_LABEL: Final = re.compile(
    r"(?<![\w-])(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{16,63}(?=\.[a-z0-9-]+\.[a-z])", re.IGNORECASE
)
"""A label as a customer's key looks, in front of a name: letters and digits, of at least 16."""
_PUBLIC_LABELS: Final = frozenset(
    {
        "zen",
        "sbl",
        "xbl",
        "pbl",
        "dbl",
        "zrd",
        "hbl",
        "authbl",
        "combined",
        "black",
        "exploit",
        "dynamic",
        "white",
    }
)


class Redaction:
    """Takes out what it knows; counts what it took out by kind. `whole` leaves the names of people in."""

    def __init__(self, secrets: Iterable[str], *, whole: bool) -> None:
        self._whole = whole
        self._secrets = {secret for secret in secrets if secret}
        self._literal = _any_of(self._secrets)
        self.removed: Counter[str] = Counter()
        self._people = People(self.removed, REMOVED)

    def learn(self, text: str) -> None:
        """Take note of what a text shows to be a secret: it is one wherever else it stands."""
        shown = {
            found.group()
            for pattern in (_OF_PROVIDER, _KEY_LABEL)
            for found in pattern.finditer(text)
            if found.group().lower() not in _PUBLIC_LABELS
        }
        values = [found.group(2) for found in _NAMED.finditer(text)]
        for pattern in (_HEADERS, _SENTENCES):
            values += [found.group()[len(found.group(1)) :] for found in pattern.finditer(text)]
        for one in (*quoted(text, REMOVED, whole=self._whole), *credentials(text, REMOVED)):
            values += one.shows
        shown |= {value for it in values if _TELLING.fullmatch(value := it.strip("\\\"' "))}
        if not shown <= self._secrets:
            self._secrets |= shown
            self._literal = _any_of(self._secrets)

    def clean(self, text: str) -> str:
        """The text without secrets, and without local parts of addresses and login names."""
        text = self._replace(_PEM, "private key", text)
        text = replaced(text, quoted(text, REMOVED, whole=self._whole), self.removed)
        text = replaced(text, credentials(text, REMOVED), self.removed)
        text = _URL.sub(self._url, text)
        if self._literal is not None:
            text = self._replace(self._literal, "secret", text)
        text = self._replace(_HEADERS, "secret", text, keep=1)
        text = self._replace(_SENTENCES, "secret", text, keep=1)
        text = self._replace(_NAMED, "secret", text, keep=1)
        text = _OF_PROVIDER.sub(self._provider_key, text)
        text = self._replace(_KEY_LABEL, "customer key", text)
        return text if self._whole else self._people.without(text)

    def clean_values(self, value: object, key: str = "") -> Any:
        """The same for what is to become JSON: every text in it, what stands under a secret's name, and under
        that of a person."""
        if isinstance(value, dict):
            return {
                self.clean(str(name)): self._hidden(below)
                if _SECRET_KEY.search(str(name))
                else self.clean_values(below, str(name))
                for name, below in value.items()
            }
        if isinstance(value, list):
            return [self.clean_values(below, key) for below in value]
        if isinstance(value, str):
            return self.clean(value) if self._whole else self._people.under(key, self.clean(value))
        return value

    def _hidden(self, value: object) -> Any:
        """Without any text that is in it."""
        if isinstance(value, dict):
            return {self.clean(str(name)): self._hidden(below) for name, below in value.items()}
        if isinstance(value, list):
            return [self._hidden(below) for below in value]
        if isinstance(value, str) and value:
            self.removed["secret"] += value != REMOVED
            return REMOVED
        return value

    def leaks(self, content: str) -> bool:
        """Whether a secret that is known by value stands in it after all."""
        return self._literal is not None and self._literal.search(content) is not None

    def _replace(self, pattern: re.Pattern[str], kind: str, text: str, *, keep: int = 0) -> str:
        def without(found: re.Match[str]) -> str:
            kept = found.group(1) if keep else ""
            if found.group()[len(kept) :].strip("\\\"'") == REMOVED:
                return found.group()
            self.removed[kind] += 1
            ends = re.search(r"\\?[\"']$", found.group()) if keep else None
            mark = ends.group() if ends else ""
            return f"{kept}{mark}{REMOVED}{mark}"

        return pattern.sub(without, text)

    def _url(self, found: re.Match[str]) -> str:
        scheme, rest = found.group(1), found.group(2)
        if scheme.lower() not in _PLAIN_SCHEMES:
            self.removed["URL"] += 1
            return f"{scheme}://{REMOVED}"
        rest = rest.replace("\\/", "/")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        host = authority.rpartition("@")[2]
        if not _AUTHORITY.fullmatch(host) or ("@" in rest[len(authority) :] and ":" in host):
            host = REMOVED  # part of a password that has a `/`
        if rest in (host, f"{host}/{REMOVED}"):
            return found.group()
        self.removed["URL"] += 1
        return f"{scheme}://{host}/{REMOVED}"

    def _provider_key(self, found: re.Match[str]) -> str:
        if found.group().lower() in _PUBLIC_LABELS:
            return found.group()
        self.removed["customer key"] += 1
        return REMOVED


def _any_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Matches any of them in any spelling, the longest first."""
    spellings = {spelling for secret in secrets for spelling in _spellings(secret) if spelling}
    if not spellings:
        return None
    longest_first = sorted(spellings, key=lambda it: (-len(it), it))
    return re.compile(
        "|".join(
            re.escape(one) if len(one) >= SHORT else rf"(?<!\w){re.escape(one)}(?!\w)"
            for one in longest_first
        )
    )


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for quoting in (quote, quote_plus):
        yield quoting(secret, safe="", errors="surrogateescape")
        yield quoting(secret, safe="/", errors="surrogateescape")
    yield escape(secret)
    raw = secret.encode("utf-8", "surrogateescape")
    if len(raw) >= 4:
        yield raw.hex()
        for before, lost in ((0, 0), (1, 2), (2, 3)):
            # wherever in a longer text it was encoded, such as that of USER:SECRET
            encoded = base64.b64encode(bytes(before) + raw).decode()
            yield encoded[lost : (before + len(raw)) * 8 // 6]

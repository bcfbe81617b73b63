"""What leaves the house is looked through first: secrets and names of people are taken out of a text.

Secrets are known in two ways: by value, from where this machine keeps them (settings, environment, files of
the data folder), in every spelling that a log or JSON gives them; and by their looks (a URL's credentials,
`password=…`, a DNSBL customer's key), for those that are kept elsewhere.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from streams.cli.client_text import ANSWER, credentials, quoted, replaced
from streams.cli.known_secrets import any_of
from streams.cli.people import People

REMOVED: Final = "[removed]"
MOST_LEARNT: Final = 200
"""How much of what a text shows to be a secret is looked for in all, of each of the two kinds."""
_MAX_LINE: Final = 8192
"""Characters. No mail log has longer lines, and what looks for names takes its time."""
_REST: Final = f" {REMOVED}, the rest of a line of more than {_MAX_LINE:,} characters"
_LONG_LINE: Final = re.compile(rf"^[^\n]{{{_MAX_LINE + 1},}}", re.MULTILINE)
_FROM_CLIENT: Final = re.compile(r"(?<=\bhelo=)<\S*|(?<= )<[^<>\n]{0,640}>(?=: )")
"""What a client calls itself may read `password=…`, too: what is named there is nobody's secret."""

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
        self._shown: dict[str, None] = {}
        self._answers: dict[str, None] = {}
        self._literal: re.Pattern[str] | None = None
        self._sought: frozenset[str] = frozenset()
        self._compiled = False
        self.removed: Counter[str] = Counter()
        self._people = People(self.removed, REMOVED)

    def learn(self, text: str) -> None:
        """Take note of what a text shows to be a secret: it is one wherever else it stands. Of what a client
        sent that is only what answers a challenge, and of all of it the newest `MOST_LEARNT`."""
        places = list(quoted(text, REMOVED, whole=False))
        _note(self._answers, (value for one in places for value in one.shows if _TELLING.fullmatch(value)))
        text = replaced(text, places, Counter())
        places = list(credentials(text, REMOVED))
        _note(self._answers, (value for one in places for value in one.shows if _TELLING.fullmatch(value)))
        text = _FROM_CLIENT.sub("<>", replaced(text, places, Counter()))
        shown = [
            (found.start(), found.group())
            for pattern in (_OF_PROVIDER, _KEY_LABEL)
            for found in pattern.finditer(text)
            if found.group().lower() not in _PUBLIC_LABELS
        ]
        for pattern in (_HEADERS, _SENTENCES, _NAMED):
            for found in pattern.finditer(text):
                value = found.group()[len(found.group(1)) :].strip("\\\"' ")
                if _TELLING.fullmatch(value):
                    shown.append((found.start(), value))
        _note(self._shown, (value for _, value in sorted(shown)))
        self._compiled = False

    @property
    def passed_over(self) -> int:
        """How many texts that looked like a secret in one place were not looked for in others."""
        return sum(max(len(learnt) - MOST_LEARNT, 0) for learnt in (self._shown, self._answers))

    def clean(self, text: str) -> str:
        """The text without secrets, and without local parts of addresses and login names."""
        text = self._replace(_PEM, "private key", text)
        text = _LONG_LINE.sub(self._cut, text)
        text = replaced(text, quoted(text, REMOVED, whole=self._whole), self.removed)
        text = replaced(text, credentials(text, REMOVED), self.removed)
        text = _URL.sub(self._url, text)
        text = self._by_value(text)
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
        self._compile()
        if self._literal is not None and self._literal.search(content):
            return True
        return bool(self._sought) and any(it.group() in self._sought for it in ANSWER.finditer(content))

    def _compile(self) -> None:
        if not self._compiled:
            self._literal = any_of(self._secrets.union(_newest(self._shown)))
            self._sought = frozenset(_newest(self._answers))
            self._compiled = True

    def _by_value(self, text: str) -> str:
        """Without the secrets that are known by value."""
        self._compile()
        if self._literal is not None:
            text = self._replace(self._literal, "secret", text)
        return ANSWER.sub(self._answer, text) if self._sought else text

    def _answer(self, found: re.Match[str]) -> str:
        if found.group() not in self._sought:
            return found.group()
        self.removed["secret"] += 1
        return REMOVED

    def _cut(self, found: re.Match[str]) -> str:
        """The beginning of a line that is too long, up to a space: no part of a secret stays."""
        self.removed["rest of a long line"] += 1
        kept = self._by_value(found.group())[: _MAX_LINE - len(_REST)]
        return kept[: max(kept.rfind(" "), 0)] + _REST

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


def _note(learnt: dict[str, None], values: Iterable[str]) -> None:
    """The newest stand last."""
    for value in values:
        learnt.pop(value, None)
        learnt[value] = None


def _newest(learnt: dict[str, None]) -> list[str]:
    return list(learnt)[-MOST_LEARNT:]

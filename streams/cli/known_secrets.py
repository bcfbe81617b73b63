"""The secrets that this machine is known to keep, by value: what a bundle must not contain."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from streams.config import SETTINGS

_NAMED_LIKE_A_SECRET: Final = re.compile(
    r"pass(?:w(?:or)?d|phrase|_?code)?s?(?:$|_|\d)|_pwd\d*$|secret|token|cred(?:s|ential)|cookie|auth|dsn$"
    r"|webhook|(?:^|_)ur[il]s?$|(?:^|_)(?:api|access|private|signing|encryption)?_?key(?:s|_id|\d+)?(?:$|_)",
    re.IGNORECASE,
)
_NO_SECRETS: Final = frozenset({"", "0", "1", "on", "off", "true", "false", "yes", "no", "none"})
SHORT: Final = 6
"""A secret of fewer characters is only taken out where it stands as a word of its own."""

_MAX_SECRET_FILE: Final = 65_536
_MAX_NESTED: Final = 60
"""How deep an expression's groups stand in each other: the compiler of `re` is recursive."""


def secrets_of(environ: Mapping[str, str], data: Path) -> Iterator[str]:
    """Every secret that this machine is known to keep: of the settings, the environment, the data folder."""
    secret = [setting.name for setting in SETTINGS if setting.secret]
    for name in secret:
        values = [environ.get(name, "")]
        if path := environ.get(f"{name}_FILE"):
            values.append(_content(Path(path)))
        for value in values:
            yield value
            yield value.strip()
            yield from _parts(value)
    for name, value in environ.items():
        if name.endswith("_FILE") or name in secret or not _NAMED_LIKE_A_SECRET.search(name):
            continue
        if value.lower() not in _NO_SECRETS and len(value) > 3:
            yield value
            yield from _parts(value)
    for pattern in ("*password*", "*secret*", "*/*password*", "*/*secret*"):
        for file in data.glob(pattern):
            if file.is_file():
                yield _content(file).strip()


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_SECRET_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _parts(value: str) -> Iterator[str]:
    """What of a secret is one by itself: its lines, its words where they are URLs, a URL's credentials."""
    for line in value.splitlines():
        if len(line.strip()) >= SHORT:
            yield line.strip()
    for word in value.split():
        if "://" not in word:
            continue
        yield word
        try:
            url = urlsplit(word)
            host, password = url.netloc.rpartition("@")[2], url.password or ""
        except ValueError:
            continue
        if password:
            yield password
            yield unquote(password)
        tokens = re.split(r"[/?&=#:;,]", "/".join((url.path, url.query, url.fragment, url.username or "")))
        tokens += [] if "." in host or host.startswith("localhost") else re.split(r"[:/]", host)
        for token in tokens:
            if len(token) >= 20 or (len(token) >= SHORT and re.search(r"\d|[a-z][A-Z]|[^\w.@-]", token)):
                yield token
                yield unquote(token)


def any_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Matches any of them in any spelling, the longest first."""
    spellings = {spelling for secret in secrets for spelling in _spellings(secret) if spelling}
    longest_first = sorted(spellings, key=lambda it: (-len(it), it))
    anywhere = [it for it in longest_first if len(it) >= SHORT]
    words = [it for it in longest_first if len(it) < SHORT]
    branches = [_branches(anywhere, _MAX_NESTED)] if anywhere else []
    branches += [rf"(?<!\w){re.escape(it)}(?!\w)" for it in words]
    return re.compile("|".join(branches)) if branches else None


def _branches(words: list[str], deep: int) -> str:
    """An expression for any of the words, where each beginning stands once: what a place of the text costs
    does not grow with their number."""
    low, high = min(words), max(words)
    shared = low[: next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]
    by_first: dict[str, list[str]] = {}
    for word in words:
        rest = word[len(shared) :]
        by_first.setdefault(rest[:1] if deep else "", []).append(rest)
    if len(by_first) == 1:
        return re.escape(shared) + "(?:" + "|".join(map(re.escape, by_first.popitem()[1])) + ")"
    ends = by_first.pop("", None)
    below = [_branches(group, deep - 1) for group in by_first.values()]
    return f"{re.escape(shared)}(?:{'|'.join(below)}{'|' if ends else ''})"


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

"""The secrets that this machine is known to keep, by value: what a bundle must not contain."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

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

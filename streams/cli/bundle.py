"""`goaway bundle`: what somebody who helps needs to see, in one file, without secrets. Nothing is sent."""

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from streams.cli.bundle_content import Piece, pieces
from streams.cli.known_secrets import secrets_of
from streams.cli.options import data_option, policy_option
from streams.cli.redaction import MOST_LEARNT, REMOVED, Redaction
from streams.errors import UnavailableError, UsageError

FOLDER: Final = "goaway-bundle"
"""The one folder in the archive."""
MAX_BYTES: Final = 20_000_000
"""Of all content before it is compressed."""

_REMAINS: Final = """\
What is not removed: addresses and host names of clients and of your servers, HELO names, the domains of mail
addresses, notes in the policy, paths. Look through it before you pass it on:

    tar xzf {name} && find {folder} -type f -exec less {{}} +
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive, clean."""

    name: str
    what: str
    content: bytes
    note: str


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_option
@policy_option
@click.option("--with-log", is_flag=True, help="Put the end of the followed mail log in, too.")
@click.option(
    "--whole", is_flag=True, help="Leave names in: local parts of mail addresses, logins, subjects."
)
@click.option(
    "--log-kb",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    metavar="N",
    help="How much of the end of each log, in KB.",
)
def bundle(
    file: Path, data: Path, policy_file: Path | None, with_log: bool, whole: bool, log_kb: int
) -> None:
    """Gather in FILE (.tar.gz) what somebody who helps needs to see, with secrets removed.

    Logs of the stages, statistics, the policy and its history, health, status, offsets, versions, settings.
    Works with Kafka and ClickHouse away, and says what could not be asked. Nothing is sent anywhere.
    """
    if file.exists():
        raise UsageError(
            f"{file} is there already", try_next=f"goaway bundle {file.stem.partition('.')[0]}-2.tar.gz"
        )
    found = list(pieces(data, policy_file, log_bytes=log_kb * 1024, with_log=with_log))
    redaction = Redaction(secrets_of(os.environ, data), whole=whole)
    members = list(_within(MAX_BYTES, _cleaned(found, redaction)))
    manifest = _manifest(members, redaction, redaction.clean(file.name), whole=whole)
    there = [one for one in members if one.content or not one.note]
    _write(file, [Member("MANIFEST.txt", "", manifest.encode("utf-8", "replace"), ""), *there])
    click.echo(manifest)
    click.echo(f"{file}: {file.stat().st_size:,} bytes, readable by you alone. Nothing was sent anywhere.")


def _cleaned(found: Iterable[Piece], redaction: Redaction) -> Iterator[Member]:
    """The pieces without secrets. What one of them names as a key is a secret in all."""
    texts = [
        (one, one.content if isinstance(one.content, str) else json.dumps(one.content, default=str))
        for one in found
    ]
    for _, text in texts:
        redaction.learn(text)
    for one, text in texts:
        if one.note and not one.content:
            clean = ""
        elif isinstance(one.content, str):
            clean = redaction.clean(text)
        else:
            clean = json.dumps(redaction.clean_values(json.loads(text)), indent=1, ensure_ascii=False) + "\n"
        note, name, what = (redaction.clean(said) for said in (one.note, one.name, one.what))
        if redaction.leaks(clean):
            clean, note = "", "left out: a secret stood in it in a way that could not be cut out"
        yield Member(name, what, clean.encode("utf-8", "replace"), note)


def _within(limit: int, members: Iterable[Member]) -> Iterator[Member]:
    """As many as fit; what does not is cut at its beginning, where a log is oldest."""
    left = limit
    for one in members:
        content, note = one.content, one.note
        if len(content) > left:
            content = content[len(content) - left :].partition(b"\n")[2] if left else b""
            note = f"cut to {len(content):,} of {len(one.content):,} bytes: the bundle holds {limit:,}"
        left -= len(content)
        yield Member(one.name, one.what, content, note)


def _manifest(members: list[Member], redaction: Redaction, name: str, *, whole: bool) -> str:
    """What is in it, what was removed, what could not be had.

    Names and notes are clean already; its own words are no secrets: `secret: 3 times` is a count.
    """
    lines = [f"A support bundle of Goaway, made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "", "What is in it:"]
    missing = [one for one in members if one.note and not one.content]
    for one in members:
        if one not in missing:
            note = f" ({one.note})" if one.note else ""
            lines.append(f"  {one.name:<28} {len(one.content):>9,} bytes  {one.what}{note}")
    if missing:
        lines += ["", "What could not be had:"]
        lines += [f"  {one.name:<28} {' '.join(one.note.split())[:300]}" for one in missing]
    lines += ["", f"What was removed ({REMOVED} stands in its place, person-1, person-2, … for names):"]
    lines += [
        f"  {kind}: {count:,} time{'s' * (count != 1)}" for kind, count in sorted(redaction.removed.items())
    ]
    lines += [] if redaction.removed else ["  nothing: no secret was found"]
    if redaction.passed_over:
        lines.append(
            f"  of what one file shows to be a secret the newest {MOST_LEARNT} were looked for in the others,"
            f" {redaction.passed_over:,} more were not"
        )
    if whole:
        lines.append("  names of people and subjects of mails were left in: --whole")
    return "\n".join(lines) + "\n\n" + _REMAINS.format(name=name, folder=FOLDER)


def _write(file: Path, members: Iterable[Member]) -> None:
    """The archive, readable by its owner alone, whole or not at all. It names no user of this machine."""
    made = int(time.time())
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in members:
            entry = tarfile.TarInfo(f"{FOLDER}/{one.name}")
            entry.size, entry.mtime, entry.mode = len(one.content), made, 0o644
            archive.addfile(entry, io.BytesIO(one.content))
    beside = file.with_name(f".{file.name}.new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(gzip.compress(plain.getvalue(), mtime=made))
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UnavailableError(
            f"{file} cannot be written ({error.strerror})", try_next="goaway bundle /tmp/goaway.tar.gz"
        ) from error

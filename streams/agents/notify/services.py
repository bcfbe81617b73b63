"""The services that messages go to: their URLs (secrets), their names for people, and one delivery to one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.agents.notify.delivery import Job, Outcome
from streams.config import SETTINGS
from streams.errors import SettingsError

DEADLINE_S: Final = 60.0
"""How long one delivery may take; then it counts as failed."""
MAX_SERVICES: Final = 20

_SETTING: Final = "GOAWAY_NOTIFY_URLS"
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]{0,19})://", re.ASCII | re.IGNORECASE)
_OUTCOMES: Final = msgspec.json.Decoder(list[Outcome])


@dataclass(frozen=True, slots=True)
class Service:
    """One URL of `GOAWAY_NOTIFY_URLS`. Of the URL only its scheme is ever shown."""

    name: str
    """`1 (mailto)`."""
    url: str = field(repr=False)


def services_of(urls: str) -> list[Service]:
    """The services of a list of URLs separated by white space; `SettingsError` where there is none."""
    found = [
        Service(
            name=f"{number} ({match.group(1).lower() if (match := _SCHEME.match(url)) else '?'})", url=url
        )
        for number, url in enumerate(urls.split(), start=1)
    ]
    if not found:
        raise SettingsError(
            f"{_SETTING} names no service",
            try_next=f"{_SETTING}_FILE=FILE with a line such as mailto://USER:PASSWORD@example.org?to=ADDRESS",
        )
    if len(found) > MAX_SERVICES:
        raise SettingsError(
            f"{_SETTING} names {len(found)} services", try_next=f"at most {MAX_SERVICES}, or a mailing list"
        )
    return found


def check(services: Iterable[Service]) -> None:
    """`SettingsError` that names the services whose URL apprise does not know; nothing is sent."""
    every = list(services)
    outcomes = _run(Job(urls=tuple(service.url for service in every)), len(every))
    bad = [service.name for service, outcome in zip(every, outcomes, strict=True) if not outcome.good]
    if bad:
        raise SettingsError(
            f"{_SETTING}: apprise cannot use URL {', '.join(bad)}",
            try_next="https://github.com/caronc/apprise/wiki for how it is written",
        )


def deliver(service: Service, title: str, body: str, *, within_s: float = DEADLINE_S) -> Outcome:
    """Send one message; takes `within_s` at the longest."""
    return _run(Job(urls=(service.url,), title=title, body=body, within_s=within_s), 1)[0]


def _run(job: Job, count: int) -> list[Outcome]:
    """What the child says; where it says nothing, the same outcome for each."""
    secrets = {
        name for setting in SETTINGS if setting.secret for name in (setting.name, f"{setting.name}_FILE")
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streams.agents.notify.delivery"],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=job.within_s,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in secrets},
        )
        outcomes = _OUTCOMES.decode(done.stdout)
        if len(outcomes) == count:
            return outcomes
        cause = "apprise ended early"
    except subprocess.TimeoutExpired:
        cause = f"no end within {job.within_s:g} s"
    except msgspec.MsgspecError:
        cause = "apprise ended early"
    except OSError as error:
        cause = error.strerror or type(error).__name__
    return [Outcome(good=False, cause=cause)] * count

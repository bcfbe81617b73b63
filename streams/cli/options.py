"""Flags that several commands share, and what they mean."""

import logging
import os
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from click.core import ParameterSource

from streams.config import Settings, parse_host_port, read_settings
from streams.errors import PolicyError, UsageError
from streams.model.instant import Instant, instant_of
from streams.model.policy import Policy
from streams.status import StatusFile
from streams.wire.policy_toml import MAX_POLICY_BYTES, read_policy

F = TypeVar("F", bound=Callable[..., Any])


def settings() -> Settings:
    """Settings from the environment."""
    return read_settings(os.environ)


def exclusive(*, as_json: bool, as_csv: bool) -> None:
    """`UsageError` where an answer is wanted both ways."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude one another", try_next="one of them")


def start_logging(level: str = "INFO") -> None:
    """Log to stderr, one line a message, times in UTC."""
    logging.Formatter.converter = lambda *_: datetime.now(UTC).timetuple()
    logging.basicConfig(
        level=level,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    for chatty in ("aiokafka", "faust", "mode", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def policy_option(function: F) -> F:
    """`--policy FILE`"""
    return click.option(
        "--policy",
        "policy_file",
        type=click.Path(path_type=Path),
        envvar="GOAWAY_POLICY",
        help="The policy file; without one, the defaults.",
    )(function)


def data_option(function: F) -> F:
    """`--data DIR`"""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="GOAWAY_DATA",
        default=Path("goaway-data"),
        show_default=True,
        help="Folder of all that goaway up keeps.",
    )(function)


def data_flags(context: click.Context, data: Path) -> str:
    """` --data DIR`, by which another command reaches the same place; empty where it was not typed."""
    given = context.get_parameter_source("data") == ParameterSource.COMMANDLINE
    return f" --data {shlex.quote(str(data))}" if given else ""


def status_option(function: F) -> F:
    """`--status-file FILE`"""
    return click.option(
        "--status-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write this stage's facts here each second, as JSON.",
    )(function)


def metrics_option(function: F) -> F:
    """`--metrics-listen HOST:PORT` and `--metrics-allow-remote`; given as (host, port) or None."""
    allow = click.option(
        "--metrics-allow-remote",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.update({_ALLOW_REMOTE: value}),
        help="Allow metrics on an address that is not loopback: anybody who reaches it can read them.",
    )
    listen = click.option(
        "--metrics-listen",
        metavar="HOST:PORT",
        callback=_metrics_listen,
        help="Serve Prometheus metrics here, at /metrics.",
    )
    return listen(allow(function))


_ALLOW_REMOTE: Final = "goaway.metrics_allow_remote"


def _metrics_listen(context: click.Context, _: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, port = parse_host_port(value, name="--metrics-listen")
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not context.meta.get(_ALLOW_REMOTE):
        raise UsageError(
            f"--metrics-listen: {value[:99]} is not loopback", try_next="add --metrics-allow-remote"
        )
    return host, port


def reported(stage: str, status_file: Path | None, metrics_listen: tuple[str, int] | None) -> StatusFile:
    """Where a stage's facts go: into its file, and to whoever asks for its metrics."""
    status = StatusFile(status_file)
    if metrics_listen is not None:
        from streams.metrics import of_status, serve

        url = serve(metrics_listen, lambda: [of_status(stage, status)])
        logging.getLogger(__name__).info("metrics of the %s at %s", stage, url)
    return status


def zone_option(function: F) -> F:
    """`--timezone ZONE`"""
    return click.option(
        "--timezone",
        "zone",
        default="local",
        show_default=True,
        metavar="ZONE",
        callback=_zone,
        help="Time zone of stamps that name none, such as Europe/Berlin.",
    )(function)


def _zone(_: click.Context, __: click.Parameter, value: str) -> tzinfo:
    if value.lower() == "utc":
        return UTC
    if value == "local":
        return local_zone()
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"--timezone: {value[:64]!r} is not known", try_next="--timezone Europe/Berlin"
        ) from error


def local_zone() -> tzinfo:
    """This machine's zone with its daylight-saving rules where they can be found, else its offset."""
    name = os.environ.get("TZ", "").lstrip(":")
    link = Path("/etc/localtime")
    if not name and link.is_symlink():
        name = str(link.resolve()).partition("zoneinfo/")[2]
    if not name and Path("/etc/timezone").is_file():
        name = Path("/etc/timezone").read_text(encoding="ascii", errors="ignore").strip()
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.now().astimezone().tzinfo or UTC


def now() -> Instant:
    """The wall clock, at the edge: for the year that a classic syslog stamp leaves out."""
    return instant_of(datetime.now(UTC))


def load_policy(file: Path | None) -> Policy:
    """The policy of this file, or the defaults where none is named."""
    if file is None:
        return Policy()
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_POLICY_BYTES + 1)
        if len(content) > MAX_POLICY_BYTES:
            raise PolicyError(
                f"{file}: larger than {MAX_POLICY_BYTES >> 20} MiB", try_next="goaway policy check FILE"
            )
        text = content.decode("utf-8")
    except OSError as error:
        raise PolicyError(f"{file}: {error.strerror}", try_next=f"ls -l {file}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{file}: not UTF-8 at byte {error.start}", try_next=f"file {file}") from error
    return read_policy(text, file=str(file))

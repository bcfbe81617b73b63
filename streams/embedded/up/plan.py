"""What is to run, and how a part of it looks."""

from dataclasses import dataclass
from pathlib import Path

from streams.status import Fact


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run."""

    data: Path
    broker: str
    """`tansu`, `apache`, or HOST:PORT of one's own."""
    clickhouse: str
    """`embedded`, `none`, or HOST:PORT of one's own."""
    listen: tuple[str, ...]
    socket_mode: str = "0660"
    """Permissions of a unix socket among them, octal."""
    policy: Path | None = None
    by: str = "goaway up"
    """Who is said to have made the changes of the policy that a start brings about."""
    logs: tuple[Path, ...] = ()
    timezone: str = ""
    sample: bool = False
    workers: int = 1
    partitions: int = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One part as the screen shows it."""

    name: str
    state: str
    """`runs`, `starts`, `ended`, `done`, `waits`."""
    pid: int | None
    restarts: int
    facts: dict[str, Fact]
    note: str = ""

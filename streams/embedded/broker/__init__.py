"""The Kafka brokers that run on this machine without being installed: Tansu in memory, Apache Kafka on disk.

Both listen on loopback only, in a process group of their own, and end when their starter ends.
"""

from pathlib import Path
from typing import Final, Protocol

from streams.embedded.broker.apache import ApacheBroker
from streams.embedded.broker.tansu import TansuBroker
from streams.errors import UsageError

__all__ = ["KINDS", "ApacheBroker", "Broker", "TansuBroker", "open_broker"]

KINDS: Final = ("tansu", "apache")


class Broker(Protocol):
    """A broker that can be started, watched, stopped, and started again after a stop or a death."""

    @property
    def name(self) -> str:
        """What it is called in a status line: one of `KINDS`."""

    @property
    def durable(self) -> bool:
        """Whether acknowledged records outlive the process."""

    @property
    def address(self) -> str:
        """Bootstrap address `127.0.0.1:PORT`, without TLS; the same for the object's whole life."""

    @property
    def pid(self) -> int | None:
        """Process id of the broker itself, once started."""

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Run it and return when it answers a metadata request.

        `MissingPartError` where a program or a jar cannot be had, `UnavailableError` where it ends or
        does not answer in time: both say why. Blocks; may be called from any thread.
        """

    def alive(self) -> bool:
        """Whether the process runs."""

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it does not run."""

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL after `timeout_s`. Does nothing when it does not run."""


def open_broker(kind: str, *, folder: Path, port: int = 0) -> Broker:
    """The broker of that kind, not yet started; its log and, where durable, its records lie in `folder`.

    `port` 0 takes a free one. An unknown kind is a `UsageError`.
    """
    match kind:
        case "tansu":
            return TansuBroker(folder, port=port)
        case "apache":
            return ApacheBroker(folder, port=port)
    raise UsageError(f"--broker {kind[:99]!r} is no broker", try_next="--broker tansu, apache or HOST:PORT")

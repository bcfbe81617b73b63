"""What a history's events have to agree with: the clock of now, and whom the policy takes for one client."""

from dataclasses import dataclass
from typing import Final

from streams.errors import PolicyError
from streams.model.client import ClientPrefixes
from streams.model.event import Event
from streams.wire.frames import belongs
from streams.wire.postfix import Unreadable

FUTURE: Final = Unreadable("stamped more than an hour after now: check that clock")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a history's events before they are read."""

    latest: int = (1 << 63) - 1
    """What is stamped later is set aside, and counted as unreadable."""
    prefixes: ClientPrefixes | None = None
    """What makes a client; None where that is not to be checked."""


ANYTHING: Final = Expected()


def check_client(event: Event, expected: Expected) -> None:
    """`PolicyError` where it is not the one that its address has under the policy: counted by the clients of
    another policy, no limit of this one would be judged."""
    prefixes = expected.prefixes
    if prefixes is not None and event.kind != "policy" and not belongs(event, prefixes):
        raise PolicyError(
            f"[clients]: {event.address} is client {event.client[:64]!r} in this history and "
            f"{prefixes.client_of(event.address)!r} under the policy",
            try_next="the log itself, or goaway parse LOG --policy FILE with the same [clients]",
        )

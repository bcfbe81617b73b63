"""Which policy a partition is judged by: the one that the last marker in its stream names.

A worker that learns of a change writes a marker, an event of kind `policy`, into each of its partitions, and
judges by the new policy from where it reads the marker back. So the stream itself says which policy judged
what: a restarted worker, another worker and a replay all switch at the same event.
"""

from typing import Protocol

from streams.errors import InvalidValueError
from streams.model.client import Client
from streams.model.decision import NOWHERE, derived_id
from streams.model.event import Event
from streams.model.instant import Instant
from streams.model.standing import PolicyIndex


class Policies(Protocol):
    """The policies of the last day by the number of their change, as `PolicyFollower` has them."""

    @property
    def current(self) -> tuple[int, PolicyIndex]:
        """Number and policy of the latest change; 0 and the file's policy before any."""
        ...

    def at(self, number: int, timeout_s: float = 10.0) -> PolicyIndex:
        """The policy of this change, waited for if it is not known yet."""
        ...

    def as_of(self, at: int) -> tuple[int, PolicyIndex]:
        """The change that was the latest at this instant."""
        ...


def marker(partition: int, number: int, after: int, version: str, at: int) -> Event:
    """The event from which on a partition is judged by this policy; it is no client's doing."""
    return Event(
        id=derived_id("policy", str(partition), str(number), str(at)),
        at=Instant(at),
        kind="policy",
        client=Client("policy"),
        address=NOWHERE,
        session="",
        host="",
        detail=f"{number} {after} {version}",
    )


def marked(event: Event) -> int:
    """The number of the change that a marker names."""
    number = event.detail.partition(" ")[0]
    if not (number.isascii() and number.isdigit()):
        raise InvalidValueError(f"{event.detail[:64]!r} names no policy change")
    return int(number)

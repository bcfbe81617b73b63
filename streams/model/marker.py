"""The event that marks a change of the policy: from it on a stream is judged by another one.

It stands in the stream itself, so live, after a crash and in a replay the switch is at the same event.
"""

from streams.errors import InvalidValueError
from streams.model.client import Client
from streams.model.decision import NOWHERE, derived_id
from streams.model.event import Event
from streams.model.instant import Instant


def marker(partition: int, number: int, after: int, version: str, at: int) -> Event:
    """The event from which on a partition is judged by this policy; it is no client's doing.

    `number` and `version` are those of the change, `after` is the number that held there before it (0: none,
    or not known). A history that has no partitions is partition 0.
    """
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


def change_named(detail: str) -> tuple[int, str] | None:
    """Number and version (empty: any) of the change that `detail` names; None where it names none."""
    number, _, rest = detail.partition(" ")
    if not (number.isascii() and number.isdigit()):
        return None
    return int(number), rest.partition(" ")[2]


def marked(event: Event) -> int:
    """The number of the change that a marker names."""
    change = change_named(event.detail)
    if change is None:
        raise InvalidValueError(f"{event.detail[:64]!r} names no policy change")
    return change[0]

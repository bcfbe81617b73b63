"""What zones answered about each address, for as long as that holds; bounded, least recently used first."""

from collections import OrderedDict
from typing import Final, NamedTuple

from streams.agents.reputation.answers import Answer
from streams.model.client import Address

MAX_ADDRESSES: Final = 131_072

TROUBLE_S: Final = 30.0
"""A zone that failed is not asked again about the same address for so long, in seconds."""


class Held(NamedTuple):
    """One zone's answer, and when it ends (monotonic seconds)."""

    codes: tuple[str, ...]
    until: float
    failed: bool = False


class Known:
    """All that is known of one address, and what was last said of it on `smtp.events`."""

    __slots__ = ("held", "told", "told_until")

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        """By the zone's domain."""
        self.told: tuple[int, str] | None = None
        """(number of the policy, detail) of the last event about it."""
        self.told_until = 0
        """First instant at which that event no longer holds, in event time."""

    def hold(self, domain: str, answer: Answer, now: float) -> None:
        """Keep an answer for its TTL; a failure for `TROUBLE_S`."""
        if answer.trouble is not None:
            self.held[domain] = Held((), now + TROUBLE_S, failed=True)
        else:
            self.held[domain] = Held(answer.codes, now + answer.ttl_s)


class Cache:
    """Addresses in order of use."""

    def __init__(self, *, addresses: int = MAX_ADDRESSES) -> None:
        self._addresses = addresses
        self._known: OrderedDict[Address, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, address: Address) -> Known | None:
        """What is known of it; the use counts."""
        known = self._known.get(address)
        if known is not None:
            self._known.move_to_end(address)
        return known

    def of(self, address: Address) -> Known:
        """The same, new and empty where there was none; the least recently used makes room."""
        known = self.get(address)
        if known is None:
            if len(self._known) >= self._addresses:
                self._known.popitem(last=False)
            known = self._known[address] = Known()
        return known

    def drop(self, address: Address) -> None:
        """Forget one."""
        self._known.pop(address, None)

    def addresses(self) -> list[Address]:
        """All there are, least recently used first."""
        return list(self._known)

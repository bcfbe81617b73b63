"""What of a policy no history shows: what the shim alone sees, and refuses or puts off inside the session."""

from collections.abc import Hashable
from typing import Final, Literal

import msgspec

from streams.engine.outcome import in_shadow
from streams.model.policy import Module, Policy
from streams.model.standing import PolicyIndex

Unseen = Literal["greylist", "invalid_helo", "forged_sender"]
_SAID: Final[dict[Unseen, tuple[str, str]]] = {
    "greylist": (
        "Greylisting",
        "it does not show whom the shim would put off with a 451, nor who would come back",
    ),
    "invalid_helo": ("protocol.invalid_helo", "the shim alone sees it, inside the session"),
    "forged_sender": ("protocol.forged_sender", "the shim alone sees it, inside the session"),
}
"""What it is called, and why a log does not tell."""


class Unjudged(msgspec.Struct, frozen=True, kw_only=True):
    """Something that refuses clients under a policy and that a comparison can say nothing of."""

    what: Unseen
    where: Literal["A", "B", "both"]
    """Which policy has it."""
    differs: bool
    """Whether the two do not have it alike: then somebody may be treated differently."""

    @property
    def said(self) -> str:
        """It in a sentence."""
        name, why = _SAID[self.what]
        alike = "differently" if self.differs else "alike"
        has = f"both have it, {alike}" if self.where == "both" else f"only {self.where} has it"
        return f"{name} cannot be judged from a log: {why} ({has})."


class Unseens:
    """What a policy, or several one after the other, have of it."""

    def __init__(self) -> None:
        self.known: dict[Unseen, set[Hashable]] = {it: set() for it in _SAID}
        """What → each way in which it was in force, by all that it depends on."""

    def add(self, index: PolicyIndex) -> None:
        """Take in one that is in force for a while."""
        policy = index.policy
        if policy.greylist.enabled and not in_shadow(index, "greylist", "first_attempt"):
            self.known["greylist"].add((policy.greylist, *_let_off(policy, "greylist")))
        protocol = policy.protocol
        asked: tuple[tuple[Unseen, bool], ...] = (
            ("invalid_helo", protocol.invalid_helo),
            ("forged_sender", protocol.forged_sender),
        )
        for what, enabled in asked:
            if enabled and not in_shadow(index, "protocol", what):
                self.known[what].add((protocol.internal, *_let_off(policy, "protocol")))


def unjudged(a: Unseens, b: Unseens) -> list[Unjudged]:
    """What either has of it."""
    return [
        Unjudged(
            what=what,
            where="both" if a.known[what] and b.known[what] else "A" if a.known[what] else "B",
            differs=a.known[what] != b.known[what],
        )
        for what in _SAID
        if a.known[what] or b.known[what]
    ]


def _let_off(policy: Policy, module: Module) -> tuple[Hashable, Hashable]:
    """Whom the module leaves alone, and when."""
    exempt = frozenset((it.network, it.expires) for it in policy.exemptions if it.module == module)
    suspended = max((it.until for it in policy.suspensions if it.module == module), default=0)
    return exempt, suspended

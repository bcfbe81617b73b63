"""All that the shim knows from decisions, and where each decision belongs."""

from dataclasses import dataclass
from typing import Final

from streams.engine.taking import FORGOTTEN
from streams.model.client import Client
from streams.model.decision import Decision
from streams.shim.greylist import GreylistMemory
from streams.shim.table import DecisionTable
from streams.shim.waiting import Waiting

VERDICT: Final = "reputation"


@dataclass(slots=True)
class Known:
    """Written by the follower's thread, read by the service's."""

    table: DecisionTable
    greylist: GreylistMemory
    waiting: Waiting
    verdicts: int = 0
    """Decisions read about reputation: listed, no longer listed, not listed."""

    def take(self, decision: Decision, now: int) -> None:
        """Take a decision in; `InvalidValueError` where it cannot be one."""
        if decision.trigger == "greylist":
            self.greylist.take(decision, now)
        self.table.apply(decision, now)
        if decision.trigger == VERDICT and decision.rule != FORGOTTEN:
            self.verdicts += 1
            self.waiting.arrived(decision.client)

    def purge(self, now: int) -> None:
        """Forget what has ended."""
        self.table.purge(now)
        self.greylist.purge(now)


def judged(table: DecisionTable, client: Client, now: int) -> bool:
    """Whether a verdict of the DNSBLs on the client is known."""
    return table.known(client, VERDICT, now)

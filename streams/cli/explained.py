"""All that is known of one address, gathered for `goaway explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.audit.known import Known, known
from streams.audit.lately import Lately, lately
from streams.cli.options import load_policy, now
from streams.cli.reach import reach
from streams.engine.advice import Finding, Stands, findings, modules, standing_decisions
from streams.engine.outcome import in_shadow
from streams.engine.taking import FORGOTTEN
from streams.engine.treatment import JUDGES, greylisted, moment
from streams.errors import GoawayError, UsageError
from streams.model.client import Address, Client, Network, parse_address, parse_network, shown
from streams.model.decision import Decision, LimitWarning, Trigger
from streams.model.instant import Instant
from streams.model.policy import Module
from streams.model.schedule import Calendar
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.recorded import decisions_of, trouble
from streams.shim.smtp_rules import is_helo_name

PERIOD_S: Final = 86_400
_CAUGHT_UP_S: Final = 5.0
MOST: Final = 5
"""Decisions, and kinds of refusals, that are shown of the period."""


@dataclass(frozen=True, slots=True)
class Explained:
    """All that is known of an address at one instant."""

    address: Address
    client: Client
    change: int
    whole: PolicyIndex
    """The policy in force, with its schedules."""
    at: int
    decisions: list[Decision]
    trouble: dict[tuple[str, str], LimitWarning]
    known: Known | None
    lately: Lately
    storage: str
    """Why ClickHouse could not be asked; empty where it was."""
    flags: str = ""
    """What a command needs to reach the same place, as it follows it."""

    @property
    def index(self) -> PolicyIndex:
        """The policy with the limits that its schedules set at the instant."""
        return self.whole.at(self.at)

    @property
    def stands(self) -> list[Stands]:
        """Blocks that have not ended."""
        return standing_decisions(self.index, self.address, self.decisions, self.at)

    @property
    def findings(self) -> list[Finding]:
        """What to know, each with its command."""
        found = findings(self.index, self.address, self.decisions, self.at, trouble=self.trouble)
        if self.invalid_helo:
            words = (
                f"it says HELO {self.invalid_helo}, which is no domain: its mail is refused in the session"
            )
            found.append(Finding(words, f"goaway exempt protocol {self.client}"))
        lost = self._lost
        if lost is not None:
            words = (
                f"a {lost.trigger} block until {moment(lost.until or 0)} is in ClickHouse, but Kafka has "
                "lost it: a shim that was running then may go on refusing. To end it there"
            )
            found.append(Finding(words, f"goaway unblock {self.address}"))
        return found

    @property
    def _lost(self) -> Decision | None:
        """A stored block that would still stand, of which Kafka knows nothing: a broker in memory died."""
        over: dict[Trigger, int] = {}
        for it in self.decisions:
            if it.action != "defer":
                over[it.trigger] = max(it.at, over.get(it.trigger, 0))
        for it in self.lately.decisions:
            if it.at > self.at:
                continue  # Kafka was read before it was decided
            if it.action == "release":
                over[it.trigger] = max(it.at, over.get(it.trigger, 0))
                if it.rule == FORGOTTEN:
                    return None
            elif (
                not it.shadow
                and it.trigger != "blocklist"
                and it.until is not None
                and it.until > self.at
                and over.get(it.trigger, -1) < it.at
            ):
                return it
        return None

    @property
    def retry_from(self) -> list[Instant]:
        """From when on a retry of each first attempt on record passes."""
        return greylisted(self.index, self.address, self.decisions, self.at)

    @property
    def put_off_s(self) -> int:
        """For how long the shim puts new mail off first; 0 where it does not: who is learnt passes."""
        index = self.index
        learnt = any(
            it.trigger == "greylist" and it.action == "pass" and it.until is not None and self.at < it.until
            for it in self.decisions
        )
        if learnt or in_shadow(index, "greylist", "first_attempt") or not self._judged_by("greylist"):
            return 0
        return index.policy.greylist.delay_s

    @property
    def invalid_helo(self) -> str:
        """A name that it said lately and that the shim refuses; empty where there is none."""
        index = self.index
        if (
            self.known is None
            or not index.policy.protocol.invalid_helo
            or in_shadow(index, "protocol", "invalid_helo")
            or not self._judged_by("protocol")
        ):
            return ""
        return next((ascii(it)[1:-1][:80] for it in self.known.helo if not is_helo_name(it)), "")

    def _judged_by(self, module: Module) -> bool:
        return modules(self.index, self.address, self.at)[module] == JUDGES

    @property
    def schedules(self) -> dict[str, list[str]]:
        """Schedules in force that set a limit of the address → the limits that they set."""
        now, plain = self.index.standing(self.address), self.whole.standing(self.address).limits
        found: dict[str, list[str]] = {}
        for key in now.limits.__struct_fields__:
            value = getattr(now.limits, key)
            if value == getattr(plain, key):
                continue
            for schedule in reversed(Calendar(self.whole.policy.schedules).active(self.at)):
                named = not schedule.networks or now.network in map(str, schedule.networks)
                if named and dict(schedule.overrides).get(key) == value:
                    found.setdefault(schedule.name, []).append(key)
                    break
        return found

    def command(self, finding: Finding) -> str:
        """A finding's command, complete."""
        return finding.command and finding.command + self.flags

    @property
    def answer(self) -> str:
        """What the client is told now; empty where it is let through."""
        replies, block = self.index.policy.replies, self.index.standing(self.address).blocked(self.at)
        if block is not None:
            reason = f"{replies.blocklist}: {block.note}" if block.note else replies.blocklist
            return f"{replies.connect_code} {replies.enhanced_status} {replies.opening}: {reason}"
        refusing = next((it.decision for it in self.stands if not it.lifted_by), None)
        if refusing is None:
            return ""
        code = refusing.code
        if code not in (replies.connect_code, replies.session_code):  # [replies] has changed since
            code = replies.session_code if refusing.trigger == "greylist" else replies.connect_code
        return f"{code} {replies.enhanced_status} {replies.opening}: {refusing.reason}"


def look(network: Network, data: Path, policy_file: Path | None) -> Explained:
    """Read what Kafka and, where it answers, ClickHouse have about the one client that is named.

    `UsageError` for a network of many clients.
    """
    settings = reach(data)
    follower = PolicyFollower(settings.kafka, load_policy(policy_file))
    follower.start()
    try:
        follower.wait_until_caught_up(_CAUGHT_UP_S)
        change, index = follower.current
    finally:
        follower.stop()
    address = parse_address(str(network.network_address))
    client = index.policy.clients.client_of(address)
    if parse_network(client) != network and network.prefixlen != network.max_prefixlen:
        raise UsageError(
            f"{shown(network)} holds many clients: name one address",
            try_next=f"goaway search {network} --last 24h",
        )
    at = now()
    decisions, said = decisions_of(settings.kafka, client), trouble(settings.kafka)
    seen, late, storage = None, Lately(), ""
    try:
        seen = known(settings.clickhouse, client, at, period_s=PERIOD_S)
        late = lately(settings.clickhouse, client, at, period_s=PERIOD_S, most=MOST)
    except GoawayError as error:
        storage = error.what
    return Explained(address, client, change, index, at, decisions, said, seen, late, storage)

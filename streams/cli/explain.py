"""`goaway explain ADDRESS`: what holds for it, what stands against it, and the command that would help."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.audit.known import Known, known
from streams.cli.options import data_option, load_policy, now, policy_option
from streams.cli.reach import reach
from streams.cli.screen import why
from streams.engine.advice import Finding, Stands, findings, modules, standing_decisions
from streams.errors import GoawayError
from streams.model.client import Address, Client, parse_address, parse_network
from streams.model.decision import Decision, LimitWarning
from streams.model.instant import rfc3339
from streams.model.standing import PolicyIndex
from streams.policy_follower import PolicyFollower
from streams.recorded import decisions_of, trouble

_CAUGHT_UP_S: Final = 5.0
_PERIOD_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Explained:
    """All that is known of an address at one instant."""

    address: Address
    client: Client
    change: int
    index: PolicyIndex
    at: int
    decisions: list[Decision]
    trouble: dict[tuple[str, str], LimitWarning]
    known: Known | None
    storage: str
    """Why ClickHouse could not be asked; empty where it was."""

    @property
    def stands(self) -> list[Stands]:
        """Blocks that have not ended."""
        return standing_decisions(self.index, self.address, self.decisions, self.at)

    @property
    def findings(self) -> list[Finding]:
        """What to know, each with its command."""
        return findings(self.index, self.address, self.decisions, self.at, trouble=self.trouble)

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
        return f"{refusing.code} {replies.enhanced_status} {replies.opening}: {refusing.reason}"


@click.command()
@click.argument("address")
@data_option
@policy_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(address: str, data: Path, policy_file: Path | None, as_json: bool) -> None:
    """Say what holds for ADDRESS: limits, exemptions, what stands against it since when, and what would help.

    Reads the policy in force and the decisions from Kafka (those of a running goaway up, else GOAWAY_KAFKA)
    and, where it answers, ClickHouse.
    """
    if "-" in address or "/" in address:
        parse_network(address)  # a range is answered with the CIDRs that cover it
        address = address.partition("/")[0]
    explained = _look(parse_address(address), data, policy_file)
    if as_json:
        click.echo(json.dumps(_as_json(explained), ensure_ascii=True))
        return
    console = Console()
    for line in _shown(explained):
        console.print(line, highlight=False)


def _look(address: Address, data: Path, policy_file: Path | None) -> Explained:
    settings = reach(data)
    follower = PolicyFollower(settings.kafka, load_policy(policy_file))
    follower.start()
    try:
        follower.wait_until_caught_up(_CAUGHT_UP_S)
        change, index = follower.current
    finally:
        follower.stop()
    at = now()
    index = index.at(at)
    client = index.policy.clients.client_of(address)
    decisions, said = decisions_of(settings.kafka, client), trouble(settings.kafka)
    seen, storage = None, ""
    try:
        seen = known(settings.clickhouse, client, at, period_s=_PERIOD_S)
    except GoawayError as error:
        storage = error.what
    return Explained(address, client, change, index, at, decisions, said, seen, storage)


def _shown(it: Explained) -> list[Any]:
    standing = it.index.standing(it.address)
    limits = standing.limits
    change = f"change {it.change}" if it.change else "as its file says"
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Now", _colour(f"refused: {it.answer}", "red") if it.answer else _colour("let in", "green"))
    for stands in it.stands:
        decision = stands.decision
        until = rfc3339(decision.until) if decision.until else "the entry is removed"
        lifted = f"; it does not refuse: {stands.lifted_by}" if stands.lifted_by else ""
        table.add_row(
            decision.trigger,
            escape(
                f"since {rfc3339(decision.at)} until {until}: {why(decision)}; event {decision.event} of "
                f"{decision.session or decision.host or 'no session'}, policy {decision.policy}{lifted}"
            ),
        )
    table.add_row(
        "Limits",
        escape(
            f"from {'[[networks]] ' + standing.network if standing.network else '[limits]'}: "
            f"{limits.concurrent_connections} connections at a time; a minute, "
            f"{limits.connections_per_minute} connections and {limits.requests_per_minute} requests; "
            f"cool-down {limits.cool_down_s} s"
        ),
    )
    for module, words in modules(it.index, it.address, it.at).items():
        table.add_row(f"  {module}", escape(words))
    table.add_row("Last 24 h", escape(_seen(it)))
    notes: list[Any] = [f"\n{'What to know' if it.findings else 'Nothing else to know.'}"]
    for finding in it.findings:
        notes.append("- " + escape(finding.what))
        if finding.command:
            notes.append(f"    [bold]{escape(finding.command)}[/bold]")
    title = f"[bold]{it.address}[/bold] (client {it.client}); policy {it.index.version}, {change}"
    return [title, "", table, *notes]


def _colour(text: str, colour: str) -> str:
    return f"[{colour}]{escape(text)}[/{colour}]"


def _seen(it: Explained) -> str:
    if it.storage:
        return f"not known: {it.storage}"
    if it.known is None:
        return "not seen"
    known = it.known
    words = (
        f"{known.connections} connections, {known.requests} requests, {known.messages} messages queued, "
        f"{known.refusals} refusals, {known.violations} violations, {known.logins} logins; last "
        f"{rfc3339(known.last)} at {', '.join(known.hosts)}"
    )
    names = "".join(
        f"; {label} {', '.join(ascii(name)[1:-1][:80] for name in found)}"
        for label, found in (("HELO", known.helo), ("name", known.ptr))
        if found
    )
    return words + names


def _as_json(it: Explained) -> dict[str, Any]:
    standing = it.index.standing(it.address)
    limits = {name: getattr(standing.limits, name) for name in standing.limits.__struct_fields__}
    return {
        "address": it.address,
        "client": it.client,
        "at": rfc3339(it.at),
        "policy": it.index.version,
        "change": it.change,
        "refused": it.answer or None,
        "stands": [
            {
                "trigger": stands.decision.trigger,
                "rule": stands.decision.rule,
                "reason": stands.decision.reason,
                "since": rfc3339(stands.decision.at),
                "until": rfc3339(stands.decision.until) if stands.decision.until else None,
                "why": why(stands.decision),
                "event": stands.decision.event,
                "lifted_by": stands.lifted_by or None,
            }
            for stands in it.stands
        ],
        "limits": {"from": standing.network or "limits", **limits},
        "modules": modules(it.index, it.address, it.at),
        "last_24_h": None
        if it.known is None
        else {
            "connections": it.known.connections,
            "requests": it.known.requests,
            "messages": it.known.messages,
            "refusals": it.known.refusals,
            "last": rfc3339(it.known.last),
        },
        "findings": [{"what": one.what, "command": one.command or None} for one in it.findings],
    }

"""`goaway unblock`, `goaway forget`: drop what is remembered of a client, so that it is judged afresh."""

import json
from dataclasses import dataclass
from typing import Final, Unpack

import click

from streams.cli.options import now
from streams.cli.policy_change import in_force
from streams.cli.policy_options import ChangeFlags, Changing, change_options, changing
from streams.cli.released import Releases
from streams.engine.advice import Stands, findings, standing_decisions
from streams.errors import InvalidValueError, UsageError
from streams.model.client import Address, Client, parse_address, parse_network
from streams.model.instant import rfc3339
from streams.model.policy import MODULE_OF, Module
from streams.model.standing import PolicyIndex
from streams.recorded import decisions_of
from streams.sending import administrators_event, send_events
from streams.wire.policy_entries import policy_of

RELEASE_S: Final = 5.0
"""How long the worker's answer is waited for."""

RETURNS: Final[dict[Module, str]] = {
    "rate": "is counted afresh; it is refused again when it exceeds a limit again",
    "dnsbl": "is looked up again when it connects; it is refused again as long as it is listed",
    "greylist": "is put off anew with its next mail, unless its network or pool is known to retry",
    "protocol": "is refused again when it violates the protocol again",
}
"""Module → what becomes of a client that is released from it."""


@dataclass(frozen=True, slots=True)
class _Subject:
    address: Address
    client: Client
    stands: list[Stands]
    """Blocks that stand; not those in shadow, which refuse nobody."""


@click.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@change_options
def unblock(addresses: tuple[str, ...], **flags: Unpack[ChangeFlags]) -> None:
    """Let ADDRESS in now: end the blocks that stand against it, and say how they may come back.

    What is counted of its client is dropped. An administrator's block (deny) is not lifted: it is said.
    """
    _drop(addresses, changing(flags), lifting=True)


@click.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@change_options
def forget(addresses: tuple[str, ...], **flags: Unpack[ChangeFlags]) -> None:
    """Drop all that is remembered of ADDRESS's client: counts, blocks, greylisting, what was learnt."""
    _drop(addresses, changing(flags), lifting=False)


def _drop(addresses: tuple[str, ...], by: Changing, *, lifting: bool) -> None:
    _, entries = in_force(by)
    index, at = PolicyIndex(policy_of(entries)), now()
    subjects = [_subject(text, index, by, at) for text in addresses]
    said = f"by {by.by}{': ' if by.note else ''}{by.note}"
    events = [administrators_event("forget", it.client, it.address, at, said) for it in subjects]
    releases = Releases(by.kafka)
    send_events(by.kafka, events)
    missing = releases.missing({event.id for event in events}, RELEASE_S)
    left = {event.client for event in events if event.id in missing}
    if by.as_json:
        click.echo(json.dumps([_as_json(subject, index, left, at) for subject in subjects]))
    else:
        for subject in subjects:
            _say(subject, index, left, at, lifting=lifting)
    if left:
        raise click.exceptions.Exit(1)


def _subject(text: str, index: PolicyIndex, by: Changing, at: int) -> _Subject:
    try:
        network = parse_network(text)
    except InvalidValueError as error:
        raise UsageError(error.what, try_next=error.try_next) from error
    address = parse_address(str(network.network_address))
    client = index.policy.clients.client_of(address)
    if parse_network(client) != network and network.prefixlen != network.max_prefixlen:
        raise UsageError(
            f"{text[:64]} holds many clients: name their addresses, or let the network alone",
            try_next=f"goaway exempt rate {network}",
        )
    decisions = decisions_of(by.kafka, client)
    stands = standing_decisions(index.at(at), address, decisions, at)
    return _Subject(address, client, [it for it in stands if not it.decision.shadow])


def _say(subject: _Subject, index: PolicyIndex, left: set[Client], at: int, *, lifting: bool) -> None:
    name = f"{subject.address} ({subject.client})" if "/" in subject.client else str(subject.address)
    if subject.client in left:
        click.secho(
            f"{name}: asked for, but no worker has answered within {RELEASE_S:g} s; it is done as soon as "
            "one runs. Try: goaway status",
            fg="yellow",
        )
        return
    if not lifting:
        click.echo(f"{name}: all that was remembered is dropped")
    elif not subject.stands:
        click.echo(
            f"{name}: no block of a rule was on record; what was counted is dropped, at every shim too"
        )
    for stands in subject.stands:
        decision = stands.decision
        module = MODULE_OF[decision.trigger]
        until = f" until {rfc3339(decision.until)[:19]}Z" if decision.until else ""
        click.echo(
            f"{name}: released from {decision.trigger} ({decision.reason}{until}); it {RETURNS[module]}"
        )
        click.echo(f"  to have {module} let it alone for good: goaway exempt {module} {subject.address}")
    block = index.standing(subject.address).blocked(at)
    if block is not None:
        for finding in findings(index, subject.address, [], at):
            if finding.command.startswith("goaway policy remove blocks/"):
                click.secho(f"  still refused: {finding.what}. Try: {finding.command}", fg="yellow")


def _as_json(subject: _Subject, index: PolicyIndex, left: set[Client], at: int) -> dict[str, object]:
    return {
        "address": subject.address,
        "client": subject.client,
        "done": subject.client not in left,
        "stood": [
            {
                "trigger": stands.decision.trigger,
                "reason": stands.decision.reason,
                "until": rfc3339(stands.decision.until) if stands.decision.until else None,
            }
            for stands in subject.stands
        ],
        "block_list": index.standing(subject.address).blocked(at) is not None,
    }

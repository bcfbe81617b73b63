"""`goaway reputation`: the stage; `look` at an address now; the health of each `zones`."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from streams.cli.options import (
    data_flags,
    data_option,
    load_policy,
    metrics_option,
    policy_option,
    reported,
    settings,
    start_logging,
    status_option,
)
from streams.cli.reach import reach
from streams.errors import UnavailableError, UsageError
from streams.model.client import Address, parse_address
from streams.model.policy import Policy

_POLICY_S: Final = 5.0
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@click.option(
    "--instance",
    default="",
    metavar="NAME",
    help="A name of its own for each one: restarted under it, it takes its partitions again at once.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that remembers which partners are listed; without one they are told again after a restart.",
)
@policy_option
@status_option
@metrics_option
@click.pass_context
def reputation(
    context: click.Context,
    instance: str,
    state: Path | None,
    policy_file: Path | None,
    status_file: Path | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Ask DNSBLs about the addresses that connect, and watch the policy's partners.

    Without a command: run the stage until SIGTERM. Start several to share the clients.
    """
    if context.invoked_subcommand is not None:
        context.obj = policy_file
        return
    start_logging()
    from streams.agents.reputation.run import run_reputation

    run_reputation(
        settings(),
        load_policy(policy_file),
        status=reported("reputation", status_file, metrics_listen),
        instance=instance,
        state=state,
    )


@reputation.command()
@click.argument("address")
@data_option
@policy_option
@_json_option
@click.pass_context
def look(context: click.Context, address: str, data: Path, policy_file: Path | None, as_json: bool) -> None:
    """Look ADDRESS up in all zones now: those of --policy, or else of the policy in force.

    Exit code 4: a zone gave no answer that counts.
    """
    file = policy_file or context.obj
    policy = _with_zones(file, data)
    found = asyncio.run(_look(policy, parse_address(address)))
    if as_json:
        click.echo(json.dumps({"address": parse_address(address), "zones": found}))
    else:
        table = _table("zone", "answer", "listed", "weight", "ttl", "delisting page")
        for row in found:
            listed = "no answer" if row["trouble"] else "listed" if row["codes"] else "no"
            answer = row["trouble"] or ", ".join(row["codes"]) or "not listed"
            ttl = "" if row["trouble"] else f"{row['ttl_s']} s"
            page = row["delisting"] if row["codes"] else ""
            table.add_row(row["zone"], answer, listed, str(row["weight"]), ttl, page)
        console = Console()
        console.print(table)
        weight, threshold = sum(row["weight"] for row in found), policy.reputation.threshold
        verdict = "refused" if weight >= threshold else "let through"
        console.print(f"{address}: weight {weight} of {threshold}: {verdict}, unless exempt")
    if any(row["trouble"] for row in found):
        raise UnavailableError(
            "not every zone answered", try_next=f"goaway reputation zones{_same(context, file, data)}"
        )


@reputation.command()
@data_option
@policy_option
@_json_option
@click.pass_context
def zones(context: click.Context, data: Path, policy_file: Path | None, as_json: bool) -> None:
    """Test each zone now: 127.0.0.2 must be listed, 127.0.0.1 must not.

    Exit code 4: a zone is out.
    """
    file = policy_file or context.obj
    policy = _with_zones(file, data)
    found = asyncio.run(_zones(policy))
    if as_json:
        click.echo(json.dumps(found))
    else:
        table = _table("zone", "name", "state", "why", "what to do")
        for row in found:
            table.add_row(row["zone"], row["name"], row["state"], row["why"], row["advice"])
        Console().print(table)
    if any(row["state"] == "out" for row in found):
        raise UnavailableError(
            "a zone is out", try_next=f"goaway reputation look 127.0.0.2{_same(context, file, data)}"
        )


def _same(context: click.Context, file: Path | None, data: Path) -> str:
    """The flags by which another command asks the same zones."""
    if file is not None:
        return f" --policy {shlex.quote(str(file))}"
    return data_flags(context, data)


def _with_zones(file: Path | None, data: Path) -> Policy:
    """The file's policy, or else the one in force."""
    policy = load_policy(file) if file is not None else _in_force(data)
    if not any(zone.enabled for zone in policy.zones):
        raise UsageError(
            "the policy has no zone that is enabled", try_next="add [[zones]], or name a file with --policy"
        )
    return policy


def _in_force(data: Path) -> Policy:
    from streams.policy_follower import PolicyFollower

    follower = PolicyFollower(reach(data).kafka, Policy())
    follower.start()
    try:
        if not follower.wait_until_caught_up(_POLICY_S):
            raise UnavailableError(
                "the policy in force could not be read from Kafka", try_next="--policy policy.toml"
            )
        return follower.current[1].policy
    finally:
        follower.stop()


async def _look(policy: Policy, address: Address) -> list[dict[str, Any]]:
    from streams.agents.reputation.zones import Zones
    from streams.engine.reputation import weight_of

    asked = Zones(lambda *_: None)
    await asked.follow(policy.zones, policy.reputation)
    found = await asked.look(address, asked.domains_for(address))
    asked.close()
    return [
        {
            "zone": zone.domain,
            "name": zone.shown,
            "codes": list(answer.codes),
            "weight": weight_of(zone, ",".join(answer.codes)),
            "ttl_s": answer.ttl_s,
            "trouble": answer.trouble.text if answer.trouble else "",
            "delisting": zone.delisting,
        }
        for zone in policy.zones
        if (answer := found.get(zone.domain)) is not None
    ]


async def _zones(policy: Policy) -> list[dict[str, Any]]:
    from streams.agents.reputation.zones import Zones

    asked = Zones(lambda *_: None)
    await asked.follow(policy.zones, policy.reputation)
    tested = await asked.test_all()
    asked.close()
    rows = []
    for zone in policy.zones:
        trouble = tested.get(zone.domain)
        rows.append(
            {
                "zone": zone.domain,
                "name": zone.shown,
                "state": "off" if not zone.enabled else "out" if trouble else "works",
                "why": trouble.text if trouble else "",
                "advice": trouble.advice if trouble else "",
            }
        )
    return rows


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table

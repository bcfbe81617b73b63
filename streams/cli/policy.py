"""`goaway policy`: check it, show it."""

import json
import tomllib
from pathlib import Path

import click

from streams.cli.options import load_policy, now
from streams.model.instant import rfc3339
from streams.model.policy import Policy
from streams.wire.policy_toml import write_policy


@click.group()
def policy() -> None:
    """Check and show the policy."""


_FILE = click.argument("file", required=False, type=click.Path(path_type=Path), envvar="GOAWAY_POLICY")


@policy.command()
@_FILE
def check(file: Path | None) -> None:
    """Read FILE and say what in it has no effect. Exit code 3: it cannot be used."""
    found = load_policy(file)
    notes = remarks(found, now())
    for note in notes:
        click.secho(f"note: {note}", fg="yellow")
    click.echo(
        f"{file or 'the defaults'}: good. Version {found.version}: {len(found.networks)} networks, "
        f"{len(found.exemptions)} exemptions, {len(found.blocks)} blocks"
    )


def remarks(policy: Policy, at: int) -> list[str]:
    """Entries without effect: doubled, expired, or covered."""
    notes = []
    seen: set[str] = set()
    for rule in policy.networks:
        if str(rule.network) in seen:
            notes.append(f"[[networks]] {rule.network} stands twice; the last one counts")
        seen.add(str(rule.network))
    for exemption in policy.exemptions:
        if exemption.expires is not None and exemption.expires <= at:
            notes.append(
                f"[[exemptions]] {exemption.module} {exemption.network} expired {rfc3339(exemption.expires)}"
            )
    for block in policy.blocks:
        inside = [
            entry
            for entry in policy.exemptions
            if entry.network.version == block.network.version and entry.network.subnet_of(block.network)  # type: ignore[arg-type]
        ]
        notes += [
            f"[[exemptions]] {entry.module} {entry.network} lies inside [[blocks]] {block.network}: it is "
            "refused all the same, an exemption is from one module and a block is from everything"
            for entry in inside
        ]
    return notes


@policy.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(file: Path | None, as_json: bool) -> None:
    """Print the whole policy in force: FILE with every default filled in."""
    found = load_policy(file)
    if not as_json:
        click.echo(f"# version {found.version}\n{write_policy(found)}", nl=False)
        return

    content = tomllib.loads(write_policy(found))
    click.echo(json.dumps({"version": found.version, **content}, default=lambda moment: moment.isoformat()))

"""The commands that change the policy on Kafka; `goaway policy …` and, for the frequent ones, `goaway …`."""

from typing import Final, Unpack

import click

from streams.cli.options import now
from streams.cli.policy_change import Attempt, carry_out, in_force, say
from streams.cli.policy_edits import (
    allowed,
    denied,
    entry_and_key,
    exempted,
    networks,
    removed,
    resumed,
    row_of,
    suspended,
    with_value,
)
from streams.cli.policy_files import apply, import_csv
from streams.cli.policy_guards import ask, check_clients, holds_everybody, will_restart_option, yes_option
from streams.cli.policy_options import ChangeFlags, change_options, changing, expires_option, expiry
from streams.cli.policy_when import span_s
from streams.errors import UsageError
from streams.model.instant import MICROSECONDS, Instant, rfc3339
from streams.model.policy import MODULES, Module
from streams.policy_writer import undo_change
from streams.wire.policy_entries import Entries

_MODULE = click.argument("module", type=click.Choice(MODULES))
_MODULES = click.argument("modules", nargs=-1, required=True, type=click.Choice(MODULES))
_ADDRESSES = click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS|CIDR...")


@click.command("set", context_settings={"ignore_unknown_options": True})  # a VALUE may begin with -
@click.argument("pairs", nargs=-1, required=True, metavar="KEY VALUE...")
@will_restart_option
@change_options
def set_value(pairs: tuple[str, ...], will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Set KEY to VALUE: limits.requests_per_minute 40, networks.192.0.2.0/24.concurrent_connections 50.

    Several pairs are one change. VALUE is written as in the policy file; default takes the key back to what
    it is by itself.
    """
    by, given = changing(flags), list(zip(pairs[::2], pairs[1::2], strict=False))
    if len(pairs) % 2:
        raise UsageError(f"{pairs[-1][:99]!r} has no value", try_next="goaway policy set KEY VALUE KEY VALUE")
    named = [(*entry_and_key(key), value) for key, value in given]

    def edit(entries: Entries) -> Entries:
        for key, value in given:
            entries = with_value(entries, key, value)
        return entries

    what = ", ".join(f"{entry}.{name} {value}" for entry, name, value in named)
    carry_out(by, edit, f"set {what}"[:256], will_restart=will_restart)


@click.command()
@_ADDRESSES
@expires_option
@yes_option
@change_options
def allow(addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Have every module let ADDRESS alone: rate, dnsbl, greylist, protocol. A block of just it is removed."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, "no module would judge anybody"), yes=yes)
    carry_out(by, lambda entries: allowed(entries, found, row), f"allow {_few(addresses)}")


@click.command()
@_ADDRESSES
@expires_option
@yes_option
@change_options
def deny(addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Refuse ADDRESS, whatever else is said of it; --note becomes part of the answer."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, "everybody would be refused, exempt or not"), yes=yes)
    carry_out(by, lambda entries: denied(entries, found, row), f"deny {_few(addresses)}")


@click.command()
@_MODULE
@_ADDRESSES
@expires_option
@yes_option
@change_options
def exempt(
    module: Module, addresses: tuple[str, ...], expires: str | None, yes: bool, **flags: Unpack[ChangeFlags]
) -> None:
    """Have one MODULE let ADDRESS alone; the others still judge it."""
    by, found = changing(flags), networks(addresses)
    row = row_of(note=by.note, by=by.by, expires=expiry(expires))
    ask(by, holds_everybody(found, f"{module} would judge nobody"), yes=yes)
    carry_out(
        by, lambda entries: exempted(entries, (module,), found, row), f"exempt {module} {_few(addresses)}"
    )


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@will_restart_option
@change_options
def remove(keys: tuple[str, ...], will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Take entries out: blocks/192.0.2.7, exempt/rate/198.51.100.0/24; limits goes back to its defaults."""
    carry_out(
        changing(flags),
        lambda entries: removed(entries, keys),
        f"remove {_few(keys)}",
        will_restart=will_restart,
    )


@click.command()
@_MODULES
@click.option(
    "--for", "span", metavar="SPAN", default="10m", show_default=True, help="How long: 10m, 1h30m, 2d."
)
@change_options
def suspend(modules: tuple[Module, ...], span: str, **flags: Unpack[ChangeFlags]) -> None:
    """Have MODULE judge nobody for a while; it comes back by itself."""
    by = changing(flags)
    names = " ".join(modules)
    until = Instant(now() + span_s(span, flag="--for") * MICROSECONDS)
    carry_out(
        by,
        lambda entries: suspended(entries, modules, until=until, note=by.note, by=by.by),
        f"suspend {names} for {span}",
        done=[f"It comes back by itself at {rfc3339(until)}; before that: goaway resume {names}"],
    )


@click.command()
@_MODULES
@change_options
def resume(modules: tuple[Module, ...], **flags: Unpack[ChangeFlags]) -> None:
    """End the suspension of MODULE at once."""
    carry_out(changing(flags), lambda entries: resumed(entries, modules), f"resume {' '.join(modules)}")


@click.command()
@click.argument("number", type=click.IntRange(1))
@will_restart_option
@change_options
def undo(number: int, will_restart: bool, **flags: Unpack[ChangeFlags]) -> None:
    """Take change NUMBER back: its entries become what they were before it.

    What a later change did to the same entries is never lost: then nothing is changed, and that is said. The
    first change is what the policy on Kafka began with, and stays.
    """
    by = changing(flags)
    _, before = in_force(by)
    check = None if will_restart else check_clients
    change = undo_change(by.kafka, number, who=by.by, note=by.note, check=check)
    _, after = in_force(by)
    say(by, Attempt(dict, before, after), change)


def _few(texts: tuple[str, ...]) -> str:
    """The first few, for the record of what was done."""
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return (" ".join(texts[:5]) + more)[:256]


COMMANDS: Final = (
    *(apply, set_value, allow, deny, exempt, remove, import_csv),
    *(suspend, resume, undo),
)
"""All of them, in the order of `goaway policy --help`."""

"""A policy by the name that a flag gives it: a file, `now`, `as-was` or `defaults`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from streams.audit.policy_history import changes, entries_at
from streams.cli.options import load_policy
from streams.config import Settings
from streams.errors import UnavailableError
from streams.model.instant import Instant
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.replay.as_was import AsWas, KnownChange
from streams.wire.policy_entries import policy_of

F = TypeVar("F", bound=Callable[..., Any])

NOW: Final = "now"
"""What holds on Kafka."""
AS_WAS: Final = "as-was"
"""Each event by the policy of its time, as ClickHouse has it."""
DEFAULTS: Final = "defaults"
"""The policy where no file is named."""
NAMES: Final = (NOW, AS_WAS, DEFAULTS)

_MOST_CHANGES: Final = 1_000_000


def policy_name_option(function: F) -> F:
    """`--policy NAME`, given as `policy_name`; empty where it is not."""
    return click.option(
        "--policy",
        "policy_name",
        default="",
        envvar="GOAWAY_POLICY",
        metavar="FILE|now|as-was|defaults",
        help="now: what is in force on Kafka; as-was: what was in force then. Without: what goaway up keeps "
        "as the policy in force, else the defaults.",
    )(function)


def kept_policy(data: Path) -> Policy:
    """What `goaway up` keeps in its data folder as the policy in force; the defaults where it keeps none."""
    kept = data / "policy.toml"
    return load_policy(kept if kept.is_file() else None)


def policy_now(settings: Settings, base: Policy, data: Path) -> Policy:
    """The policy in force on Kafka; `base` where there was no change yet."""
    from streams.policy_writer import read_policy_log

    try:
        log = read_policy_log(settings.kafka)
    except UnavailableError as error:
        kept = data / "policy.toml"
        advice = f"{error.try_next}, or {kept} in place of {NOW}" if kept.is_file() else error.try_next
        raise UnavailableError(f"the policy of now: {error.what}", try_next=advice) from error
    return policy_of(log.entries) if log.number else base


def policies_as_was(settings: Settings, base: Policy, start: Instant) -> AsWas:
    """The policies as ClickHouse has them; `base` was in force before the first change."""
    stored = settings.clickhouse
    known = [KnownChange(it.number, it.at, it.version) for it in changes(stored, limit=_MOST_CHANGES)]

    def load(change: KnownChange) -> PolicyIndex:
        return PolicyIndex(policy_of(entries_at(stored, change.at)))

    return AsWas(known, load, PolicyIndex(base), start)

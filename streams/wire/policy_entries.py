"""The policy as entries: key → row. What a file says, what `smtp.policy` carries, and the policy they make.

An entry's row is sparse: what it leaves out follows its default, or `[limits]`, also when that changes later.
Rows are values: who changes one puts another in its place. A policy does not depend on its entries' order.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.errors import PolicyError
from streams.model.policy import Limits, NetworkRule, Policy
from streams.model.schedule import Schedule
from streams.wire import policy_values as v
from streams.wire.policy_document import CHECK, check_of, document_of, rows_of
from streams.wire.policy_keys import MAX_ENTRIES, canonical_key, value_of
from streams.wire.policy_rows import NetworkPart
from streams.wire.policy_settings import with_limits
from streams.wire.policy_tables import BY_KEY
from streams.wire.policy_values import Row, RowError

Entries = dict[str, dict[str, Any]]
"""`limits`, `networks/192.0.2.0/24`, `exempt/rate/203.0.113.7`, … → row."""


def policy_of(entries: Mapping[str, Row], *, place: str = "smtp.policy") -> Policy:
    """The policy that the entries make, or `PolicyError` that names the place, the entry and the key.

    No `networks/…` entry means no network rule at all: `DEFAULT_ENTRIES` has the internal one.
    """
    if len(entries) > MAX_ENTRIES:
        raise PolicyError(f"{place}: more than {MAX_ENTRIES} entries", try_next=CHECK)
    groups: dict[str, list[Any]] = {head: [] for head in BY_KEY}
    key = ""
    try:
        for key in sorted(entries):
            groups[key.partition("/")[0]].append(value_of(key, entries[key]))
        once = {head: found[0] for head, found in groups.items() if found and not BY_KEY[head].named_by}
        limits: Limits = once.pop("limits", Limits())
        networks = []
        for part in groups.pop("networks"):
            key = f"networks/{v.network_text(part.network)}"
            networks.append(_rule(part, limits))
        for schedule in groups["schedules"]:
            key = f"schedules/{schedule.name}"
            _check_schedule(schedule, limits, networks)
    except RowError as error:
        raise PolicyError(f"{place}: {key}: {error.what}", try_next=error.try_next or CHECK) from error
    except KeyError as error:
        raise PolicyError(f"{place}: {key[:99]!r} is no key of an entry", try_next=CHECK) from error
    values: dict[str, Any] = {
        BY_KEY[head].name: tuple(found) for head, found in groups.items() if BY_KEY[head].named_by
    }
    return Policy(limits=limits, networks=tuple(networks), **once, **values)


def _rule(part: NetworkPart, limits: Limits) -> NetworkRule:
    return NetworkRule(
        network=part.network,
        name=part.name,
        limits=with_limits(limits, dict(part.overrides)),
        internal=part.internal,
    )


def _check_schedule(schedule: Schedule, limits: Limits, networks: Iterable[NetworkRule]) -> None:
    """Its limits go together with those that they are put over."""
    overrides = dict(schedule.overrides)
    if overrides.keys().isdisjoint(("cool_down_s", "cool_down_max_s", "cool_down_growth")):
        return
    if not schedule.networks:
        with_limits(limits, overrides)
        return
    for rule in networks:
        if rule.network in schedule.networks:
            with_limits(rule.limits, overrides)


def check_change(entries: Mapping[str, Row], changed: Iterable[str], *, place: str = "smtp.policy") -> None:
    """As `policy_of` checks, where all entries but the changed ones were good before: costs what changed."""
    changed = list(changed)
    if len(entries) > MAX_ENTRIES:
        raise PolicyError(f"{place}: more than {MAX_ENTRIES} entries", try_next=CHECK)
    for key in changed:
        if key in entries:
            try:
                value_of(key, entries[key])
            except RowError as error:
                raise PolicyError(
                    f"{place}: {key}: {error.what}", try_next=error.try_next or CHECK
                ) from error
    if any(key.partition("/")[0] in _TOGETHER for key in changed):
        policy_of({k: row for k, row in entries.items() if k.partition("/")[0] in _TOGETHER}, place=place)


_TOGETHER: Final = ("limits", "networks", "schedules")
"""Entries whose values must fit each other."""


def canonical(entries: Mapping[str, Row], *, place: str = "smtp.policy") -> Entries:
    """The same entries with keys and times in their one spelling; `PolicyError` where one cannot be read."""
    found: Entries = {}
    for key, row in entries.items():
        try:
            spelt = v.canonical_row(row)
            if spelt or "/" in key:
                found[canonical_key(key)] = spelt
        except RowError as error:
            raise PolicyError(f"{place}: {key}: {error.what}", try_next=error.try_next or CHECK) from error
    return found


def entries_of(text: str, *, file: str = "policy.toml") -> Entries:
    """The entries of a `policy.toml`, checked alone and together; `PolicyError` names file, table and key.

    Of entries that stand twice the last one counts. A file that names no networks has the internal one.
    """
    entries = {placed.key: placed.row for placed in rows_of(text, file=file)}
    try:
        policy_of(entries, place=file)
    except PolicyError as error:
        if error.try_next != CHECK:
            raise
        raise PolicyError(error.what, try_next=check_of(file)) from error
    return entries


def toml_of(entries: Mapping[str, Row]) -> str:
    """The entries as TOML that `entries_of` reads back to equal ones, in an order for people."""
    return document_of(entries)


DEFAULT_ENTRIES: Final = entries_of("")
"""What an empty file says: the internal network, and defaults. A value: copy it before changing it."""

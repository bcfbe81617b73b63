"""`policy.toml` ↔ the policy, whole."""

from typing import Any, Final

import msgspec

from streams.model.client import ClientPrefixes
from streams.model.instant import rfc3339
from streams.model.modules import Partner, Zone
from streams.model.policy import Block, Exemption, NetworkRule, Policy, Suspension
from streams.model.schedule import Schedule
from streams.wire.policy_entries import Entries, entries_of, policy_of, toml_of
from streams.wire.policy_keys import block_key, exempt_key, network_key
from streams.wire.policy_rows import WEEKDAYS
from streams.wire.policy_values import Row, clock, network_text

MAX_POLICY_BYTES: Final = 16 * 1024 * 1024


def read_policy(text: str, *, file: str = "policy.toml") -> Policy:
    """The policy, or `PolicyError` that names the file, the table and the key."""
    return policy_of(entries_of(text, file=file), place=file)


def write_policy(policy: Policy) -> str:
    """The policy as TOML, with every default written out.

    `read_policy` reads it back to an equal one, with its entries in the order of their keys.
    """
    return toml_of(entries_from(policy))


def entries_from(policy: Policy) -> Entries:
    """The entries of a policy with every value written out; `policy_of` makes an equal policy of them."""
    entries: Entries = {"limits": _fields(policy.limits), "clients": _prefixes(policy.clients)}
    for head in ("reputation", "greylist", "protocol", "notify", "replies"):
        entries[head] = _fields(getattr(policy, head))
    entries["shadow"] = {"rules": list(policy.shadow)}
    for listed in (
        *(policy.networks, policy.exemptions, policy.blocks, policy.zones),
        *(policy.partners, policy.suspensions, policy.schedules),
    ):
        entries.update(entry_of(value) for value in listed)
    return entries


def entry_of(
    value: NetworkRule | Exemption | Block | Zone | Partner | Suspension | Schedule,
) -> tuple[str, Row]:
    """Key and row of one entry; what is empty is left out, the limits of a network are written out."""
    match value:
        case NetworkRule():
            row = {"name": value.name, "internal": value.internal, **_fields(value.limits)}
            return network_key(value.network), row
        case Exemption():
            return exempt_key(value.module, value.network), _note(value)
        case Block():
            return block_key(value.network), _note(value)
        case Suspension():
            return f"suspend/{value.module}", {"until": rfc3339(value.until), **_note(value)}
        case Partner():
            return f"partners/{value.address}", {"name": value.name} if value.name else {}
        case Zone():
            row = _fields(value)
            del row["domain"]
            row["codes"] = {network_text(code): weight for code, weight in value.codes}
            return f"zones/{value.domain}", row
        case Schedule():
            return f"schedules/{value.name}", _schedule(value)


def _note(value: Exemption | Block | Suspension) -> Row:
    row: Row = {}
    if value.note:
        row["note"] = value.note
    if not isinstance(value, Suspension) and value.expires is not None:
        row["expires"] = rfc3339(value.expires)
    if value.by:
        row["by"] = value.by
    return row


def _schedule(value: Schedule) -> Row:
    return {
        "timezone": value.timezone,
        "months": list(value.months),
        "days": list(value.days),
        "weekdays": [WEEKDAYS[day] for day in value.weekdays],
        "from": clock(value.from_minute),
        "to": clock(value.to_minute),
        "networks": [network_text(network) for network in value.networks],
        **dict(value.overrides),
    }


def _prefixes(clients: ClientPrefixes) -> Row:
    return {"ipv4_prefix": clients.ipv4, "ipv6_prefix": clients.ipv6}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    found = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

"""What a change of the policy does, in words, line by line."""

from collections.abc import Mapping
from typing import Any, Final

from streams.model.modules import Zone
from streams.model.policy import Policy
from streams.model.schedule import Schedule
from streams.wire.policy_document import toml
from streams.wire.policy_settings import LIMITS
from streams.wire.policy_tables import BY_KEY, TABLES
from streams.wire.policy_toml import entries_from, entry_of
from streams.wire.policy_values import Row

_ORDER: Final = {table.key: place for place, table in enumerate(TABLES)}
_DEFAULTS: Final[dict[str, Row]] = {
    **entries_from(Policy(networks=())),
    "networks": {"name": "", "internal": False},
    "zones": entry_of(Zone(domain="x"))[1],
    "partners": {"name": ""},
    "schedules": entry_of(Schedule(name="x"))[1],
}


def differences(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[str]:
    """What is new, removed and changed, in the order of the tables; nothing where the entries are equal.

    `limits: requests_per_minute 20 → 40`, `new exemption from rate for 203.0.113.0/24 (monitoring)`,
    `removed block of 192.0.2.7`. Lines about one entry have their keys in a column.
    """
    lines: list[str] = []
    differing = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    for key in sorted(differing, key=lambda key: (_ORDER[key.partition("/")[0]], key)):
        old, new = before.get(key), after.get(key)
        if "/" not in key or (old is not None and new is not None):
            lines += _changes(key, old or {}, new or {})
        elif new is not None:
            lines.append(f"new {named(key, new)}{_details(key, new)}")
        else:
            lines.append(f"removed {named(key, old or {})}")
    return lines


def named(key: str, row: Row) -> str:
    """An entry in words: `exemption from rate for 203.0.113.0/24 (monitoring)`."""
    head, _, name = key.partition("/")
    remark = row.get("note") or row.get("name") or ""
    said = f" ({escaped(str(remark))})" if remark else ""
    match head:
        case "exempt":
            module, _, address = name.partition("/")
            return f"exemption from {module} for {address}{said}"
        case "blocks":
            return f"block of {name}{said}"
        case "suspend":
            return f"suspension of {name}{said}"
        case "networks" | "zones" | "partners" | "schedules":
            return f"{head.removesuffix('s')} {name}{said}"
        case _:
            return head


def escaped(text: str) -> str:
    """A note without what a terminal would obey."""
    return "".join(it if it.isprintable() else it.encode("unicode_escape").decode("ascii") for it in text)


def _details(key: str, row: Row) -> str:
    """What else a new entry says."""
    order = BY_KEY[key.partition("/")[0]].keys
    rest = [f"{name} {_value(row[name])}" for name in order if name in row and name not in ("note", "name")]
    return f": {', '.join(rest)}" if rest else ""


def _changes(key: str, old: Row, new: Row) -> list[str]:
    head = key.partition("/")[0]
    order = [name for name in BY_KEY[head].keys if name in old or name in new]
    changed = [name for name in order if (name in old, old.get(name)) != (name in new, new.get(name))]
    width = max((len(name) for name in changed), default=0)
    subject = named(key, {})
    return [f"{subject}: {name:<{width}} {_change(head, name, old, new)}" for name in changed]


def _change(head: str, name: str, old: Row, new: Row) -> str:
    was, becomes = (_shown(head, name, row) for row in (old, new))
    if was != becomes:
        return f"{was} → {becomes}"
    return f"{becomes}, now written out" if name in new else f"{becomes}, no longer written out"


def _shown(head: str, name: str, row: Row) -> str:
    if name in row:
        return _value(row[name])
    if name in LIMITS and head in ("networks", "schedules"):
        return "as in [limits]" if head == "networks" else "unchanged"
    default = _DEFAULTS.get(head, {}).get(name)
    return "none" if default is None or default == "" else _value(default)


def _value(value: Any) -> str:
    if value in ("", [], {}, None):
        return "none"
    return escaped(value) if isinstance(value, str) else escaped(toml(value))

"""What the commands do to the policy's entries: each takes entries and returns new ones, and alters none."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from streams.cli.policy_csv import Row
from streams.errors import InvalidValueError, PolicyError, UsageError
from streams.model.client import Network
from streams.model.instant import Instant, rfc3339
from streams.model.policy import MODULES, Module
from streams.wire.policy_entries import Entries, canonical
from streams.wire.policy_keys import block_key, canonical_key, exempt_key
from streams.wire.policy_tables import BY_KEY
from streams.wire.policy_values import RowError, read_network

_HEAD: Final = re.compile(r"([a-z]+)[./]?")
_MODULE: Final = re.compile(rf"({'|'.join(MODULES)})[./]")
DEFAULT: Final = "default"
"""The VALUE that takes a key back to what it is by itself."""


def networks(texts: Iterable[str]) -> list[Network]:
    """Addresses and CIDRs of the command line, or `UsageError`; a range is answered with its CIDRs."""
    found = []
    for text in texts:
        try:
            found.append(read_network(text))
        except InvalidValueError as error:
            raise UsageError(error.what, try_next=error.try_next) from error
    return found


def row_of(*, note: str = "", by: str = "", expires: Instant | None = None) -> dict[str, Any]:
    """The row of an exemption or a block; what is empty is left out."""
    row: dict[str, Any] = {"note": note} if note else {}
    if by:
        row["by"] = by
    if expires is not None:
        row["expires"] = rfc3339(expires)
    return row


def exempted(
    entries: Entries, modules: Iterable[Module], found: Iterable[Network], row: Mapping[str, Any]
) -> Entries:
    """These modules let these addresses alone."""
    added = {exempt_key(module, network): dict(row) for network in found for module in modules}
    return canonical({**entries, **added})


def allowed(entries: Entries, found: Iterable[Network], row: Mapping[str, Any]) -> Entries:
    """Every module lets them alone, and no block entry for exactly them stands."""
    found = list(found)
    blocked = {block_key(network) for network in found}
    kept = {key: held for key, held in entries.items() if key not in blocked}
    return exempted(kept, MODULES, found, row)


def denied(entries: Entries, found: Iterable[Network], row: Mapping[str, Any]) -> Entries:
    """They are refused, whatever exemptions say."""
    return canonical({**entries, **{block_key(network): dict(row) for network in found}})


def imported(entries: Entries, rows: Iterable[Row], kind: str, *, by: str, note: str = "") -> Entries:
    """The rows of a CSV, each as its own column or else `kind` says; the last of equal ones counts.

    `by` and `note` are of those that have none of their own. A block beside exemptions from single modules is
    both; of `allow` and `deny` for the same address the later row alone is left.
    """
    added: Entries = {}
    dropped: set[str] = set()
    allowed_rows: set[Network] = set()
    for row in rows:
        content = row_of(note=row.note or note, by=row.by or by, expires=row.expires)
        match row.kind or kind:
            case "deny":
                added[block_key(row.network)] = content
                if row.network in allowed_rows:
                    allowed_rows.remove(row.network)
                    for module in MODULES:
                        del added[exempt_key(module, row.network)]
            case "allow":
                dropped.add(block_key(row.network))
                added.pop(block_key(row.network), None)
                added |= {exempt_key(module, row.network): content for module in MODULES}
                allowed_rows.add(row.network)
            case exempt:
                module = next(module for module in MODULES if exempt == f"exempt:{module}")
                added[exempt_key(module, row.network)] = content
    kept = {key: held for key, held in entries.items() if key not in dropped}
    return {**kept, **canonical(added)}


def suspended(entries: Entries, modules: Iterable[Module], *, until: Instant, note: str, by: str) -> Entries:
    """These modules judge nobody until then."""
    row = {"until": rfc3339(until), **row_of(note=note, by=by)}
    return canonical({**entries, **{f"suspend/{module}": dict(row) for module in modules}})


def removed(entries: Entries, keys: Iterable[str]) -> Entries:
    """Without these entries; one that is not there is a `UsageError` that names its neighbours."""
    left = dict(entries)
    for key in keys:
        try:
            found = canonical_key(key)
        except RowError as error:
            raise UsageError(
                f"{key[:99]}: {error.what}", try_next="goaway policy show --live --keys"
            ) from error
        if found not in left:
            near = get_close_matches(found, left, n=2, cutoff=0.7)
            also = f"; it has {' and '.join(near)}" if near else ""
            raise UsageError(
                f"the policy has no entry {found}{also}",
                try_next=f"goaway policy remove {near[0]}" if near else "goaway policy show --live --keys",
            )
        del left[found]
    return left


def resumed(entries: Entries, modules: Iterable[Module]) -> Entries:
    """Without the suspensions of these modules."""
    gone = {f"suspend/{module}" for module in modules}
    return {key: row for key, row in entries.items() if key not in gone}


def applied(entries: Entries, whole: Entries) -> Entries:
    """The whole file, and the suspensions in force: those end by themselves, or by `resume`."""
    standing = {key: row for key, row in entries.items() if key.startswith("suspend/")}
    return {**standing, **whole}


def with_value(entries: Entries, key: str, text: str) -> Entries:
    """One key of one entry set (`limits.requests_per_minute`, `networks/192.0.2.0/24.name`)."""
    entry, name = entry_and_key(key)
    row = dict(entries.get(entry, {}))
    if text == DEFAULT:
        row.pop(name, None)
    else:
        row[name] = value_of_text(text)
    try:
        return canonical({**entries, entry: row}, place="")
    except PolicyError as error:
        raise UsageError(error.what.lstrip(": "), try_next=error.try_next) from error


def entry_and_key(key: str) -> tuple[str, str]:
    """`networks.192.168.1.0/24.requests_per_minute` → (`networks/192.168.1.0/24`, `requests_per_minute`)."""
    found = _HEAD.match(key)
    table = BY_KEY.get(found[1]) if found else None
    if found is None or table is None:
        near = get_close_matches(key.partition(".")[0], BY_KEY, n=1)
        raise UsageError(
            f"{key[:99]!r} begins with no table of the policy ({', '.join(BY_KEY)})",
            try_next=f"goaway policy set {near[0] if near else 'limits'}.KEY VALUE",
        )
    rest = key[found.end() :]
    if not table.named_by:
        entry, name = found[1], rest
    else:
        about, _, name = rest.rpartition(".")
        if found[1] == "exempt":
            about = _MODULE.sub(r"\1/", about, count=1)
        entry = f"{found[1]}/{about}"
    if name not in table.keys:
        near = get_close_matches(name, table.keys, n=1)
        known = f"did you mean {near[0]}?" if near else f"known are {', '.join(table.keys)}"
        raise UsageError(f"{key[:99]!r}: {name[:64]!r} is no key of {found[1]}; {known}")
    try:
        return canonical_key(entry), name
    except RowError as error:
        raise UsageError(f"{key[:99]}: {error.what}", try_next=error.try_next) from error


def value_of_text(text: str) -> Any:
    """A value as TOML writes it (`40`, `0.8`, `true`, `["a"]`, `"x"`); what is none of these is a text."""
    try:
        value = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    found = value.get("value") if len(value) == 1 else None
    return found if isinstance(found, (bool, int, float, str, list, dict)) else text

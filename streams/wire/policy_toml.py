"""`policy.toml` ↔ the policy. A key that is not known is an error that names its neighbours."""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec

from streams.errors import InvalidValueError, PolicyError
from streams.model.client import ClientPrefixes, Network, parse_network
from streams.model.instant import Instant, instant_of, parse_instant, rfc3339
from streams.model.policy import INTERNAL, MODULES, Block, Exemption, Limits, NetworkRule, Policy, Replies

T = TypeVar("T")

MAX_POLICY_BYTES: Final = 16 * 1024 * 1024
_CHECK: Final = "goaway policy check"
_TABLES: Final = ("limits", "clients", "networks", "exemptions", "blocks", "replies")
_POSITIVE: Final = frozenset(
    {
        "concurrent_connections",
        "requests_per_minute",
        "connections_per_minute",
        "cool_down_s",
        "cool_down_max_s",
        "session_idle_s",
    }
)
_MAX: Final = 10_000_000
_MAX_IDLE_S: Final = 43_200
"""A restarted worker counts twice this time again, and decisions are kept uncompacted for a day."""


def read_policy(text: str, *, file: str = "policy.toml") -> Policy:
    """The policy, or `PolicyError` that names the file, the table and the key."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"{file}: {error}", try_next=_CHECK) from error
    reader = _Reader(file)
    reader.only_known("", document, _TABLES)
    limits = reader.limits("[limits]", reader.table(document, "limits"), Limits())
    networks: tuple[NetworkRule, ...] = (_internal(limits),)
    if "networks" in document:
        networks = tuple(
            reader.entries(document, "networks", lambda at, row: reader.network(at, row, limits))
        )
    return Policy(
        limits=limits,
        clients=reader.clients(reader.table(document, "clients")),
        networks=networks,
        exemptions=tuple(reader.entries(document, "exemptions", reader.exemption)),
        blocks=tuple(reader.entries(document, "blocks", reader.block)),
        replies=reader.replies(reader.table(document, "replies")),
    )


def _internal(limits: Limits) -> NetworkRule:
    """The rule of a file that names no networks: the internal one, with the file's other limits."""
    raised = ("concurrent_connections", "requests_per_minute", "connections_per_minute")
    own = {name: getattr(INTERNAL.limits, name) for name in raised}
    return msgspec.structs.replace(INTERNAL, limits=msgspec.structs.replace(limits, **own))


class _Reader:
    """Reads tables into values; knows the file's name, for errors."""

    def __init__(self, file: str) -> None:
        self._file = file

    def wrong(self, place: str, what: str) -> PolicyError:
        return PolicyError(f"{self._file}: {place} {what}".replace("  ", " "), try_next=_CHECK)

    def only_known(self, place: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                advice = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise self.wrong(place, f"{key[:64]!r} is not known{advice}")

    def table(self, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        found = document.get(name, {})
        if not isinstance(found, dict):
            raise self.wrong(f"[{name}]", "must be a table")
        return found

    def entries(self, document: Mapping[str, Any], name: str, read: Any) -> list[Any]:
        rows = document.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.wrong(f"[[{name}]]", "must be a list of tables")
        return [read(f"[[{name}]] entry {number}:", row) for number, row in enumerate(rows, start=1)]

    def limits(self, place: str, row: Mapping[str, Any], base: Limits, also: Sequence[str] = ()) -> Limits:
        """`base` with what the row overrides."""
        self.only_known(place, row, (*also, *Limits.__struct_fields__))
        changed: dict[str, int | float] = {}
        for name in Limits.__struct_fields__:
            if name in row:
                changed[name] = self._number(place, name, row[name])
        limits = msgspec.structs.replace(base, **changed)
        if limits.cool_down_growth > 1 and limits.cool_down_max_s < limits.cool_down_s:
            raise self.wrong(place, f"cool_down_max_s = {limits.cool_down_max_s} is under cool_down_s")
        return limits

    def _number(self, place: str, name: str, value: object) -> int | float:
        if name in ("cool_down_growth", "warn_at"):
            low, high = (1.0, 100.0) if name == "cool_down_growth" else (0.0, 1.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise self.wrong(place, f"{name} = {_shown(value)} must be a number from {low:g} to {high:g}")
            return float(value)
        least, most = 1 if name in _POSITIVE else 0, _MAX_IDLE_S if name == "session_idle_s" else _MAX
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            word = "positive" if least else "zero or more"
            raise self.wrong(place, f"{name} = {_shown(value)} must be {word}, a whole number up to {most}")
        return value

    def clients(self, row: Mapping[str, Any]) -> ClientPrefixes:
        self.only_known("[clients]", row, ("ipv4_prefix", "ipv6_prefix"))
        lengths = {"ipv4_prefix": 32, "ipv6_prefix": 64} | dict(row)
        for name, value in lengths.items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.wrong("[clients]", f"{name} = {_shown(value)} must be a whole number")
        try:
            return ClientPrefixes(ipv4=lengths["ipv4_prefix"], ipv6=lengths["ipv6_prefix"])
        except InvalidValueError as error:
            raise self.wrong("[clients]", error.what) from error

    def network(self, place: str, row: Mapping[str, Any], base: Limits) -> NetworkRule:
        limits = self.limits(place, row, base, also=("cidr", "name"))
        return NetworkRule(
            network=self._network(place, row, "cidr"), name=self._text(place, row, "name"), limits=limits
        )

    def exemption(self, place: str, row: Mapping[str, Any]) -> Exemption:
        self.only_known(place, row, ("module", "address", "note", "expires"))
        module = self._text(place, row, "module", required=True)
        if module not in MODULES:
            raise self.wrong(place, f"module = {module[:32]!r} is none of {', '.join(MODULES)}")
        return Exemption(
            module=next(known for known in MODULES if known == module),
            network=self._network(place, row, "address"),
            note=self._text(place, row, "note"),
            expires=self._instant(place, row, "expires"),
        )

    def block(self, place: str, row: Mapping[str, Any]) -> Block:
        self.only_known(place, row, ("address", "note"))
        return Block(network=self._network(place, row, "address"), note=self._text(place, row, "note"))

    def replies(self, row: Mapping[str, Any]) -> Replies:
        self.only_known("[replies]", row, Replies.__struct_fields__)
        changed: dict[str, Any] = {}
        for name, value in row.items():
            if name.endswith("_code"):
                if isinstance(value, bool) or not isinstance(value, int) or not 500 <= value <= 599:
                    raise self.wrong("[replies]", f"{name} = {_shown(value)} must be from 500 to 599")
                changed[name] = value
            else:
                text = self._text("[replies]", row, name, required=True)
                if not (text.isascii() and text.isprintable()):
                    raise self.wrong("[replies]", f"{name} must be printable ASCII (RFC 5321, 4.2)")
                changed[name] = text
        return Replies(**changed)

    def _text(self, place: str, row: Mapping[str, Any], name: str, *, required: bool = False) -> str:
        value = row.get(name, "")
        if not isinstance(value, str) or len(value) > 256 or (required and not value):
            raise self.wrong(place, f"{name} = {_shown(value)} must be a text of up to 256 characters")
        return value

    def _network(self, place: str, row: Mapping[str, Any], name: str) -> Network:
        value = self._text(place, row, name, required=True)
        try:
            return parse_network(value)
        except InvalidValueError as error:
            raise PolicyError(
                f"{self._file}: {place} {name} = {error.what}", try_next=error.try_next or _CHECK
            ) from error

    def _instant(self, place: str, row: Mapping[str, Any], name: str) -> Instant | None:
        value = row.get(name)
        if value is None:
            return None
        try:
            if isinstance(value, datetime):
                return instant_of(value)
            if isinstance(value, date):
                return parse_instant(f"{value.isoformat()}T00:00:00Z")
            if isinstance(value, str):
                return parse_instant(value)
        except InvalidValueError as error:
            raise self.wrong(place, f"{name}: {error.what}") from error
        raise self.wrong(place, f"{name} = {_shown(value)} must be a time such as 2026-12-31T23:59:59Z")


def _shown(value: object) -> str:
    return repr(value)[:64]


def write_policy(policy: Policy) -> str:
    """The policy as TOML that `read_policy` reads back to an equal one."""
    lines = ["[limits]", *_limit_lines(policy.limits), "", "[clients]"]
    lines += [f"ipv4_prefix = {policy.clients.ipv4}", f"ipv6_prefix = {policy.clients.ipv6}"]
    lines += ["", "[replies]", *(f"{name} = {_toml(value)}" for name, value in _fields(policy.replies))]
    if not policy.networks:
        lines = ["networks = []", "", *lines]
    for rule in policy.networks:
        lines += ["", "[[networks]]", f"cidr = {_toml(str(rule.network))}", f"name = {_toml(rule.name)}"]
        lines += _limit_lines(rule.limits)
    for exemption in policy.exemptions:
        lines += ["", "[[exemptions]]", f"module = {_toml(exemption.module)}"]
        lines += [f"address = {_toml(str(exemption.network))}", f"note = {_toml(exemption.note)}"]
        if exemption.expires is not None:
            lines.append(f"expires = {rfc3339(exemption.expires)}")
    for block in policy.blocks:
        lines += ["", "[[blocks]]", f"address = {_toml(str(block.network))}", f"note = {_toml(block.note)}"]
    return "\n".join(lines) + "\n"


def _fields(struct: Limits | Replies) -> list[tuple[str, object]]:
    return [(name, getattr(struct, name)) for name in struct.__struct_fields__]


def _limit_lines(limits: Limits) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in _fields(limits)]


def _toml(value: object) -> str:
    """A number, or a text as a TOML basic string (JSON's escapes are TOML's, and DEL is escaped too)."""
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return repr(value)

"""Exemptions that nobody needs any more: whose addresses were not seen for long, or that have expired."""

from collections.abc import Sequence
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import network_of, within_sql
from streams.audit.proposals import Proposal
from streams.audit.stored import NO_CLIENTS_DOING, bounds, clients_holding
from streams.model.client import Network, shown
from streams.model.instant import MICROSECONDS, rfc3339
from streams.model.policy import Exemption
from streams.wire.policy_keys import exempt_key

_DAY_US: Final = 86_400 * MICROSECONDS
_CLIENT_V6: Final = 64

_SEEN: Final = """
SELECT network, toUnixTimestamp64Micro(max(last)) FROM (
    SELECT arrayJoin([{networks}]) AS network, max(t.last_at) AS last
    FROM clients_by_month AS t WHERE {among} GROUP BY network
) WHERE network IN %(networks)s GROUP BY network
"""
_SEEN_ADDRESS: Final = """
SELECT toUnixTimestamp64Micro(max(at)), count() FROM events
WHERE client IN %(clients)s AND address BETWEEN toIPv6(%(low)s) AND toIPv6(%(high)s) AND kind NOT IN %(none)s
"""
_ADDED: Final = """
SELECT key, toUnixTimestamp64Micro(max(at)) FROM policy_log
WHERE startsWith(key, 'exempt/') AND NOT deleted GROUP BY key
"""
_SINCE: Final = "SELECT toUnixTimestamp64Micro(min(first_at)), count() FROM clients_by_month"


def stale(
    clickhouse: ClickHouse, exemptions: Sequence[Exemption], at: int, days: int
) -> tuple[list[Proposal], str]:
    """Proposals to remove, and what to know about them in words (empty: nothing).

    An exemption made within these days is left alone; so is every one where records do not reach back far
    enough to know.
    """
    found = [_expired(entry) for entry in exemptions if entry.expires is not None and entry.expires <= at]
    standing = [entry for entry in exemptions if entry.expires is None or entry.expires > at]
    if not standing:
        return found, ""
    since, count = clickhouse.rows(_SINCE)[0]
    horizon = at - days * _DAY_US
    if not count or since > horizon:
        from_when = rfc3339(since)[:10] if count else "nowhere"
        return (
            found,
            f"records begin {from_when}: too late to say which exemptions were not used for {days} days",
        )
    added = {str(key): int(when) for key, when in clickhouse.rows(_ADDED)}
    last = _last_seen(clickhouse, {entry.network for entry in standing}, horizon)
    for entry in standing:
        key = exempt_key(entry.module, entry.network)
        seen = last.get(entry.network, 0)
        if seen <= horizon and added.get(key, 0) <= horizon:
            found.append(_unused(entry, key, seen, added.get(key), days))
    return found, ""


def _last_seen(clickhouse: ClickHouse, networks: set[Network], horizon: int) -> dict[Network, int]:
    """When somebody of each network was last seen; absent: never. Looked up for all networks at once."""
    found: dict[Network, int] = {}
    lengths = sorted(
        {(it.version, it.prefixlen) for it in networks if it.version == 4 or it.prefixlen <= _CLIENT_V6}
    )
    if lengths:
        columns = [
            f"if(position(t.client, ':') > 0, '', {network_of('t.client', length, 48)})"
            if version == 4
            else f"if(position(t.client, ':') > 0, {network_of('t.client', 24, length)}, '')"
            for version, length in lengths
        ]
        by_text = {str(it): it for it in networks}
        among = within_sql("t.client", [it for it in networks if (it.version, it.prefixlen) in lengths])
        query = _SEEN.format(networks=", ".join(columns), among=among)
        rows = clickhouse.rows(query, {"networks": tuple(by_text)})
        found = {by_text[str(text)]: int(last) for text, last in rows}
    for it in networks:
        if it.version == 6 and it.prefixlen > _CLIENT_V6:
            found |= _of_address(clickhouse, it)
    return found


def _of_address(clickhouse: ClickHouse, network: Network) -> dict[Network, int]:
    low, high = bounds(network)
    clients: Any = clients_holding(network)
    if not clients:
        return {}
    parameters = {"clients": tuple(clients), "low": low, "high": high, "none": NO_CLIENTS_DOING}
    last, count = clickhouse.rows(_SEEN_ADDRESS, parameters)[0]
    return {network: int(last)} if count else {}


def _expired(entry: Exemption) -> Proposal:
    key = exempt_key(entry.module, entry.network)
    assert entry.expires is not None
    why = f"has no effect any more: it expired on {rfc3339(entry.expires)[:10]}"
    return Proposal("remove", key, why, _about(entry), f"goaway policy remove {key}")


def _unused(entry: Exemption, key: str, seen: int, added: int | None, days: int) -> Proposal:
    last = f"last seen on {rfc3339(seen)[:10]}" if seen else "never seen in what is stored"
    why = f"not used for {days} days: {shown(entry.network)} was {last}"
    evidence = _about(entry) | ({"last seen": rfc3339(seen)} if seen else {})
    evidence |= {"added": rfc3339(added)} if added else {}
    return Proposal("remove", key, why, evidence, f"goaway policy remove {key}")


def _about(entry: Exemption) -> dict[str, Any]:
    found = {"module": entry.module, "note": entry.note, "by": entry.by}
    return {name: value for name, value in found.items() if value}

"""Events and decisions as they were stored, read back as the model's own values."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Network
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.errors import InvalidValueError
from streams.model.client import Address, Client, Network, parse_address
from streams.model.decision import Decision, Evidence
from streams.model.event import Event
from streams.model.instant import Instant

NO_CLIENTS_DOING: Final = ("policy", "forget", "learnt", "reputation")
"""Kinds of events that say nothing of what a client did."""

MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""Where the column `address` has IPv4."""

_EVENT_FIELDS: Final = (*Event.__struct_fields__[Event.__struct_fields__.index("session") :], "id")
_EVENT: Final = f"toUnixTimestamp64Micro(at), kind, client, toString(address), {', '.join(_EVENT_FIELDS)}"
_DECISION: Final = """toUnixTimestamp64Micro(at), toUnixTimestamp64Micro(until), action,
client, toString(address), trigger, rule, code, reason, evidence_count, evidence_limit, evidence_window_s,
evidence_network, evidence_strike, evidence_note, policy, event, session, host, shadow, triplet, pool, id"""


def events_where(
    clickhouse: ClickHouse,
    condition: str,
    parameters: Mapping[str, object],
    *,
    limit: int,
    newest: bool = False,
) -> list[Event]:
    """Events that meet an SQL condition, each id once; in the order of the log, or newest first."""
    place = "kafka_epoch, kafka_partition, kafka_offset, frame_index"
    order = "at DESC, id DESC" if newest else f"at, {place}"
    rows = clickhouse.rows(
        f"SELECT {_EVENT} FROM events WHERE {condition} ORDER BY {order} LIMIT 1 BY id LIMIT %(most)s",  # noqa: S608
        {**parameters, "most": limit},
    )
    return [_event(row) for row in rows]


def decisions_where(
    clickhouse: ClickHouse, condition: str, parameters: Mapping[str, object], *, limit: int
) -> list[Decision]:
    """Decisions that meet an SQL condition, each id once, newest first."""
    rows = clickhouse.rows(
        f"SELECT {_DECISION} FROM decisions WHERE {condition} "  # noqa: S608
        "ORDER BY at DESC, id DESC LIMIT 1 BY id LIMIT %(most)s",
        {**parameters, "most": limit},
    )
    return [_decision(row) for row in rows]


def clients_holding(network: Network) -> list[str]:
    """Every client key that an address of this network can be counted under, whatever `[clients]` says.

    Empty where there are too many: then only the address can be compared. Tables are ordered by client, so a
    list of keys is a look-up.
    """
    if network.num_addresses > 256:
        return []
    bits = network.max_prefixlen
    hosts: list[Network] = [network]
    if network.prefixlen < bits:
        hosts = list(network.subnets(new_prefix=bits))
    inner = [it for length in range(network.prefixlen + 1, bits) for it in network.subnets(new_prefix=length)]
    around = keys_around(network)
    return sorted({*(str(it.network_address) for it in hosts), *around, *map(str, inner)})


def keys_around(network: Network) -> list[str]:
    """The client keys of more than one address that this network lies in, itself among them."""
    shortest = 8 if network.version == 4 else 16
    longest = min(network.prefixlen, network.max_prefixlen - 1)
    return [str(network.supernet(new_prefix=length)) for length in range(shortest, longest + 1)]


def bounds(network: Network) -> tuple[str, str]:
    """First and last address as the column `address` holds them, IPv4 mapped."""
    first, last = network[0], network[-1]
    return (f"::ffff:{first}", f"::ffff:{last}") if network.version == 4 else (str(first), str(last))


def holds_mapped(network: Network) -> bool:
    """Whether IPv4 addresses, mapped, lie within its bounds although it is one of IPv6."""
    return isinstance(network, IPv6Network) and MAPPED.subnet_of(network)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except InvalidValueError:
        return Address(text[:64])


def _event(row: Sequence[Any]) -> Event:
    at, kind, client, address, *rest = row
    return Event(
        at=Instant(at),
        kind=kind,
        client=Client(client),
        address=_address(address),
        **dict(zip(_EVENT_FIELDS, rest, strict=True)),
    )


def _decision(row: Sequence[Any]) -> Decision:
    at, until, action, client, address, trigger, rule, code, reason, *rest = row
    (
        count,
        limit,
        window_s,
        network,
        strike,
        note,
        policy,
        event,
        session,
        host,
        shadow,
        triplet,
        pool,
        id_,
    ) = rest
    return Decision(
        id=id_,
        at=Instant(at),
        until=None if until is None else Instant(until),
        action=action,
        client=Client(client),
        address=_address(address),
        trigger=trigger,
        rule=rule,
        code=code,
        reason=reason,
        evidence=Evidence(
            count=count, limit=limit, window_s=window_s, network=network, strike=strike, note=note
        ),
        policy=policy,
        event=event,
        session=session,
        host=host,
        shadow=bool(shadow),
        triplet=triplet,
        pool=pool,
    )

"""How clients are put together in statistics, as SQL over rows of `events` or of a rollup (alias `t`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from typing import Final, Literal
from zoneinfo import ZoneInfo

from streams.model.client import Network

By = Literal["client", "network", "ptr", "host", "day", "hour", "as"]

DOMAIN: Final = "cutToFirstSignificantSubdomain(lower(argMax(named.name, named.at)))"
"""Of rows of `clients_by_month` of one client: the domain under which its newest name is registered (public
suffix list)."""
_PTRS: Final = (
    f"SELECT client, {DOMAIN} AS domain FROM clients_by_month"  # noqa: S608
    " WHERE period >= toStartOfMonth(fromUnixTimestamp64Micro(%(start)s, 'UTC'))"
    " AND period < fromUnixTimestamp64Micro(%(end)s, 'UTC')"
    " AND named.name != '' GROUP BY client"
)
_OPENINGS: Final = 300
_V4: Final = "concat(toString(tupleElement(IPv4CIDRToRange(toIPv4OrDefault({ip}), {v4}), 1)), '/{v4}')"
_V6: Final = "concat(toString(tupleElement(IPv6CIDRToRange(toIPv6OrDefault({ip}), {v6}), 1)), '/{v6}')"


@dataclass(frozen=True, slots=True)
class Grouping:
    """What makes a group. `network_v4`, `network_v6`: leading bits of `by="network"` and `by="as"`."""

    by: By = "client"
    zone: tzinfo = UTC
    """Whose days and hours."""
    network_v4: int = 24
    network_v6: int = 48

    @property
    def by_address(self) -> bool:
        """Whether groups are addresses or networks."""
        return self.by in ("client", "network")

    @property
    def by_time(self) -> bool:
        """Whether groups are days or hours."""
        return self.by in ("day", "hour")

    def joined(self, client: str) -> str:
        """What rows are joined with, by this column, for `name` to be known."""
        return f" LEFT JOIN ({_PTRS}) AS names ON names.client = {client}" if self.by == "ptr" else ""

    def name(self, at: str) -> str:
        """The group's name; `at` is the SQL of a row's instant."""
        zone = sql_zone(self.zone)
        match self.by:
            case "client":
                return "t.client"
            case "host":
                return "toString(t.host)"
            case "ptr":
                return "names.domain"
            case "day":
                return f"toString(toDate({at}, '{zone}'))"
            case "hour":
                # `%%`: parameters are filled in by the driver
                return f"formatDateTime({at}, '%%Y-%%m-%%d %%H:00', '{zone}')"
            case "network" | "as":
                return network_of("t.client", self.network_v4, self.network_v6)


def within_sql(client: str, networks: Sequence[Network]) -> str:
    """What is true of every client in one of these networks, and false of most others: by how its text
    begins, since tables are ordered by it. Of very many networks: true."""
    openings = {_opening(it) for it in networks}
    if len(openings) > _OPENINGS or "" in openings:
        return "true"
    each = (f"startsWith({client}, '{opening}')" for opening in sorted(openings))
    return f"({' OR '.join(each)})"


def inside_sql(client: str, networks: Sequence[Network]) -> str:
    """What is true of exactly the clients that lie in one of these networks, by what their text says."""
    ip = f"splitByChar('/', {client})[1]"
    each = [
        f"(isIPv{it.version}String({ip}) AND toIPv{it.version}OrDefault({ip})"
        f" BETWEEN toIPv{it.version}('{it[0]}') AND toIPv{it.version}('{it[-1]}'))"
        for it in networks
    ]
    return f"({within_sql(client, networks)} AND ({' OR '.join(each)}))"


def _opening(network: Network) -> str:
    """How the text of every address in it begins; a run of zeros is left out of IPv6."""
    text = network.network_address.exploded
    if network.version == 4:
        parts = text.split(".")[: network.prefixlen // 8]
        return ".".join(parts) + ("." if 0 < len(parts) < 4 else "")
    groups = [f"{int(it, 16):x}" for it in text.split(":")[: network.prefixlen // 16]]
    opening = "".join(f"{it}:" for it in takewhile(lambda it: it != "0", groups))
    return opening if len(groups) < 8 else opening.removesuffix(":")


def network_of(client: str, v4: int, v6: int) -> str:
    """The network of so many bits that a client lies in; a client that is no address stays what it is."""
    ip = f"splitByChar('/', {client})[1]"
    four, six = _V4.format(ip=ip, v4=v4), _V6.format(ip=ip, v6=v6)
    return f"multiIf(isIPv4String({ip}), {four}, isIPv6String({ip}), {six}, {client})"


def sql_zone(zone: tzinfo) -> str:
    """The zone's name as ClickHouse knows it; a zone that is only an offset has that."""
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key.replace("'", "").replace("\\", "")
    offset = zone.utcoffset(datetime(2026, 1, 1))  # noqa: DTZ001
    seconds = round(offset.total_seconds()) if offset else 0
    if not seconds:
        return "UTC"
    hours, rest = divmod(abs(seconds), 3600)
    return f"Fixed/UTC{'-' if seconds < 0 else '+'}{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"

"""Where a period's counts come from, as SQL: from the rollup that the period's bounds fall on, else from the
events themselves, so that every count is exact."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.grouping import DOMAIN, Grouping, inside_sql
from streams.audit.stored import NO_CLIENTS_DOING, clients_holding, keys_around
from streams.model.client import Network
from streams.model.instant import MICROSECONDS, Instant, as_datetime

COUNTERS: Final[dict[str, str]] = {
    "connections": "countIf(kind = 'connect')",
    "requests": "countIf(kind = 'mail')",
    "messages": "countIf(kind = 'message')",
    "recipients_refused": "countIf(code >= 400 AND recipient != '')",
    "bytes": "sumIf(size, kind = 'message')",
    "refusals": "countIf(code >= 400)",
    "go_aways": "countIf(trigger != '')",
    "deferrals": "countIf(code = 451 AND trigger != '')",
    "violations": "countIf(kind = 'violation')",
    "logins": "countIf(kind = 'auth')",
    "login_failures": "countIf(kind = 'auth_failure')",
}
"""Counter → how it is counted from events: as the views of the rollups do (a test holds them together)."""

_MINUTE_US: Final = 60 * MICROSECONDS
_HOUR_US: Final = 60 * _MINUTE_US
_CLIENTS: Final = "uniqExact(t.client)"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose doings are counted; empty is anybody's."""

    networks: tuple[Network, ...] = ()
    """Clients that lie in one of them, and those in which one of them lies."""
    host: str = ""


class Source:
    """Where a period's counts come from, as SQL."""

    def __init__(self, start: int, end: int, grouping: Grouping, whose: Whose, *, table: str = "") -> None:
        self.grouping: Final = grouping
        self.parameters: Final[dict[str, object]] = {
            "start": int(start),
            "end": int(end),
            "none": NO_CLIENTS_DOING,
        }
        self.condition = ""
        """What else holds for rows of events and of rollups alike."""
        if whose.networks:
            keys = {it: clients_holding(it) for it in whose.networks}
            large = [it for it, found in keys.items() if not found]
            keys |= {it: [str(it), *keys_around(it)] for it in large}
            self.parameters["clients"] = tuple(sorted({key for of in keys.values() for key in of}))
            inside = f" OR {inside_sql('t.client', large)}" if large else ""
            self.condition += f" AND (t.client IN %(clients)s{inside})"
        if whose.host:
            self.condition += " AND t.host = %(host)s"
            self.parameters["host"] = whose.host
        self.table: Final = table or table_for(start, end, grouping)

    def groups(self, columns: Sequence[str] = (), more: str = "") -> str:
        """A query: one row a group, as `row_of` takes it; or `name` and these columns. `more` is SQL."""
        wanted = columns or (*COUNTERS, "clients", "first", "last")
        shown = ", ".join(f"{self._expressions[it]} AS {it}" for it in wanted)
        return f"SELECT {self.name} AS name, {shown} {self._from}{more} GROUP BY name"

    def by_ptr(self) -> str:
        """As `groups`: each client is added up before its name is looked at, which is far less work."""
        sums = ", ".join(f"sum(each.{it})" for it in COUNTERS)
        of_client = ", ".join(f"{how} AS {it}" for it, how in self._expressions.items() if it != "clients")
        name, domain, joined = "names.domain", "''", self.grouping.joined("each.client")
        if self.table == "clients_by_month":
            name, domain, joined = "each.name", DOMAIN, ""
        return (
            f"SELECT {name} AS name, {sums}, count(), min(each.first), max(each.last) FROM ("  # noqa: S608
            f"SELECT t.client AS client, {domain} AS name, {of_client}"
            f" FROM {self.table} AS t WHERE {self._where} GROUP BY client) AS each{joined} GROUP BY name"
        )

    def total(self) -> str:
        """A query: all groups as one row, and how many there are."""
        wanted = (*COUNTERS, "clients", "first", "last")
        shown = ", ".join(
            f"{self._expressions[it] if it != 'clients' else _CLIENTS} AS {it}" for it in wanted
        )
        groups = "clients" if self.grouping.by == "client" else f"uniqExact({self.name})"
        return f"SELECT '', {shown}, {groups} {self._from}"

    def events(self) -> str:
        """A query: how many events are counted."""
        return f"SELECT {'count()' if self.table == 'events' else 'sum(t.events)'} {self._from}"

    @property
    def name(self) -> str:
        """The group's name, as SQL."""
        return self.grouping.name(self._time)

    @property
    def _time(self) -> str:
        return "t.at" if self.table == "events" else "t.period"

    @property
    def _expressions(self) -> dict[str, str]:
        of_events = self.table == "events"
        found = {it: how if of_events else f"sum(t.{it})" for it, how in COUNTERS.items()}
        found["clients"] = "toUInt64(1)" if self.grouping.by == "client" else _CLIENTS
        found["first"] = f"toUnixTimestamp64Micro(min(t.{'at' if of_events else 'first_at'}))"
        found["last"] = f"toUnixTimestamp64Micro(max(t.{'at' if of_events else 'last_at'}))"
        return found

    @property
    def _from(self) -> str:
        return f"FROM {self.table} AS t{self.grouping.joined('t.client')} WHERE {self._where}"

    @property
    def _where(self) -> str:
        more = " AND t.kind NOT IN %(none)s" if self.table == "events" else ""
        return (
            f"{self._time} >= fromUnixTimestamp64Micro(%(start)s, 'UTC')"
            f" AND {self._time} < fromUnixTimestamp64Micro(%(end)s, 'UTC'){more}{self.condition}"
        )


def countable(clickhouse: ClickHouse, start: Instant, end: Instant, whose: Whose) -> tuple[Instant, Instant]:
    """The bounds; or the whole minutes around them, where they would be counted from events and some of those
    are not stored any more, which rollups still count."""
    if table_for(start, end, Grouping("host")) != "events":
        return start, end
    wide = Instant(start - start % _MINUTE_US), Instant(end + -end % _MINUTE_US)
    counted, stored = (
        int(clickhouse.rows(it.events(), it.parameters)[0][0])
        for it in (Source(*wide, Grouping("host"), whose, table=table) for table in ("", "events"))
    )
    return wide if counted > stored else (start, end)


def table_for(start: int, end: int, grouping: Grouping) -> str:
    """The coarsest table on whose periods the bounds fall, and with them the bounds of days and hours."""
    grains = [("clients_by_hour", _HOUR_US), ("clients_by_minute", _MINUTE_US)]
    if not grouping.by_time:
        grains.insert(0, ("clients_by_day", 24 * _HOUR_US))
        if _begins_month(start) and _begins_month(end):
            return "clients_by_month"
    elif any(_offset_s(grouping, at) % 3600 for at in (start, end)):
        del grains[0]
    return next((table for table, grain in grains if start % grain == 0 == end % grain), "events")


def _begins_month(at: int) -> bool:
    moment = as_datetime(at)
    return at % (24 * _HOUR_US) == 0 and moment.day == 1


def _offset_s(grouping: Grouping, at: int) -> int:
    offset = as_datetime(at).astimezone(grouping.zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0

"""Statistics by autonomous system, with a local list of prefixes: CSV of `prefix,as,name`."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from streams.audit.clickhouse import ClickHouse
from streams.audit.counting import Source, Whose
from streams.audit.grouping import Grouping, network_of
from streams.audit.peaks import Peak, known, peaks
from streams.audit.stats import Row, Stats, are_too_many, groups_of, rank, summed, whole
from streams.errors import InvalidValueError, UnavailableError, UsageError
from streams.model.client import Address, parse_network
from streams.model.standing import PrefixMap

UNKNOWN: Final = "(in no prefix)"
_PREFIX_MOST: Final = (24, 48)
"""Longest prefixes that networks announce to each other; a list with longer ones is looked up by client."""
_PEAK_NETWORKS: Final = 4000
"""Networks whose peaks are asked for in one query; beyond them peaks are not known."""


@dataclass(frozen=True, slots=True)
class AsDatabase:
    """Which autonomous system announces an address: the most specific prefix says."""

    prefixes: PrefixMap[str]
    longest_v4: int
    longest_v6: int

    def name(self, client: str) -> str:
        """`AS64496 Example`, or `UNKNOWN`."""
        try:
            network = parse_network(client)
        except InvalidValueError:
            return UNKNOWN
        found = self.prefixes.matches(Address(str(network.network_address)))
        return found[0] if found else UNKNOWN


def read_as_database(file: Path) -> AsDatabase:
    """The prefixes of a CSV file, with or without a heading; a row that cannot be read is an error."""
    prefixes: PrefixMap[str] = PrefixMap()
    longest = {4: 0, 6: 0}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for number, row in enumerate(csv.reader(opened), 1):
                if not row or row[0].startswith("#") or (number == 1 and row[0].strip().lower() == "prefix"):
                    continue
                try:
                    network = parse_network(row[0].strip())
                    digits = row[1].strip().upper().removeprefix("AS")
                    if not digits.isdigit():
                        raise InvalidValueError(f"{row[1][:32]!r} is no AS number")
                except (InvalidValueError, IndexError) as error:
                    wrong = error.what if isinstance(error, InvalidValueError) else "has no AS number"
                    raise UsageError(
                        f"{file}: line {number}: {wrong}",
                        try_next="prefix,as,name as 192.0.2.0/24,64496,Example",
                    ) from error
                name = row[2].strip()[:80] if len(row) > 2 else ""
                prefixes.add(network, f"AS{int(digits)} {name}".strip())
                longest[network.version] = max(longest[network.version], network.prefixlen)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnavailableError(f"{file}: cannot be read ({error})", try_next=f"ls -l {file}") from error
    return AsDatabase(prefixes, longest[4], longest[6])


def stats_by_as(
    clickhouse: ClickHouse,
    start: int,
    end: int,
    database: AsDatabase,
    *,
    sort: str = "connections",
    limit: int = 50,
    whose: Whose | None = None,
) -> Stats:
    """As `stats`, by autonomous system; what lies in no prefix is a group of its own."""
    v4 = max(_PREFIX_MOST[0], min(32, database.longest_v4))
    v6 = max(_PREFIX_MOST[1], min(64, database.longest_v6))
    source = Source(start, end, Grouping("as", network_v4=v4, network_v6=v6), whose or Whose())
    members: dict[str, list[Row]] = {}
    for row in groups_of(clickhouse, source):
        members.setdefault(database.name(row.name), []).append(row)
    rows = [summed(name, group) for name, group in members.items()]
    rows.sort(key=lambda row: rank(row, sort))
    shown = rows[:limit]
    if not are_too_many(shown):
        groups = {row.name: [it.name for it in members[row.name]] for row in shown}
        found = _peaks(clickhouse, source, groups, v4, v6)
        shown = [replace(row, peak=known(found.get(row.name), row.counts["connections"])) for row in shown]
    return Stats(tuple(shown), whole(clickhouse, source, rows), len(rows))


def _peaks(
    clickhouse: ClickHouse, source: Source, groups: dict[str, list[str]], v4: int, v6: int
) -> dict[str, Peak]:
    networks: list[str] = []
    names: list[str] = []
    for name, group in groups.items():
        if len(networks) + len(group) <= _PEAK_NETWORKS:
            networks += group
            names += [name] * len(group)
    if not networks:
        return {}
    sql = f"transform({network_of('t.client', v4, v6)}, %(networks)s, %(as_names)s, '')"
    parameters = {**source.parameters, "networks": networks, "as_names": names}
    return peaks(
        clickhouse, source.grouping, parameters, source.condition, names=sorted(set(names)), name=sql
    )

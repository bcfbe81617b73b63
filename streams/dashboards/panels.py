"""What a dashboard is made of, as data: panels with their queries, variables, the time it opens with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["columns", "stats", "table", "bars"]
Point = Literal["interval", "rollup", "day"]
"""How long a point in time is: as `$__timeInterval` has it, as `activity` has it, or a day."""

COLUMNS: Final = 24
"""A row of Grafana's grid."""
ALL: Final = "*"
"""Value of a variable that names none in particular."""
OTHERS: Final = "others"
"""Name of the series of all that have none of their own: of many, the busiest have one."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel and its query (`macros.py` says what may stand in it besides ClickHouse's SQL).

    `columns` take a column `time` and numbers, a series each, or one number and the column `by`; `stats` one
    row, each column a figure; `bars` a name and a number; `table` anything.
    """

    title: str
    kind: Kind
    sql: str
    width: int
    height: int = 7
    about: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    """Column → `bytes` or `s`; numbers otherwise."""
    by: str = ""
    """Over time: the column that names a row's series, where there are as many as the data has."""
    point: Point = "interval"
    """Over time: how far apart the query's rows are."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen above the panels: a value that its query yields, or any other that is typed in."""

    name: str
    label: str
    sql: str
    with_all: bool
    """Offers all of them, and begins so; else it begins with the first."""


@dataclass(frozen=True, slots=True)
class Screen:
    """One dashboard. `uid` is its identity in Grafana and in its address."""

    uid: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = ()
    opens_with: tuple[str, str] = ("now-3h", "now")
    last_s: int = 3 * 3600
    """How much time `opens_with` is, at most."""
    refresh: str = ""
    zone: str = "browser"


CLIENT_LINK: Final = "/d/goaway-client?var-client=${__value.raw:percentencode}&${__url_time_range}"
"""Where a client's name in a table leads."""

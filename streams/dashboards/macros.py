"""The queries of the panels as plain ClickHouse SQL: what Grafana and its plugin fill in, filled in.

Known are the plugin's macros `$__fromTime`, `$__toTime`, `$__timeFilter(column)`, `$__timeInterval(column)`
and `$__interval_s`, and variables as `${name:percentencode}`. That form leaves letters, digits and `-_.~%`
only, so a value cannot end the quotes around it, whatever it holds; `decodeURLComponent('…')` makes it itself
again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from streams.errors import InvalidValueError

_MACRO: Final = re.compile(
    r"\$\{(?P<variable>\w+):percentencode\}"
    r"|\$__(?P<macro>fromTime|toTime|interval_s|timeFilter|timeInterval)\b(?:\((?P<column>\w*)\))?"
)
_INTERVALS_S: Final = (
    60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800, 2592000,
)  # fmt: skip
POINTS: Final = 120
"""How many points a panel over time asks for, so that a column stays wide enough to be seen."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time a dashboard shows: seconds since 1970, both ends in it."""

    start: int
    end: int

    @property
    def interval_s(self) -> int:
        """A round length of one point, a minute at least, as Grafana chooses it for `POINTS`, nearly."""
        rough = (self.end - self.start) / POINTS
        return next((one for one in _INTERVALS_S if one >= rough), _INTERVALS_S[-1])


def plain(sql: str, span: Span, variables: Mapping[str, str]) -> str:
    """The query with every macro and variable filled in; `InvalidValueError` names one that is not known."""
    start, end = f"toDateTime({span.start})", f"toDateTime({span.end})"

    def filled(found: re.Match[str]) -> str:
        if name := found["variable"]:
            if name not in variables:
                raise InvalidValueError(f"variable {name} has no value")
            return percent_encoded(variables[name])
        column = found["column"]
        match found["macro"]:
            case "fromTime":
                return start
            case "toTime":
                return end
            case "interval_s":
                return str(span.interval_s)
            case "timeFilter":
                return f"{column} >= {start} AND {column} <= {end}"
            case _:
                return f"toStartOfInterval(toDateTime({column}), INTERVAL {span.interval_s} second)"

    done = _MACRO.sub(filled, sql)
    if "$" in done:
        raise InvalidValueError(f"macro {done[done.index('$') :][:40]!r} is not known")
    return done


def percent_encoded(value: str) -> str:
    """As Grafana's `percentencode` writes a value: whatever is no letter, digit or one of `-_.~` as bytes."""
    return quote(value, safe="", errors="replace")

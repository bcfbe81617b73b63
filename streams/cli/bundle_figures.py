"""The statistics of a support bundle, from ClickHouse's rollups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.audit.clickhouse import ClickHouse
from streams.config import ClickHouseSettings
from streams.errors import GoawayError, UnavailableError

DAYS: Final = 31
"""Days that the statistics look back."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One table of figures."""

    name: str
    what: str
    columns: Mapping[str, str]
    """Name → SQL expression."""
    of: str
    """From where on the query goes on."""

    @property
    def query(self) -> str:
        """The whole query."""
        columns = ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items())
        return f"SELECT {columns} FROM {self.of}"  # noqa: S608 (nothing in it is anybody's input)


def _sums(*names: str) -> dict[str, str]:
    return {f"{name}_": f"sum({name})" for name in names}


FIGURES: Final = (
    Figures("storage/version.json", "ClickHouse's version", {"version_": "version()"}, "system.one"),
    Figures(
        "storage/tables.json",
        "rows and bytes of each table",
        {"table_": "table", **_sums("rows", "bytes_on_disk"), "parts_": "count()"},
        "system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table",
    ),
    Figures(
        "statistics/days.json",
        f"what happened on each of {DAYS} days",
        {
            "day_": "toString(toDate(period))",
            "clients_": "uniqExact(client)",
            **_sums("connections", "requests", "messages", "refusals", "go_aways", "deferrals", "violations"),
        },
        f"clients_by_day WHERE period >= today() - {DAYS} GROUP BY period ORDER BY period",
    ),
    Figures(
        "statistics/decisions.json",
        f"decisions and warnings of {DAYS} days by rule",
        {
            "day_": "toString(toDate(period))",
            "trigger_": "trigger",
            "rule_": "rule",
            "shadow_": "shadow",
            "clients_": "uniqExact(client)",
            **_sums("blocks", "releases", "warnings"),
        },
        f"decisions_by_day WHERE period >= today() - {DAYS}"
        " GROUP BY period, trigger, rule, shadow ORDER BY period, trigger, rule, shadow LIMIT 10000",
    ),
    Figures(
        "statistics/refused.json",
        f"the clients refused most in {DAYS} days",
        {
            "client_": "client",
            **_sums("connections", "requests", "messages", "refusals", "go_aways"),
            "last_": "toString(max(last_at))",
        },
        f"clients_by_day WHERE period >= today() - {DAYS}"
        " GROUP BY client ORDER BY refusals_ DESC, client LIMIT 200",
    ),
    Figures(
        "statistics/deadletters.json",
        f"what could not be read in {DAYS} days, by reason",
        {"reason_": "reason", "lines_": "count()", "last_": "toString(max(at))"},
        f"deadletters WHERE at >= now() - INTERVAL {DAYS} DAY GROUP BY reason ORDER BY lines_ DESC LIMIT 200",
    ),
)
"""An alias that is a column's name would stand for the column inside the query: hence the line below each."""


def figures(settings: ClickHouseSettings) -> Iterator[tuple[str, str, list[dict[str, Any]], str]]:
    """(name, what it is, rows, why there are none) of each table; nothing raises."""
    away = ""
    clickhouse = ClickHouse(settings)
    try:
        for one in FIGURES:
            rows, trouble = list[dict[str, Any]](), away
            if not away:
                try:
                    names = [name.rstrip("_") for name in one.columns]
                    rows = [dict(zip(names, row, strict=True)) for row in clickhouse.rows(one.query)]
                except UnavailableError as error:
                    away = trouble = error.what
                except GoawayError as error:
                    trouble = error.what
            yield one.name, one.what, rows, trouble
    finally:
        clickhouse.close()

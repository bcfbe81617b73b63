"""Dashboards and alert rules as Grafana takes them: JSON, built with Grafana's own builder."""

import json
from typing import Any, Final

from grafana_foundation_sdk.builders import alerting, barchart, common, expr, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as alerting_model
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from streams.dashboards.alerts import Alert
from streams.dashboards.macros import POINTS
from streams.dashboards.panels import ALL, CLIENT_LINK, Panel, Screen, Variable

Json = dict[str, Any]

FOLDER: Final = ("goaway", "Goaway")
"""Uid and title of the folder that has it all."""
SOURCE_UID: Final = "goaway-clickhouse"
SOURCE_TYPE: Final = "grafana-clickhouse-datasource"
RULE_GROUP: Final = "goaway"
_UNITS: Final = {"bytes": "bytes", "s": "s"}
_SOURCE: Final = model.DataSourceRef(type_val=SOURCE_TYPE, uid=SOURCE_UID)


class _Query:
    """A query of the ClickHouse plugin, which the builder does not know; it is its own builder."""

    def __init__(self, sql: str, *, over_time: bool, ref_id: str = "A") -> None:
        self._json: Final = {
            "refId": ref_id,
            "datasource": {"type": SOURCE_TYPE, "uid": SOURCE_UID},
            "editorType": "sql",
            "rawSql": sql,
            "queryType": "timeseries" if over_time else "table",
            "format": 0 if over_time else 1,
        }

    def build(self) -> "_Query":
        return self

    def to_json(self) -> Json:
        return self._json


def dashboard_json(screen: Screen) -> Json:
    """One dashboard; the same screen gives the same JSON."""
    board = (
        build.Dashboard(screen.title)
        .uid(screen.uid)
        .description(screen.about)
        .tags(["goaway"])
        .timezone(screen.zone)
        .time(*screen.opens_with)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("Goaway")
            .type("dashboards")
            .tags(["goaway"])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    if screen.refresh:
        board = board.refresh(screen.refresh)
    for variable in screen.variables:
        board = board.with_variable(_variable(variable))
    for number, panel in enumerate(screen.panels, start=1):
        board = board.with_panel(_panel(panel, number))
    return _json(board.build())


def rule_json(alert: Alert) -> Json:
    """One alert rule, as `/api/v1/provisioning/alert-rules` takes it."""
    above = expr.ExprTypeThresholdConditionsEvaluator().type("gt").params([alert.above])
    threshold = (
        expr.TypeThreshold()
        .ref_id("B")
        .expression("A")
        .datasource(model.DataSourceRef(type_val="__expr__", uid="__expr__"))
        .conditions([expr.ExprTypeThresholdConditions().evaluator(above)])
    )
    window = alerting_model.RelativeTimeRange(from_val=alert.window_s, to=0)
    rule = (
        alerting.Rule(alert.title)
        .uid(alert.uid)
        .folder_uid(FOLDER[0])
        .rule_group(RULE_GROUP)
        .condition("B")
        .for_val(f"{alert.for_min}m" if alert.for_min else "0s")
        .no_data_state("OK")
        .exec_err_state("Error")
        .labels({"severity": alert.severity, "service": "goaway"})
        .annotations({"summary": alert.title, "description": alert.what_to_do})
        .with_query(
            alerting.Query("A")
            .datasource_uid(SOURCE_UID)
            .relative_time_range(window)
            .model(_Query(alert.sql, over_time=False))
        )
        .with_query(
            alerting.Query("B").datasource_uid("__expr__").relative_time_range(window).model(threshold)
        )
    )
    found = _json(rule.build())
    del found["orgID"]  # that of the token
    return found


def _panel(panel: Panel, number: int) -> Any:
    if panel.kind == "columns":
        made = _over_time(panel)
    elif panel.kind == "stats":
        shown = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
        made = (
            stat.Panel()
            .reduce_options(shown)
            .graph_mode(looks.BigValueGraphMode.NONE)
            .color_mode(looks.BigValueColorMode.NONE)
        )
    elif panel.kind == "bars":
        made = (
            barchart.Panel()
            .orientation(looks.VizOrientation.HORIZONTAL)
            .show_value(looks.VisibilityMode.ALWAYS)
            .legend(common.VizLegendOptions().show_legend(False))
        )
    else:
        links = [{"title": "This client", "url": CLIENT_LINK}]
        made = table.Panel().override_by_name(
            "client", [model.DynamicConfigValue(id_val="links", value=links)]
        )
    for column, unit in panel.units.items():
        made = made.override_by_name(column, [model.DynamicConfigValue(id_val="unit", value=_UNITS[unit])])
    return (
        made.id(number)
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .height(panel.height)
        .span(panel.width)
        .with_target(_Query(panel.sql, over_time=panel.kind == "columns"))
    )


def _over_time(panel: Panel) -> Any:
    made = timeseries.Panel().min(0).decimals(0).interval("1m").max_data_points(POINTS)
    if panel.by:
        made = made.display_name(f"${{__field.labels.{panel.by}}}")
    stacked = common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A")
    return made.draw_style(looks.GraphDrawStyle.BARS).fill_opacity(80).line_width(0).stacking(stacked)


def _variable(variable: Variable) -> Any:
    made = (
        build.QueryVariable(variable.name)
        .label(variable.label)
        .query(variable.sql)
        .datasource(_SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(False)
        .include_all(variable.with_all)
    )
    if variable.with_all:
        made = made.all_value(ALL).current(model.VariableOption(selected=True, text="All", value="$__all"))
    return made


def _json(built: Any) -> Json:
    found = _without_nulls(json.loads(JSONEncoder(sort_keys=True).encode(built)))
    assert isinstance(found, dict)
    return found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value

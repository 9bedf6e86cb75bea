"""Panels and dashboards, and the JSON that Grafana reads them from.

Queries are PostgreSQL with Grafana's variables in them. ``EPOCHS`` begins most of them: the epochs
of the chosen time, and how many make a point of a plot. Times come from ``network_identity``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

SOURCE: Final = {"type": "grafana-postgresql-datasource", "uid": "valmon"}
NETWORK: Final = "${network:doublequote}"
CATEGORY: Final = "${category:sqlstring}"
VALIDATOR: Final = "${validator:sqlstring}::integer"

EPOCHS: Final = f"""WITH network AS (
  SELECT genesis_time, slots_per_epoch::bigint * slot_duration_ms AS epoch_ms
    FROM {NETWORK}.network_identity),
chosen AS (
  SELECT (extract(epoch FROM $__timeFrom()::timestamptz) - genesis_time) * 1000 / epoch_ms AS first,
         (extract(epoch FROM $__timeTo()::timestamptz) - genesis_time) * 1000 / epoch_ms AS last,
         greatest(1, ($__interval_ms / epoch_ms)::integer) AS step
    FROM network)
"""
IN_TIME: Final = (
    "epoch BETWEEN (SELECT greatest(0, floor(first))::integer FROM chosen) "
    "AND (SELECT least(floor(last), 2147483647)::integer FROM chosen)"
)
POINT: Final = "epoch / (SELECT step FROM chosen) * (SELECT step FROM chosen)"


def time_of(epoch: str) -> str:
    """The start of an epoch as a moment, where ``network`` is among the sources."""
    return f"to_timestamp(genesis_time + ({epoch})::bigint * epoch_ms / 1000.0)"


def over_time(columns: str, source: str, where: str = "true", also: str = "") -> str:
    """A point per so many epochs that the plot has room for: sums first, then divisions.

    ``also`` is a column that tells series apart.
    """
    by = f", {also}" if also else ""
    return (
        f"{EPOCHS}, points AS (SELECT {POINT} AS point{by}, {columns}\n"
        f"    FROM {NETWORK}.{source} WHERE {where} AND {IN_TIME} GROUP BY 1"
        f"{', 2' if also else ''})\n"
        f"SELECT {time_of('point')} AS time, points.* FROM points, network ORDER BY 1"
    )


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``kind`` is Grafana's: timeseries, stat, table, barchart; ``width`` of 24.

    A plot
    has at most so many ``points`` per line. ``hidden`` columns are needed by the query only.
    """

    title: str
    kind: str
    query: str
    unit: str = "short"
    width: int = 12
    height: int = 8
    description: str = ""
    points: int = 1000
    hidden: Sequence[str] = ("point",)


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen at the top of a dashboard, from the values of a query or typed in."""

    name: str
    label: str
    query: str = ""
    default: str = ""


NETWORKS: Final = Variable(
    "network",
    "Network",
    "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relname = 'network_identity' AND has_schema_privilege(n.oid, 'USAGE') ORDER BY 1",
)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; ``uid`` is also the name of its file."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[Variable] = ()
    since: str = "now-7d"

    def as_json(self) -> dict[str, Any]:
        """What Grafana provisions."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["valmon"],
            "timezone": "utc",
            "schemaVersion": 39,
            "editable": True,
            "refresh": "1m",
            "time": {"from": self.since, "to": "now"},
            "links": [
                {"type": "dashboards", "tags": ["valmon"], "title": "valmon", "keepTime": True}
            ],
            "templating": {"list": [_variable(one) for one in (NETWORKS, *self.variables)]},
            "panels": _placed(self.panels),
        }


def _variable(variable: Variable) -> dict[str, Any]:
    common = {"name": variable.name, "label": variable.label}
    if not variable.query:
        current = {"text": variable.default, "value": variable.default}
        return {**common, "type": "textbox", "query": variable.default, "current": current}
    return {
        **common,
        "type": "query",
        "datasource": SOURCE,
        "query": variable.query,
        "refresh": 1,
        "sort": 0,
    }


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    placed, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y, tallest = 0, y + tallest, 0
        placed.append(_panel(number, panel, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return placed


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    series = panel.kind == "timeseries"
    transformations: list[dict[str, Any]] = [
        {"id": "organize", "options": {"excludeByName": dict.fromkeys(panel.hidden, True)}}
    ]
    if series:
        transformations.append({"id": "prepareTimeSeries", "options": {"format": "multi"}})
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": SOURCE,
        "maxDataPoints": panel.points,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "transformations": transformations,
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "format": "table",
                "rawQuery": True,
                "rawSql": panel.query,
            }
        ],
    }

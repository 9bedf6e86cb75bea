"""Grafana's dashboards, written as Python.

``python -m valmon_pipeline.observability.grafana deploy/grafana/dashboards`` makes their files.
"""

from valmon_pipeline.observability.grafana.dashboard import Dashboard
from valmon_pipeline.observability.grafana.groups import GROUPS
from valmon_pipeline.observability.grafana.overview import OVERVIEW
from valmon_pipeline.observability.grafana.pipeline import PIPELINE
from valmon_pipeline.observability.grafana.rewards import REWARDS
from valmon_pipeline.observability.grafana.validator import VALIDATOR

__all__ = ["DASHBOARDS", "Dashboard"]

DASHBOARDS = (OVERVIEW, GROUPS, VALIDATOR, REWARDS, PIPELINE)
